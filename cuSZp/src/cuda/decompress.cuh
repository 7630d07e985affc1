// The decompress kernel for one stream: tiles of 32 kWarps blocks by ticket, payload offsets by look-back.
#ifndef CUSZP_CUDA_DECOMPRESS_CUH
#define CUSZP_CUDA_DECOMPRESS_CUH

#include <cstdint>

#include "decompress_pipeline.cuh"
#include "dependent_launch.cuh"
#include "launch.h"
#include "place_records.cuh"
#include "scan_state.cuh"

namespace cuszp_gpu {

// Streams of more tiles a block gain nothing by it: 2^26 elements took 7 % longer.
constexpr uint32_t kPrefetchRounds = 8;

// Asks for a tile's share of the payload, one warp. Where a tile's records lie is known only after the look-back, but
// all of the payload will be read by some block: so it is on its way to the cache meanwhile.
template <uint32_t kRows>
__device__ __forceinline__ void prefetch_share(const DecompressArguments& arguments, uint64_t stream_bytes,
                                               uint32_t tile, uint32_t tiles) {
  constexpr uint32_t kLine = 128;
  const uint64_t metadata_bytes = uint64_t(tiles) * kRows;
  const uint64_t share = min((stream_bytes - metadata_bytes) / tiles / kLine * kLine + kLine, uint64_t(kRows) * kLine);
  const uint64_t begin = metadata_bytes + tile * share;
  const uint64_t end = min(begin + share, stream_bytes);
  for (uint64_t at = begin + threadIdx.x % 32 * kLine; at < end; at += 32 * kLine) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(arguments.stream + at));
  }
}

// Warp 0: takes tickets, reads metadata, publishes tile sizes and fills slots, up to kStages tiles ahead of the
// decoders. `metadata` is that of the tile of the block's own index; `claimed` (in lane 0): this block publishes that
// tile's size.
template <typename Element, int kMode, typename Shared, uint32_t kStages>
__device__ __forceinline__ void place_tiles(Shared& shared, const DecompressArguments& arguments,
                                            const ScanState& state, float error_bound, uint64_t stream_bytes,
                                            uint32_t metadata, bool claimed) {
  constexpr uint32_t kRows = Shared::kRows;
  static_assert(kRows == 128, "a lane places four records");
  const uint32_t lane = threadIdx.x % 32;
  uint32_t tile = blockIdx.x;
  StageCursor<kStages> at;
  for (uint32_t round = 0;; ++round, at.advance()) {
    const bool more = tile < state.tiles;
    LaneRecords records{};
    uint32_t end = 0;
    uint32_t bytes = 0;
    uint32_t next = 0;
    if (more) {
      records = place_records<kMode>(metadata, blocks_in_tile<kRows>(arguments.n, tile));
      end = inclusive_sum(records.ends[3]);
      bytes = __shfl_sync(~0u, end, 31);
      if (lane == 0 && (round > 0 || claimed)) publish_tile(state, tile, bytes);
      if (lane == 0) next = next_tile(state);
      if (records.bad) {
        atomicOr(&state.header->bad_metadata, 1u);
        __threadfence();
      }
    }
    if (round >= kStages) barrier_wait(&shared.freed[at.stage], at.parity ^ 1);
    auto& slot = shared.slots[at.stage];
    const uint32_t begin = end - records.ends[3];
    reinterpret_cast<uint32_t*>(slot.metadata)[lane] = records.metadata;
    reinterpret_cast<uint2*>(slot.offsets)[lane] = make_uint2(
        begin | (begin + records.ends[0]) << 16, (begin + records.ends[1]) | (begin + records.ends[2]) << 16);
    if (lane == 0) {
      const uint64_t first = uint64_t(tile) * kRows * kBlockElements;
      slot.values = static_cast<uint8_t*>(arguments.values) + first * Element::kBytes;
      slot.valid_elements =
          more ? static_cast<uint32_t>(min(what_is_left(arguments.n, first), uint64_t(kRows) * kBlockElements))
               : kNoMoreTiles;
      slot.tile = tile;
      slot.bytes = bytes;
      slot.error_bound = error_bound;
    }
    barrier_arrive(&shared.located[at.stage]);
    if (!more) return;
    tile = __shfl_sync(~0u, next, 0);
    if (tile < state.tiles) {
      metadata = load_metadata(arguments.stream + uint64_t(tile) * kRows);
      if (state.tiles <= kPrefetchRounds * gridDim.x) {
        prefetch_share<kRows>(arguments, stream_bytes, tile, state.tiles);
      }
    }
  }
}

// The block that finishes last knows of every fault and says so; one warp.
__device__ __forceinline__ void finish_decompress(const DecompressArguments& arguments, const ScanState& state,
                                                  uint64_t payload_bytes) {
  __threadfence();
  if (!finished_last(announce_finish(state))) return;
  __threadfence();
  if (threadIdx.x % 32 == 0) {
    const volatile ScanHeader& header = *state.header;
    const uint64_t total = header.payload_bytes;
    uint32_t status = CUSZP_OK;
    if (total > payload_bytes) status = CUSZP_STREAM_TRUNCATED;
    if (total < payload_bytes) status = CUSZP_STREAM_TOO_LONG;
    if (header.bad_metadata) status = CUSZP_BAD_METADATA;
    *arguments.status = status;
  }
  __syncwarp();
  clear_scan_state(state);
}

