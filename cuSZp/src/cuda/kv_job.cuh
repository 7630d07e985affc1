// One stream of a KV-block kernel: what the tables say of it, where its elements and its pages lie.
#ifndef CUSZP_CUDA_KV_JOB_CUH
#define CUSZP_CUDA_KV_JOB_CUH

#include <cstdint>

#include "async.cuh"
#include "kv_layout.h"
#include "launch.h"
#include "load_tile.cuh"

namespace cuszp_gpu {

// Division by a number below 2^16, exact for dividends below 2^16.
struct Divisor {
  uint32_t number;
  uint32_t factor;  // 2^32 / number, rounded up
  __device__ __forceinline__ explicit Divisor(uint32_t n) : number(n), factor(n > 1 ? 0xffffffffu / n + 1 : 0) {}
  __device__ __forceinline__ uint32_t operator()(uint32_t value) const {
    return number > 1 ? __umulhi(value, factor) : value;
  }
};

// Brings a word's sector into the L1 cache, without waiting.
__device__ __forceinline__ void prefetch_word(const uint32_t* at) {
  [[maybe_unused]] uint32_t ignored;
  asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(ignored) : "l"(at));
}

// Loads of the tables, by one warp: begun early, in shared memory at the end.
struct alignas(16) KvJob {
  cuszp_kv_plane plane;
  cuszp_kv_stream stream;  // load only
  cuszp_kv_move move;
  cuszp_kv_slot slot;
};
static_assert(sizeof(cuszp_kv_plane) == 72 && sizeof(cuszp_kv_move) == 16 && sizeof(cuszp_kv_stream) == 16 &&
                  sizeof(KvJob) == 112,
              "KvJobLoader copies words");

class KvJobLoader {
 public:
  // streams: null where they are written.
  __device__ __forceinline__ KvJobLoader(const cuszp_kv_call& call, const cuszp_kv_stream* streams)
      : call_(call), streams_(streams) {}

  __device__ __forceinline__ void begin(uint64_t index) {
    const uint32_t lane = threadIdx.x % 32;
    there_ = index < uint64_t(call_.move_count) * call_.plane_count;
    if (!there_) return;
    const auto move = static_cast<uint32_t>(index / call_.plane_count);
    const auto plane = static_cast<uint32_t>(index - uint64_t(move) * call_.plane_count);
    if (lane < 18) word_ = reinterpret_cast<const uint32_t*>(call_.planes + plane)[lane];
    if (lane >= 18 && lane < 22 && streams_) word_ = reinterpret_cast<const uint32_t*>(streams_ + index)[lane - 18];
    if (lane >= 22 && lane < 26) word_ = reinterpret_cast<const uint32_t*>(call_.moves + move)[lane - 22];
  }
  __device__ __forceinline__ void find_slot() {
    if (!there_) return;
    const uint32_t slot = __shfl_sync(~0u, word_, 24);
    const uint32_t lane = threadIdx.x % 32;
    if (lane >= 26 && lane < 28 && slot < call_.slot_count) {
      word_ = reinterpret_cast<const uint32_t*>(call_.slots + slot)[lane - 26];
    }
  }
  // Load: of the pages that the stream lies on, if its place makes sense.
  __device__ __forceinline__ void prefetch_pages(uint32_t page_shift) const {
    const uint32_t first_page = __shfl_sync(~0u, word_, 26), page_count = __shfl_sync(~0u, word_, 27);
    const uint32_t slot = __shfl_sync(~0u, word_, 24);
    const uint32_t offset = __shfl_sync(~0u, word_, 18), bytes = __shfl_sync(~0u, word_, 19);
    const uint64_t page = (offset >> page_shift) + uint64_t(threadIdx.x % 32) * 8;
    if (there_ && slot < call_.slot_count && page < page_count && page << page_shift < uint64_t(offset) + bytes) {
      prefetch_word(call_.page_numbers + first_page + page);
    }
  }
  __device__ __forceinline__ void finish(KvJob& job) const {
    if (there_ && threadIdx.x % 32 < 28) reinterpret_cast<uint32_t*>(&job)[threadIdx.x % 32] = word_;
  }

