// Cursors over the stages of a pipeline, and variable-size room in shared memory that is freed in order.
#ifndef CUSZP_CUDA_STAGE_RING_CUH
#define CUSZP_CUDA_STAGE_RING_CUH

#include <cstdint>

namespace cuszp_gpu {

// Position in a ring of stages, and the parity of its barriers' phase.
template <uint32_t kStages>
struct StageCursor {
  uint32_t stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Contiguous room for what up to kStages (at most 32) stages hold, handed out and freed in the order of the stages.
// Used by a whole warp with the same arguments in every lane.
template <uint32_t kStages, uint32_t kBytes>
class StageRing {
 public:
  __device__ __forceinline__ uint32_t in_flight() const { return in_flight_; }
  __device__ __forceinline__ const StageCursor<kStages>& oldest() const { return oldest_; }
  __device__ __forceinline__ uint32_t oldest_begin() const { return __shfl_sync(~0u, begin_, oldest_.stage); }

  // Offset of `bytes` (a multiple of 16) of room for the next stage. As long as there is not enough, calls
  // finish_oldest(), which must end in free_oldest().
  template <typename Finish>
  __device__ __forceinline__ uint32_t allocate(uint32_t bytes, Finish&& finish_oldest) {
    uint32_t at = kBytes;
    for (;;) {
      if (in_flight_ == 0) head_ = tail_ = 0;
      if (in_flight_ < kStages) {
        if (in_flight_ == 0 || head_ > tail_) {
          if (bytes <= kBytes - head_)
            at = head_;
          else if (bytes < tail_)
            at = 0;
        } else if (bytes < tail_ - head_) {
          at = head_;
        }
        if (at != kBytes) break;
      }
      finish_oldest();
    }
    if (threadIdx.x % 32 == next_) begin_ = at;
    if (++next_ == kStages) next_ = 0;
    head_ = at + bytes;
    ++in_flight_;
    return at;
  }

  __device__ __forceinline__ void free_oldest() {
    oldest_.advance();
    if (--in_flight_ > 0) tail_ = oldest_begin();
  }

 private:
  StageCursor<kStages> oldest_;
  uint32_t begin_ = 0;  // of the stage with the lane's number
  uint32_t next_ = 0;
  uint32_t in_flight_ = 0;
  uint32_t head_ = 0;
  uint32_t tail_ = 0;
};

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_STAGE_RING_CUH
