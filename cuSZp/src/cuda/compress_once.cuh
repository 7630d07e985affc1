// The compress kernel for short streams: a tile a thread block, all of them on the device at once.
//
// Nothing but the tile's place in the stream is waited for, and what a persistent block needs to keep several tiles in
// flight is not there. Each warp brings its own 32 rows, encodes them as soon as they are there, and leaves the records
// where the rows were.
#ifndef CUSZP_CUDA_COMPRESS_ONCE_CUH
#define CUSZP_CUDA_COMPRESS_ONCE_CUH

#include <cstdint>
#include <type_traits>

#include "async.cuh"
#include "copy_bytes.cuh"
#include "dependent_launch.cuh"
#include "encode_rows.cuh"
#include "launch.h"
#include "scan_state.cuh"
#include "tile_source.cuh"

namespace cuszp_gpu {

constexpr uint32_t kMostOnceWarps = 32;

// The fixed part; each warp's room for rows, then for records, follows it.
struct OnceShared {
  alignas(16) uint32_t warp_bytes[kMostOnceWarps];
  uint64_t warp_offsets[kMostOnceWarps];  // where each warp's records begin in the stream
  uint32_t arrivals;                      // warps << 25 | whether to publish << 24 | bytes
  uint64_t sized;
  uint64_t placed;
  uint64_t loaded[kMostOnceWarps];  // each warp's rows, where others bring them
  alignas(128) uint8_t rows[][32 * kMaxRecordBytes];

