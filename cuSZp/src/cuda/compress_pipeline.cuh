// What the compress kernels share: the stages of a thread block's pipeline and the warps that encode.
//
// Warp 0 loads tiles, warp 1 finds their place in the stream, the others encode and store. Input waits in kInputs
// buffers, records in a ring of each encoding warp, so that a few tiles may wait for the look-back while later ones are
// encoded. The warps meet only at barriers:
//   loaded    loader -> locator, encoders   input and slot are in place
//   consumed  encoders -> loader            the input buffer has been read into registers
//   sized     encoders -> locator           record bytes of every encoding warp are known
//   placed    locator -> encoders           so is where they go
//   freed     encoders -> loader            records are stored, the slot may be used again
#ifndef CUSZP_CUDA_COMPRESS_PIPELINE_CUH
#define CUSZP_CUDA_COMPRESS_PIPELINE_CUH

#include <cstdint>

#include "async.cuh"
#include "copy_bytes.cuh"
#include "encode_rows.cuh"
#include "load_tile.cuh"
#include "stage_ring.cuh"

namespace cuszp_gpu {

constexpr uint32_t kServiceWarps = 2;
constexpr uint32_t kNoMoreTiles = ~0u;  // in TileSlot::valid_elements: the pipeline ends here
constexpr uint32_t kArrivalShift = 24;  // TileSlot::arrivals is warps << 24 | bytes

template <uint32_t kWarps>
struct TileSlot {
  uint8_t* metadata;        // of the tile's first block
  uint32_t metadata_bytes;  // how many may be written
  uint32_t valid_elements;  // in the tile, or kNoMoreTiles
  uint32_t tile;
  bool publishes;                           // its size, when known
  float reciprocal;                         // 0.5 / bound
  uint32_t arrivals;                        // zero between tiles
  alignas(16) uint32_t warp_bytes[kWarps];  // from the encoders
  uint64_t warp_offsets[kWarps];            // from the locator: where each warp's records begin in the stream
};

// Sizes of a pipeline: encoding warps, input buffers, tiles in flight, bytes of each warp's ring.
template <uint32_t kWarpCount, uint32_t kInputCount, uint32_t kSlotCount, uint32_t kBytesPerRing>
struct CompressSizes {
  static constexpr uint32_t kWarps = kWarpCount;
  static constexpr uint32_t kInputs = kInputCount;
  static constexpr uint32_t kSlots = kSlotCount;
  static constexpr uint32_t kRingBytes = kBytesPerRing;
  static constexpr uint32_t kRows = 32 * kWarps;
  static constexpr uint32_t kThreads = 32 * (kWarps + kServiceWarps);
  static_assert(kRingBytes >= 32 * kMaxRecordBytes && kRingBytes % 16 == 0, "a warp's records of one tile must fit");
};

// `Slot` is a TileSlot or more.
template <typename Element, typename Sizes, typename Slot>
struct CompressShared {
  alignas(128) uint8_t rows[Sizes::kInputs][Sizes::kRows * kRowBytes<Element>];
  alignas(16) uint8_t rings[Sizes::kWarps][Sizes::kRingBytes];
  Slot slots[Sizes::kSlots];
  uint64_t loaded[Sizes::kSlots];
  uint64_t sized[Sizes::kSlots];
  uint64_t placed[Sizes::kSlots];
  uint64_t freed[Sizes::kSlots];
  uint64_t consumed[Sizes::kInputs];

  // One thread, before a block-wide barrier.
  __device__ __forceinline__ void initialise() {
#pragma unroll
    for (uint32_t slot = 0; slot < Sizes::kSlots; ++slot) {
      barrier_init(&loaded[slot], 33);  // every lane's copies, and the slot
      barrier_init(&sized[slot], Sizes::kWarps);
      barrier_init(&placed[slot], kWarpArrivals);
      barrier_init(&freed[slot], Sizes::kWarps * kWarpArrivals);
      slots[slot].arrivals = 0;
    }
#pragma unroll
    for (uint32_t input = 0; input < Sizes::kInputs; ++input)
      barrier_init(&consumed[input], Sizes::kWarps * kWarpArrivals);
  }
};

// By the locator's warp, when all sizes are known: where each encoding warp's records begin. Returns where they end.
// Lane 0 writes the places, so the lanes meet before they tell the encoders.
template <typename Slot>
__device__ __forceinline__ uint64_t place_warps(Slot& slot, uint64_t offset) {
  constexpr uint32_t kWarps = sizeof(slot.warp_bytes) / sizeof(slot.warp_bytes[0]);
#pragma unroll
  for (uint32_t warp = 0; warp < kWarps; ++warp) {
    if (threadIdx.x % 32 == 0) slot.warp_offsets[warp] = offset;
    offset += slot.warp_bytes[warp];
  }
  return offset;
}

// One encoding warp's way through the tiles. `Target` says where bytes go:
//   inspect(slot, row address, row)              by the warp, while a thread's row of input is still there
//   publish(slot, bytes)                         by one thread, as soon as the tile's size is known
//   put_metadata(slot, row, byte)                by each thread, if the byte may be written
//   store(slot, offset, shared address, bytes)   by the warp: its records to `offset` of the stream
template <typename Element, int kMode, typename Sizes, typename Slot, typename Target>
class Encoder {
 public:
  using Shared = CompressShared<Element, Sizes, Slot>;
  using SlotCursor = StageCursor<Sizes::kSlots>;

