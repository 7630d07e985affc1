// The compress kernel for one stream: tiles of 32 kWarps blocks by ticket, payload offsets by look-back.
#ifndef CUSZP_CUDA_COMPRESS_CUH
#define CUSZP_CUDA_COMPRESS_CUH

#include <cstdint>

#include "compress_pipeline.cuh"
#include "dependent_launch.cuh"
#include "launch.h"
#include "scan_state.cuh"
#include "tile_source.cuh"

namespace cuszp_gpu {

template <typename Element, typename Sizes>
using StreamShared = CompressShared<Element, Sizes, TileSlot<Sizes::kWarps>>;

struct StreamTarget {
  const CompressArguments& arguments;
  const ScanState& state;

  template <typename Slot>
  __device__ __forceinline__ void inspect(const Slot&, uint32_t, uint32_t) const {}

  template <typename Slot>
  __device__ __forceinline__ void put_metadata(const Slot& slot, uint32_t row, uint8_t meta) const {
    slot.metadata[row] = meta;
  }
  template <typename Slot>
  __device__ __forceinline__ void publish(const Slot& slot, uint32_t bytes) const {
    if (slot.publishes) publish_tile(state, slot.tile, bytes);
  }
  template <typename Slot>
  __device__ __forceinline__ void store(const Slot&, uint64_t offset, uint32_t source, uint32_t bytes) const {
    const uint64_t writable = min(what_is_left(arguments.capacity, offset), uint64_t(bytes));
    copy_shared_to_global(arguments.stream + offset, source, static_cast<uint32_t>(writable));
  }
};

// Warp 0: takes tickets and fills input buffers. The first buffer holds the tile of the block's own index, which the
// encoding warps load themselves.
template <typename Element, typename Sizes>
__device__ __forceinline__ void load_tiles(StreamShared<Element, Sizes>& shared, const CompressArguments& arguments,
                                           const ScanState& state, const TileSource<Element>& source,
                                           float reciprocal) {
  const uint32_t lane = threadIdx.x % 32;
  uint32_t tile = blockIdx.x;
  StageCursor<Sizes::kSlots> at;
  StageCursor<Sizes::kInputs> input;
  for (uint32_t round = 0;; ++round, at.advance(), input.advance()) {
    if (round >= Sizes::kInputs) barrier_wait(&shared.consumed[input.stage], input.parity ^ 1);
    if (round >= Sizes::kSlots) barrier_wait(&shared.freed[at.stage], at.parity ^ 1);
    const bool more = tile < state.tiles;
    if (more && round > 0) source.template load<Sizes::kRows>(shared_address(shared.rows[input.stage]), tile);
    __syncwarp();  // plain stores of the unaligned path are released by lane 0's arrival
    if (lane == 0) {
      auto& slot = shared.slots[at.stage];
      const uint64_t metadata_at = uint64_t(tile) * Sizes::kRows;
      slot.metadata = arguments.stream + metadata_at;
      slot.metadata_bytes =
          static_cast<uint32_t>(min(what_is_left(arguments.capacity, metadata_at), uint64_t(Sizes::kRows)));
      slot.valid_elements = more ? source.valid_elements(tile) : kNoMoreTiles;
      slot.tile = tile;
      slot.publishes = round > 0 || claim_tile(state, tile);
      slot.reciprocal = reciprocal;
      barrier_arrive(&shared.loaded[at.stage]);
    }
    barrier_arrive_after_copies(&shared.loaded[at.stage]);
    if (!more) return;
    const uint32_t next = lane == 0 ? next_tile(state) : 0;
    tile = __shfl_sync(~0u, next, 0);
  }
}

// Warp 1: finds each tile's place in the stream.
template <typename Element, typename Sizes, typename SizeOf>
__device__ __forceinline__ void locate_tiles(StreamShared<Element, Sizes>& shared, const CompressArguments& arguments,
                                             const ScanState& state, const SizeOf& size_of) {
  const uint32_t lane = threadIdx.x % 32;
  const uint64_t metadata_bytes = uint64_t(state.tiles) * Sizes::kRows;
  LookBack<SizeOf> look_back(state, size_of, 300);
  bool announced = false;
  uint32_t order = 0;
  for (StageCursor<Sizes::kSlots> at;;) {
    auto& slot = shared.slots[at.stage];
    barrier_wait(&shared.loaded[at.stage], at.parity);
    if (slot.valid_elements == kNoMoreTiles) break;
    const bool last = slot.tile == state.tiles - 1;
    const uint64_t offset = metadata_bytes + look_back.before(slot.tile);
    barrier_wait(&shared.sized[at.stage], at.parity);
    const uint64_t end = place_warps(slot, offset);
    __syncwarp();
    barrier_arrive(&shared.placed[at.stage]);
    if (lane == 0 && last) {
      *arguments.stream_bytes = end;
      *arguments.status = end <= arguments.capacity ? CUSZP_OK : CUSZP_OUTPUT_TOO_SMALL;
    }
    at.advance();
    const bool next_loaded = __all_sync(~0u, barrier_test(&shared.loaded[at.stage], at.parity));
    if (next_loaded && shared.slots[at.stage].valid_elements == kNoMoreTiles) {
      announced = true;  // early, so that storing hides the round trip
      order = announce_finish(state);
    }
  }
  if (!announced) order = announce_finish(state);
  if (finished_last(order)) clear_scan_state(state);
}

template <typename Element, int kMode, typename Sizes, uint32_t kBlocksPerSm>
__global__ void __launch_bounds__(Sizes::kThreads, kBlocksPerSm)
    compress_kernel(const __grid_constant__ CompressArguments arguments) {
  extern __shared__ __align__(128) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<StreamShared<Element, Sizes>*>(shared_bytes);
  if (threadIdx.x == 32) shared.initialise();
  wait_for_previous_kernel();
  const float error_bound = arguments.bound_device ? *arguments.bound_device : arguments.bound;
  if (!bound_is_usable(error_bound) || arguments.n == 0) {
    if (blockIdx.x == 0 && threadIdx.x == 0) {
      *arguments.stream_bytes = 0;
      *arguments.status = arguments.n == 0 ? CUSZP_OK : CUSZP_INVALID_ARGUMENT;
    }
    return;
  }
  const ScanState state = scan_state(arguments.workspace, arguments.tiles);
  const TileSource<Element> source{static_cast<const uint8_t*>(arguments.values), arguments.n, Sizes::kRows};
  const uint32_t warp = threadIdx.x / 32;
  if (warp >= kServiceWarps) {
    const uint32_t encoder = warp - kServiceWarps;
    source.load_rows_of(encoder, shared_address(shared.rows[0]) + encoder * 32 * kRowBytes<Element>, blockIdx.x);
  }
  const float reciprocal = __fdiv_rn(0.5f, error_bound);
  __syncthreads();
  if (warp == 0) {
    load_tiles<Element, Sizes>(shared, arguments, state, source, reciprocal);
  } else if (warp == 1) {
    locate_tiles<Element, Sizes>(shared, arguments, state, [source, reciprocal](uint32_t tile) {
      return measure_tile<Element, kMode>(source, tile, reciprocal);
    });
  } else {
    copy_async_wait_all();
    __syncwarp();
    StreamTarget target{arguments, state};
    Encoder<Element, kMode, Sizes, TileSlot<Sizes::kWarps>, StreamTarget>(shared, warp - kServiceWarps, target).run();
  }
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_COMPRESS_CUH