  // One thread, before a block-wide barrier.
  __device__ __forceinline__ void initialise() {
    barrier_init(&sized, blockDim.x / 32);
    barrier_init(&placed, kWarpArrivals);
    arrivals = 0;
  }
};

constexpr size_t once_shared_bytes(uint32_t warps) {
  return sizeof(OnceShared) + warps * 32 * kMaxRecordBytes;
}

// By one lane of each warp, once; `publishes` is true in one of them unless another block has taken the tile over. The
// last one makes the tile's size known to other blocks.
__device__ __forceinline__ void announce_size(OnceShared& shared, const ScanState& state, uint32_t warp,
                                              uint32_t warp_bytes, bool publishes) {
  constexpr uint32_t kWarp = 1u << 25;
  constexpr uint32_t kPublishes = 1u << 24;
  shared.warp_bytes[warp] = warp_bytes;
  const uint32_t mine = kWarp | (publishes ? kPublishes : 0u) | warp_bytes;
  const uint32_t all = atomicAdd(&shared.arrivals, mine) + mine;
  if (all / kWarp == blockDim.x / 32 && (all & kPublishes)) publish_tile(state, blockIdx.x, all & (kPublishes - 1));
  barrier_arrive(&shared.sized);
}

// By one warp: finds the tile's place and tells the others. Returns announce_finish's order.
template <typename SizeOf>
__device__ __forceinline__ uint32_t place_tile(OnceShared& shared, const CompressArguments& arguments,
                                               const ScanState& state, const SizeOf& size_of) {
  const uint32_t lane = threadIdx.x % 32;
  const uint64_t offset = uint64_t(state.tiles) * blockDim.x + bytes_before_block(state, size_of);
  const uint32_t order = announce_finish(state);
  barrier_wait(&shared.sized, 0);
  const uint32_t bytes = lane < blockDim.x / 32 ? shared.warp_bytes[lane] : 0;
  const uint64_t end = offset + inclusive_sum(bytes);
  shared.warp_offsets[lane] = end - bytes;
  barrier_arrive(&shared.placed);
  if (lane == 31 && blockIdx.x == state.tiles - 1) {
    *arguments.stream_bytes = end;
    *arguments.status = end <= arguments.capacity ? CUSZP_OK : CUSZP_OUTPUT_TOO_SMALL;
  }
  return order;
}

// Brings the rows of all warps of a block of kMostOnceWarps, by kLoaders of them: those of the first warps arrive
// first and are encoded while the others' are on their way. Where every warp asks for its own, all arrive late.
constexpr uint32_t kLoaders = 4;
template <typename Element>
__device__ __forceinline__ void load_rows_in_order(OnceShared& shared, const TileSource<Element>& source) {
#pragma unroll 1
  for (uint32_t warp = threadIdx.x / 32; warp < kMostOnceWarps; warp += kLoaders) {
    source.load_rows_of(warp, shared_address(shared.rows[warp]), blockIdx.x);
    barrier_arrive_after_copies(&shared.loaded[warp]);
    barrier_arrive(&shared.loaded[warp]);  // for the plain stores of the unaligned path
  }
}

template <typename Element, int kMode>
__global__ void __launch_bounds__(32 * kMostOnceWarps)
    compress_once_kernel(const __grid_constant__ CompressArguments arguments) {
  extern __shared__ __align__(128) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<OnceShared*>(shared_bytes);
  // Measured: with bfloat16 loading in order gains, with float32 it loses.
  const bool in_order = std::is_same_v<Element, Bf16> && blockDim.x == 32 * kMostOnceWarps;
  if (threadIdx.x == 0) shared.initialise();
  if (in_order && threadIdx.x % 32 == 0) barrier_init(&shared.loaded[threadIdx.x / 32], 2 * kWarpArrivals);
  __syncthreads();
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
  const TileSource<Element> source{static_cast<const uint8_t*>(arguments.values), arguments.n, blockDim.x};
  const uint32_t warp = threadIdx.x / 32;
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t rows = shared_address(shared.rows[warp]);
  if (!in_order) {
    source.load_rows_of(warp, rows, blockIdx.x);
  } else if (warp < kLoaders) {
    load_rows_in_order(shared, source);
  }
  const bool publishes = threadIdx.x == 31 && claim_tile(state, blockIdx.x);
  const float reciprocal = __fdiv_rn(0.5f, error_bound);
  const uint32_t valid = source.valid_elements(blockIdx.x);
  const uint32_t row = threadIdx.x;
  if (in_order) {
    barrier_wait(&shared.loaded[warp], 0);
  } else {
    copy_async_wait_all();
    __syncwarp();
  }
  PairedMagnitudes paired;
  WideMagnitudes wide;
  bool is_wide;
  const Residuals block = read_rows<Element, kMode>(rows + lane * kRowBytes<Element>, row, reciprocal,
                                                    min(max(valid, row * 32) - row * 32, 32u), paired, wide, is_wide);
  const RecordShape shape = record_shape<kMode>(block);
  const uint32_t end = inclusive_sum(shape.bytes);
  if (lane == 31) announce_size(shared, state, warp, end, publishes);
  const uint64_t metadata_at = uint64_t(blockIdx.x) * blockDim.x + row;
  if (metadata_at < arguments.capacity) arguments.stream[metadata_at] = static_cast<uint8_t>(shape.meta);
  __syncwarp();  // all rows are in registers
  write_record<kMode>(block, paired, wide, is_wide, shape, rows + end - shape.bytes, SharedBytes{0});
  __syncwarp();
  uint32_t order = 0;
  if (warp == 0) {
    order = place_tile(shared, arguments, state, [&arguments, reciprocal](uint32_t tile) {
      const TileSource<Element> all{static_cast<const uint8_t*>(arguments.values), arguments.n, blockDim.x};
      return measure_tile<Element, kMode>(all, tile, reciprocal);
    });
  }
  barrier_wait(&shared.placed, 0);
  const uint64_t offset = shared.warp_offsets[warp];
  const uint64_t writable = min(what_is_left(arguments.capacity, offset), uint64_t(shared.warp_bytes[warp]));
  copy_shared_to_global(arguments.stream + offset, rows, static_cast<uint32_t>(writable));
  if (warp == 0 && finished_last(order)) clear_scan_state(state);
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_COMPRESS_ONCE_CUH