 private:
  const cuszp_kv_call& call_;
  const cuszp_kv_stream* streams_;
  bool there_ = false;
  uint32_t word_ = 0;
};

// The pages of a slot.
struct SlotPages {
  uint8_t* slab;
  const uint32_t* numbers;
  uint32_t shift;
  __device__ __forceinline__ SlotPages(const cuszp_kv_call& call, const cuszp_kv_slot& slot, uint32_t page_shift)
      : slab(static_cast<uint8_t*>(call.slab)), numbers(call.page_numbers + slot.first_page), shift(page_shift) {}
  // Asks for numbers [first, last), a sector a thread, so that they are near when they are needed.
  __device__ __forceinline__ void prefetch(uint32_t first, uint32_t last) const {
    const uint32_t mine = first + threadIdx.x * 8;
    if (mine < last) prefetch_word(numbers + mine);
  }
  __device__ __forceinline__ uint8_t* at(uint32_t offset) const {
    return slab + (uint64_t(__ldg(numbers + (offset >> shift))) << shift) + (offset & ((1u << shift) - 1));
  }
};

// The first `bytes` of 16, the others zero.
__device__ __forceinline__ uint4 keep_bytes(const uint4& chunk, uint32_t bytes) {
  uint32_t words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
  for (uint32_t i = 0; i < 4; ++i) {
    words[i] &= bytes <= 4 * i ? 0 : bytes - 4 * i >= 4 ? ~0u : ~0u >> (32 - 8 * (bytes - 4 * i));
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// The part of a stream's checksum that 16 of its bytes make, from word `first` on; `bytes` of it count.
__device__ __forceinline__ uint32_t mix_chunk(const uint4& chunk, uint32_t first, uint32_t bytes) {
  const uint32_t words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
  uint32_t sum = 0;
#pragma unroll
  for (uint32_t i = 0; i < 4; ++i) {
    if (4 * (first + i) < bytes) sum += cuszp_kv::mix(words[i], first + i);
  }
  return sum;
}

// The exclusive sum of `bytes` over the thread block; `total` gets the whole. One barrier, which also collects `flag`.
__device__ __forceinline__ uint32_t sum_block(uint32_t bytes, uint32_t (&warp_bytes)[32], bool& flag, uint32_t& total) {
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t inclusive = inclusive_sum(bytes);
  if (lane == 31) warp_bytes[warp] = inclusive;
  flag = __syncthreads_or(flag);
  const uint32_t others = lane < blockDim.x / 32 ? warp_bytes[lane] : 0;
  total = __reduce_add_sync(~0u, others);
  return __reduce_add_sync(~0u, lane < warp ? others : 0) + inclusive - bytes;
}

// The elements of a block in global memory.
class BlockElements {
 public:
  __device__ __forceinline__ BlockElements(const KvJob& job, uint32_t element)
      : base_(static_cast<uint8_t*>(job.plane.values) + job.move.block * job.plane.block_stride * int64_t(element)),
        token_(job.plane.token_stride * int64_t(element)),
        head_(job.plane.head_stride * int64_t(element)),
        heads_(job.plane.heads),
        head_bytes_(job.plane.head_size * element) {
    if (head_ == head_bytes_) {  // a token in one piece
      head_bytes_ *= heads_;
      heads_ = 1;
    }
  }

  // Whether chunks of 16 bytes, counted in (token, head, channel) order, lie in one piece and aligned.
  __device__ __forceinline__ bool in_chunks() const {
    return ((reinterpret_cast<uintptr_t>(base_) | static_cast<uint64_t>(token_) | static_cast<uint64_t>(head_) |
             head_bytes_) &
            15) == 0;
  }
  // Address of byte `byte` of the block in (token, head, channel) order.
  __device__ __forceinline__ uint8_t* byte(uint32_t byte) const {
    const uint32_t piece = byte / head_bytes_;
    return at(piece / heads_, piece % heads_, byte % head_bytes_);
  }
  // visit(chunk, address) for the thread's chunks in [first, last).
  template <typename Visit>
  __device__ __forceinline__ void for_each_chunk(uint32_t first, uint32_t last, Visit&& visit) const {
    const Divisor by_chunks(head_bytes_ / 16);
    if (heads_ == 1 && blockDim.x % by_chunks.number == 0) {  // whole tokens a step
      const uint32_t token = by_chunks(first + threadIdx.x);
      uint8_t* address = at(token, 0, (first + threadIdx.x - token * by_chunks.number) * 16);
      const int64_t step = by_chunks(blockDim.x) * token_;
      for (uint32_t chunk = first + threadIdx.x; chunk < last; chunk += blockDim.x, address += step)
        visit(chunk, address);
      return;
    }
    const Divisor by_heads(heads_);
    for (uint32_t chunk = first + threadIdx.x; chunk < last; chunk += blockDim.x) {
      const uint32_t piece = by_chunks(chunk), token = by_heads(piece);
      visit(chunk, at(token, piece - token * heads_, (chunk - piece * by_chunks.number) * 16));
    }
  }

 private:
  __device__ __forceinline__ uint8_t* at(uint32_t token, uint32_t head, uint32_t byte) const {
    return base_ + token * token_ + head * head_ + byte;
  }
  uint8_t* base_;
  int64_t token_, head_;
  uint32_t heads_, head_bytes_;
};

// How a block lies in shared memory: all of it in (token, head, channel) order; chunks of 16 bytes of coded rows may be
// swizzled as in load_tile.cuh.
template <typename Element>
struct Image {
  uint32_t address;
  bool swizzled;
  uint32_t kept_bytes;  // in front of the first coded row
  // Where byte `byte` lies.
  __device__ __forceinline__ uint32_t at(uint32_t byte) const {
    const bool moved = swizzled && byte >= kept_bytes;
    return address + (moved ? chunk_offset<Element>(byte / 16) : byte & ~15u) + byte % 16;
  }
};

// What the threads of a thread block share about one stream; the same in all of them.
template <typename Element>
struct KvStreamView {
  cuszp_kv::Shape shape;
  bool sound;     // plane and move make sense
  bool small;     // fits into shared memory, a row of 32 elements a thread
  bool coded;     // by its plane
  bool by_rows;   // thread's rows are rows of a swizzled tile
  bool by_pairs;  // layout hdt, 16 coded tokens: a row is two neighbouring channels

  __device__ __forceinline__ KvStreamView(const KvArguments& arguments, const KvJob& job)
      : shape(cuszp_kv::shape_of(job.plane, job.move.keep_first, arguments.call.dtype)) {
    constexpr uint32_t kBytes = Element::kBytes;
    sound = shape.elements > 0 && job.move.slot < arguments.call.slot_count;
    coded = cuszp_kv::is_coded(job.plane, arguments.call.dtype) && shape.kept_bytes + shape.blocks < shape.raw_bytes;
    small = shape.raw_bytes <= arguments.image_bytes && (!coded || shape.blocks <= blockDim.x);
    const bool hdt = job.plane.layout == CUSZP_KV_LAYOUT_HDT;
    const bool means_by_rows =
        shape.channels % kBlockElements == 0 && reinterpret_cast<uintptr_t>(job.plane.means) % 16 == 0;
    by_rows = coded && !hdt && (!job.plane.means || means_by_rows) && shape.kept_bytes % kRowBytes<Element> == 0;
    by_pairs = coded && hdt && job.plane.tokens - shape.kept == 16 && shape.channels * kBytes % 4 == 0;
  }
};

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_KV_JOB_CUH
