// The decompress kernel for many independent streams: each thread block takes whole streams, one after the other.
#ifndef CUSZP_CUDA_BATCH_DECOMPRESS_CUH
#define CUSZP_CUDA_BATCH_DECOMPRESS_CUH

#include <cstdint>

#include "decompress_pipeline.cuh"
#include "dependent_launch.cuh"
#include "launch.h"
#include "pages.cuh"
#include "place_records.cuh"

namespace cuszp_gpu {

// What the placer tells the loader about a tile's stream.
struct StreamFacts {
  Pages pages;
  uint64_t index;  // of the stream in the batch
  uint64_t stored_bytes;
  uint64_t payload_begin;  // in the first tile: where its records, or raw elements, begin
  uint32_t status;         // what is known before the payload
  bool first;
  bool last;
  bool raw;
};

template <typename Element, uint32_t kWarps, uint32_t kStages, uint32_t kRingBytes>
struct BatchDecompressShared : DecompressShared<Element, kWarps, kStages, kRingBytes> {
  StreamFacts facts[kStages];
};

// Metadata of a lane's four blocks in a stream that keeps `blocks` bytes of it; the bytes that are not there are 0.
__device__ __forceinline__ uint32_t load_paged_metadata(const Pages& pages, uint64_t at, uint64_t blocks) {
  const uint64_t mine = at + threadIdx.x % 32 * 4;
  if (mine + 4 <= blocks) return *reinterpret_cast<const uint32_t*>(pages.at(mine));
  uint32_t metadata = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    if (mine + i < blocks) metadata |= static_cast<uint32_t>(*pages.at(mine + i)) << (8 * i);
  }
  return metadata;
}

// What can be said of a stream before its metadata is read.
template <typename Element>
__device__ __forceinline__ uint32_t check_stored(const cuszp_cuda_batch_item& item,
                                                 const cuszp_cuda_batch_result& stored, float error_bound) {
  if (stored.status != CUSZP_OK) return stored.status;
  if (stored.stored_raw) {
    const uint64_t raw_bytes = item.n * Element::kBytes;
    if (stored.stored_bytes == raw_bytes) return CUSZP_OK;
    return stored.stored_bytes < raw_bytes ? CUSZP_STREAM_TRUNCATED : CUSZP_STREAM_TOO_LONG;
  }
  if (item.n == 0) return stored.stored_bytes == 0 ? CUSZP_OK : CUSZP_STREAM_TOO_LONG;
  if (!bound_is_usable(error_bound)) return CUSZP_INVALID_ARGUMENT;
  return stored.stored_bytes < data_blocks(item.n) ? CUSZP_STREAM_TRUNCATED : CUSZP_OK;
}

// Warp 0: reads metadata and fills slots, up to kStages tiles ahead of the decoders.
template <typename Element, int kMode, typename Shared, uint32_t kStages>
__device__ __forceinline__ void place_batch(Shared& shared, const BatchDecompressArguments& arguments) {
  constexpr uint32_t kRows = Shared::kRows;
  constexpr uint64_t kElements = uint64_t(kRows) * kBlockElements;
  const uint32_t lane = threadIdx.x % 32;
  StageCursor<kStages> at;
  uint32_t round = 0;
  auto wait_for_slot = [&] {
    if (round >= kStages) barrier_wait(&shared.freed[at.stage], at.parity ^ 1);
  };
  for (uint64_t index = blockIdx.x; index < arguments.count; index += gridDim.x) {
    const cuszp_cuda_batch_item item = arguments.items[index];
    const cuszp_cuda_batch_result stored = arguments.stored[index];
    const float error_bound = item.error_bound ? *item.error_bound : arguments.error_bound;
    const Pages pages{item.pages, arguments.page_shift};
    const uint64_t blocks = data_blocks(item.n);
    const uint64_t tiles = max(blocks / kRows + (blocks % kRows != 0), uint64_t(1));
    uint32_t status = check_stored<Element>(item, stored, error_bound);
    const bool raw = stored.stored_raw != 0;
    const bool readable = status == CUSZP_OK && !raw;
    uint32_t metadata = readable ? load_paged_metadata(pages, 0, blocks) : 0;
    for (uint64_t tile = 0; tile < tiles; ++tile) {
      const LaneRecords records = place_records<kMode>(metadata, kRows);
      if (readable && tile + 1 < tiles) metadata = load_paged_metadata(pages, (tile + 1) * kRows, blocks);
      if (__any_sync(~0u, records.bad)) status = CUSZP_BAD_METADATA;
      const uint32_t end = inclusive_sum(records.ends[3]);
      const uint32_t valid = static_cast<uint32_t>(min(what_is_left(item.n, tile * kElements), kElements));
      const uint32_t bytes = raw ? valid * Element::kBytes : __shfl_sync(~0u, end, 31);
      const uint32_t begin = end - records.ends[3];
      wait_for_slot();
      auto& slot = shared.slots[at.stage];
      reinterpret_cast<uint32_t*>(slot.metadata)[lane] = records.metadata;
      reinterpret_cast<uint2*>(slot.offsets)[lane] = make_uint2(
          begin | (begin + records.ends[0]) << 16, (begin + records.ends[1]) | (begin + records.ends[2]) << 16);
      if (lane == 0) {
        slot.values = static_cast<uint8_t*>(item.values) + tile * kElements * Element::kBytes;
        slot.valid_elements = valid;
        slot.bytes = bytes;
        slot.error_bound = error_bound;
        shared.facts[at.stage] = {pages,  index,     stored.stored_bytes, raw ? 0 : blocks,
                                  status, tile == 0, tile == tiles - 1,   raw};
      }
      barrier_arrive(&shared.located[at.stage]);
      at.advance();
      ++round;
    }
  }
  wait_for_slot();
  if (lane == 0) shared.slots[at.stage].valid_elements = kNoMoreTiles;
  barrier_arrive(&shared.located[at.stage]);
}