// Warp 1: finds each tile's payload by look-back and brings it into the ring.
template <int kMode, typename Shared, uint32_t kStages, uint32_t kRingBytes>
__device__ __forceinline__ void load_payloads(Shared& shared, const DecompressArguments& arguments,
                                              const ScanState& state, uint64_t stream_bytes) {
  const uint32_t lane = threadIdx.x % 32;
  const uint64_t metadata_bytes = uint64_t(state.tiles) * Shared::kRows;
  const uint8_t* payload = arguments.stream + metadata_bytes;
  const uint64_t payload_bytes = stream_bytes - metadata_bytes;
  const uint32_t ring_address = shared_address(shared.ring);
  auto size_of = [stream = arguments.stream, n = arguments.n](uint32_t tile) {
    const uint32_t metadata = load_metadata(stream + uint64_t(tile) * Shared::kRows);
    const LaneRecords records = place_records<kMode>(metadata, blocks_in_tile<Shared::kRows>(n, tile));
    return __reduce_add_sync(~0u, records.ends[3]);
  };
  LookBack<decltype(size_of)> look_back(state, size_of, 0);
  StageRing<kStages, kRingBytes> ring;
  auto wait_freed = [&] {
    barrier_wait(&shared.freed[ring.oldest().stage], ring.oldest().parity);
    ring.free_oldest();
  };
  StageCursor<kStages> at;
  for (;; at.advance()) {
    auto& slot = shared.slots[at.stage];
    barrier_wait(&shared.located[at.stage], at.parity);
    if (slot.valid_elements == kNoMoreTiles) break;
    const uint32_t tile = slot.tile;
    const uint32_t bytes = slot.bytes;
    const uint64_t offset = look_back.before(tile);
    const bool fits = offset + bytes <= payload_bytes;
    const uint32_t wanted = fits ? bytes : 0;
    // Chunks at both ends may be partly used, and a reader of unaligned words looks one word ahead.
    const uint32_t room = ring_address + ring.allocate((wanted + 15 + 4 + 15) & ~15u, wait_freed);
    const uint32_t at_payload =
        load_payload<kMode != kOutlier>(room, payload + offset, wanted, payload + payload_bytes);
    __syncwarp();  // lane 0's arrival releases every lane's plain stores
    if (lane == 0) {
      slot.payload = at_payload;
      slot.kind = fits ? SlotKind::kRecords : SlotKind::kFaulty;
      if (tile == state.tiles - 1) state.header->payload_bytes = offset + bytes;
      barrier_arrive(&shared.loaded[at.stage]);
    }
    barrier_arrive_after_copies(&shared.loaded[at.stage]);
  }
  finish_decompress(arguments, state, payload_bytes);
}

// What can be said before any byte of the stream is read; CUSZP_OK: go on.
__device__ __forceinline__ uint32_t check_stream(const DecompressArguments& arguments, float error_bound,
                                                 uint64_t stream_bytes) {
  if (!bound_is_usable(error_bound)) return CUSZP_INVALID_ARGUMENT;
  if (stream_bytes > arguments.stream_bytes) return CUSZP_STREAM_TRUNCATED;
  if (stream_bytes < metadata_blocks(arguments.n)) return CUSZP_STREAM_TRUNCATED;
  if (arguments.n == 0 && stream_bytes > 0) return CUSZP_STREAM_TOO_LONG;
  return CUSZP_OK;
}

template <typename Element, int kMode, uint32_t kWarps, uint32_t kStages, uint32_t kRingBytes, uint32_t kBlocksPerSm>
__global__ void __launch_bounds__(32 * (kWarps + kServiceWarps), kBlocksPerSm)
    decompress_kernel(const __grid_constant__ DecompressArguments arguments) {
  extern __shared__ __align__(128) uint8_t shared_bytes[];
  using Shared = DecompressShared<Element, kWarps, kStages, kRingBytes>;
  auto& shared = *reinterpret_cast<Shared*>(shared_bytes);
  if (threadIdx.x == 32) shared.initialise();
  wait_for_previous_kernel();
  const float error_bound = arguments.bound_device ? *arguments.bound_device : arguments.bound;
  const uint64_t stream_bytes = arguments.stream_bytes_device ? *arguments.stream_bytes_device : arguments.stream_bytes;
  const uint32_t status = check_stream(arguments, error_bound, stream_bytes);
  if (status != CUSZP_OK || arguments.n == 0) {
    if (blockIdx.x == 0 && threadIdx.x == 0) *arguments.status = status;
    return;
  }
  const ScanState state = scan_state(arguments.workspace, arguments.tiles);
  const uint32_t warp = threadIdx.x / 32;
  bool claimed = false;
  uint32_t metadata = 0;
  if (warp == 0) {
    metadata = load_metadata(arguments.stream + uint64_t(blockIdx.x) * Shared::kRows);
    if (threadIdx.x == 0) claimed = claim_tile(state, blockIdx.x);
  } else if (warp == 1) {
    prefetch_share<Shared::kRows>(arguments, stream_bytes, blockIdx.x, state.tiles);
  }
  __syncthreads();
  if (warp == 0) {
    place_tiles<Element, kMode, Shared, kStages>(shared, arguments, state, error_bound, stream_bytes, metadata,
                                                 claimed);
  } else if (warp == 1) {
    load_payloads<kMode, Shared, kStages, kRingBytes>(shared, arguments, state, stream_bytes);
  } else {
    decode_tiles<Element, kMode, Shared, kStages>(shared, warp - kServiceWarps);
  }
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_DECOMPRESS_CUH