  __device__ __forceinline__ Encoder(Shared& shared, uint32_t warp, Target& target)
      : shared_(shared),
        target_(target),
        warp_(warp),
        lane_(threadIdx.x % 32),
        ring_address_(shared_address(shared.rings[warp])) {}

  // Until the loader says that there are no more tiles.
  __device__ __forceinline__ void run() {
    SlotCursor at;
    for (StageCursor<Sizes::kInputs> input;; at.advance(), input.advance()) {
      // The loader needs free slots to bring what comes next.
      while (ring_.in_flight() > Sizes::kSlots - Sizes::kInputs) store_oldest();
      // Goes on storing meanwhile: another warp may wait for this one to store, and the loader for that warp.
      do {
        while (ring_.in_flight() > 0 && is_placed(ring_.oldest())) store_oldest();
      } while (!__all_sync(~0u, barrier_poll(&shared_.loaded[at.stage], at.parity)));
      const uint32_t valid = shared_.slots[at.stage].valid_elements;
      if (valid == kNoMoreTiles) break;
      encode(at.stage, input.stage, valid);
    }
    while (ring_.in_flight() > 0) store_oldest();
  }

 private:
  // One answer for the whole warp, which must go one way.
  __device__ __forceinline__ bool is_placed(const SlotCursor& at) {
    return __all_sync(~0u, barrier_test(&shared_.placed[at.stage], at.parity));
  }

  // By lane 31. The last of the block's warps makes the tile's size known to other blocks.
  __device__ __forceinline__ void announce(Slot& slot, uint32_t warp_bytes) {
    slot.warp_bytes[warp_] = warp_bytes;
    const uint32_t before = atomicAdd(&slot.arrivals, 1u << kArrivalShift | warp_bytes);
    if (before >> kArrivalShift == Sizes::kWarps - 1) {
      slot.arrivals = 0;
      target_.publish(slot, (before & ((1u << kArrivalShift) - 1)) + warp_bytes);
    }
  }

  // Leaves the warp's records in its ring.
  __device__ __forceinline__ void encode(uint32_t stage, uint32_t input, uint32_t valid) {
    Slot& slot = shared_.slots[stage];
    const uint32_t row = warp_ * 32 + lane_;
    PairedMagnitudes paired;
    WideMagnitudes wide;
    bool is_wide;
    const uint32_t row_address = shared_address(shared_.rows[input]) + row * kRowBytes<Element>;
    const Residuals block = read_rows<Element, kMode>(row_address, row, slot.reciprocal,
                                                      min(max(valid, row * 32) - row * 32, 32u), paired, wide, is_wide);
    target_.inspect(slot, row_address, row);
    barrier_arrive(&shared_.consumed[input]);
    const RecordShape shape = record_shape<kMode>(block);
    const uint32_t end = inclusive_sum(shape.bytes);
    const uint32_t warp_bytes = __shfl_sync(~0u, end, 31);
    if (lane_ == 31) {
      announce(slot, warp_bytes);
      barrier_arrive(&shared_.sized[stage]);
    }
    if (row < slot.metadata_bytes) target_.put_metadata(slot, row, static_cast<uint8_t>(shape.meta));
    const uint32_t room = ring_.allocate((warp_bytes + 15) & ~15u, [&] { store_oldest(); });
    write_record<kMode>(block, paired, wide, is_wide, shape, room + end - shape.bytes, SharedBytes{ring_address_});
    __syncwarp();
  }

  __device__ __forceinline__ void store_oldest() {
    const SlotCursor& at = ring_.oldest();
    const uint32_t begin = ring_.oldest_begin();
    const Slot& slot = shared_.slots[at.stage];
    barrier_wait(&shared_.placed[at.stage], at.parity);
    target_.store(slot, slot.warp_offsets[warp_], ring_address_ + begin, slot.warp_bytes[warp_]);
    __syncwarp();  // other lanes will write where this one has read
    barrier_arrive(&shared_.freed[at.stage]);
    ring_.free_oldest();
  }

  Shared& shared_;
  Target& target_;
  const uint32_t warp_;
  const uint32_t lane_;
  const uint32_t ring_address_;
  StageRing<Sizes::kSlots, Sizes::kRingBytes> ring_;
};

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_COMPRESS_PIPELINE_CUH