// Warp 1: brings payload into the ring and says what became of a stream.
template <int kMode, typename Shared, uint32_t kStages, uint32_t kRingBytes>
__device__ __forceinline__ void load_batch_payloads(Shared& shared, const BatchDecompressArguments& arguments) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t ring_address = shared_address(shared.ring);
  StageRing<kStages, kRingBytes> ring;
  auto wait_freed = [&] {
    barrier_wait(&shared.freed[ring.oldest().stage], ring.oldest().parity);
    ring.free_oldest();
  };
  uint64_t offset = 0;
  LastLine last;
  StageCursor<kStages> at;
  for (;; at.advance()) {
    auto& slot = shared.slots[at.stage];
    const StreamFacts& facts = shared.facts[at.stage];
    barrier_wait(&shared.located[at.stage], at.parity);
    if (slot.valid_elements == kNoMoreTiles) break;
    if (facts.first) {
      offset = facts.payload_begin;
      last.at = ~uint64_t(0);
    }
    const bool sound = facts.status == CUSZP_OK && offset + slot.bytes <= facts.stored_bytes;
    const uint32_t wanted = sound ? slot.bytes : 0;
    const uint32_t room = ring_address + ring.allocate((wanted + kPagesSlack + 4 + 15) & ~15u, wait_freed);
    const uint32_t payload =
        copy_pages_to_shared<kMode != kOutlier>(facts.pages, offset, wanted, facts.stored_bytes, room, last);
    offset += slot.bytes;
    __syncwarp();  // lane 0's arrival releases every lane's stores
    if (lane == 0) {
      slot.payload = payload;
      slot.kind = !sound ? SlotKind::kFaulty : facts.raw ? SlotKind::kRaw : SlotKind::kRecords;
      if (facts.last) {
        uint32_t status = facts.status;
        if (status == CUSZP_OK && offset > facts.stored_bytes) status = CUSZP_STREAM_TRUNCATED;
        if (status == CUSZP_OK && offset < facts.stored_bytes) status = CUSZP_STREAM_TOO_LONG;
        arguments.statuses[facts.index] = status;
      }
      barrier_arrive(&shared.loaded[at.stage]);
    }
    barrier_arrive_after_copies(&shared.loaded[at.stage]);
  }
}

template <typename Element, int kMode, uint32_t kWarps, uint32_t kStages, uint32_t kRingBytes, uint32_t kBlocksPerSm>
__global__ void __launch_bounds__(32 * (kWarps + kServiceWarps), kBlocksPerSm)
    batch_decompress_kernel(const __grid_constant__ BatchDecompressArguments arguments) {
  extern __shared__ __align__(128) uint8_t shared_bytes[];
  using Shared = BatchDecompressShared<Element, kWarps, kStages, kRingBytes>;
  auto& shared = *reinterpret_cast<Shared*>(shared_bytes);
  const uint32_t warp = threadIdx.x / 32;
  if (threadIdx.x == 0) shared.initialise();
  wait_for_previous_kernel();
  __syncthreads();
  if (warp == 0) {
    place_batch<Element, kMode, Shared, kStages>(shared, arguments);
  } else if (warp == 1) {
    load_batch_payloads<kMode, Shared, kStages, kRingBytes>(shared, arguments);
  } else {
    decode_tiles<Element, kMode, Shared, kStages>(shared, warp - kServiceWarps);
  }
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_BATCH_DECOMPRESS_CUH
