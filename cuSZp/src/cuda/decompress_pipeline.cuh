// What the decompress kernels share: the stages of a thread block's pipeline and the warps that decode.
//
// Warp 0 reads metadata and places records, warp 1 loads their payload into a ring, the others decode.
//   located  placer -> loader, decoders   the slot is in place
//   loaded   loader -> decoders           the payload too
//   freed    decoders -> placer, loader   the stage's payload has been read into registers
#ifndef CUSZP_CUDA_DECOMPRESS_PIPELINE_CUH
#define CUSZP_CUDA_DECOMPRESS_PIPELINE_CUH

#include <cstdint>

#include "async.cuh"
#include "compress_pipeline.cuh"
#include "decode_rows.cuh"
#include "stage_ring.cuh"
#include "store_rows.cuh"

namespace cuszp_gpu {

constexpr uint32_t kRecordLimit = 132;  // a flagged record of 31 planes, which no encoder writes but a stream may hold

enum class SlotKind : uint32_t {
  kRecords,
  kRaw,     // the elements themselves instead of records
  kFaulty,  // nothing to decode
};

template <uint32_t kRows>
struct RecordSlot {
  uint8_t* values;          // of the tile's first element
  uint32_t valid_elements;  // in the tile, or kNoMoreTiles
  uint32_t tile;
  uint32_t bytes;  // of the tile's records
  float error_bound;
  uint32_t payload;  // shared address of the first record; from the loader, as is `kind`
  SlotKind kind;
  alignas(8) uint8_t metadata[kRows];
  alignas(8) uint16_t offsets[kRows];  // of the records, from `payload`
};

template <typename Element, uint32_t kWarps, uint32_t kStages, uint32_t kRingBytes>
struct DecompressShared {
  static constexpr uint32_t kRows = 32 * kWarps;
  static_assert(kRingBytes >= kRows * kRecordLimit + 48 && kRingBytes % 16 == 0, "one tile must fit");
  alignas(128) uint8_t rows[kRows * kRowBytes<Element>];
  alignas(16) uint8_t ring[kRingBytes];
  RecordSlot<kRows> slots[kStages];
  uint64_t located[kStages];
  uint64_t loaded[kStages];
  uint64_t freed[kStages];

  // One thread, before a block-wide barrier.
  __device__ __forceinline__ void initialise() {
#pragma unroll
    for (uint32_t stage = 0; stage < kStages; ++stage) {
      barrier_init(&located[stage], kWarpArrivals);
      barrier_init(&loaded[stage], 33);  // every lane's copies, and the slot
      barrier_init(&freed[stage], kWarps * kWarpArrivals);
    }
  }
};

// Decodes until the loader says that there are no more tiles.
template <typename Element, int kMode, typename Shared, uint32_t kStages>
__device__ __forceinline__ void decode_tiles(Shared& shared, uint32_t warp) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t row = warp * 32 + lane;
  const uint32_t rows_address = shared_address(shared.rows) + warp * 32 * kRowBytes<Element>;
  for (StageCursor<kStages> at;; at.advance()) {
    const auto& slot = shared.slots[at.stage];
    barrier_wait(&shared.located[at.stage], at.parity);
    const uint32_t valid = slot.valid_elements;
    if (valid == kNoMoreTiles) return;
    barrier_wait(&shared.loaded[at.stage], at.parity);
    const uint32_t first = warp * 32 * kBlockElements;
    const uint32_t count = valid > first ? min(valid - first, 32 * kBlockElements) : 0;
    uint8_t* destination = slot.values + first * Element::kBytes;
    auto release = [&] { barrier_arrive(&shared.freed[at.stage]); };
    if (slot.kind != SlotKind::kRecords || count == 0) {
      if (slot.kind == SlotKind::kRaw) {
        copy_shared_to_global(destination, slot.payload + first * Element::kBytes, count * Element::kBytes);
      }
      release();
      continue;
    }
    const Scale scale(slot.error_bound);
    bool bad = false;
    const RecordShape shape = parse_metadata<kMode>(slot.metadata[row], bad);
    const uint32_t record = slot.payload + slot.offsets[row];
    const uint32_t planes = __reduce_max_sync(~0u, shape.rate);
    decode_record<Element, kMode>(record, shape, planes, rows_address + lane * kRowBytes<Element>, lane, scale,
                                  release);
    __syncwarp();
    store_rows<Element>(destination, rows_address, count * Element::kBytes);
    __syncwarp();
  }
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_DECOMPRESS_PIPELINE_CUH
