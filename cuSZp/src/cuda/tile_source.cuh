// Where the tiles of one array lie: loading them, and the size of a tile's records without the pipeline.
#ifndef CUSZP_CUDA_TILE_SOURCE_CUH
#define CUSZP_CUDA_TILE_SOURCE_CUH

#include <cstdint>

#include "load_tile.cuh"
#include "record.cuh"

namespace cuszp_gpu {

// Where a tile's elements are.
template <typename Element>
struct TileSource {
  const uint8_t* values;
  uint64_t n;
  uint32_t rows;  // of a tile
  __device__ __forceinline__ uint32_t tile_elements() const { return rows * kBlockElements; }
  __device__ __forceinline__ uint32_t valid_elements(uint32_t tile) const {
    return static_cast<uint32_t>(min(what_is_left(n, uint64_t(tile) * tile_elements()), uint64_t(tile_elements())));
  }
  __device__ __forceinline__ const uint8_t* elements(uint32_t tile) const {
    return values + uint64_t(tile) * tile_elements() * Element::kBytes;
  }
  // The whole tile, of kRows rows, by one warp.
  template <uint32_t kRows>
  __device__ __forceinline__ void load(uint32_t tile_address, uint32_t tile) const {
    load_tile<Element, kRows>(tile_address, elements(tile), valid_elements(tile) * Element::kBytes);
  }
  // The 32 rows of encoding warp `warp`, by that warp.
  __device__ __forceinline__ void load_rows_of(uint32_t warp, uint32_t rows_address, uint32_t tile) const {
    constexpr uint32_t kWarpBytes = 32 * kRowBytes<Element>;
    const uint32_t valid_bytes = valid_elements(tile) * Element::kBytes;
    const uint32_t before = warp * kWarpBytes;
    load_tile<Element, 32>(rows_address, elements(tile) + before,
                           valid_bytes > before ? min(valid_bytes - before, kWarpBytes) : 0);
  }
};

// Record bytes of a tile, straight from memory; one warp, for a tile whose own block is late.
template <typename Element, int kMode>
__device__ __noinline__ uint32_t measure_tile(TileSource<Element> source, uint32_t tile, float reciprocal) {
  const uint32_t valid = source.valid_elements(tile);
  const uint64_t first = uint64_t(tile) * source.tile_elements();
  uint32_t bytes = 0;
  for (uint32_t row = threadIdx.x % 32; row * kBlockElements < valid; row += 32) {
    const uint32_t end = min(valid, (row + 1) * kBlockElements);
    uint32_t previous = 0, first_magnitude = 0, rest_or = 0;
    for (uint32_t i = row * kBlockElements; i < end; ++i) {
      const uint32_t quantum = static_cast<uint32_t>(
          quantise(load_element<Element>(source.values + (first + i) * Element::kBytes), reciprocal));
      const uint32_t residual = kMode == kFixed ? quantum : quantum - previous;
      const uint32_t magnitude = residual >> 31 ? 0u - residual : residual;
      if (i == row * kBlockElements)
        first_magnitude = magnitude;
      else
        rest_or |= magnitude;
      previous = quantum;
    }
    bytes += kMode == kOutlier ? outlier_shape(first_magnitude, rest_or).bytes
                               : plain_shape(first_magnitude | rest_or).bytes;
  }
  return __reduce_add_sync(~0u, bytes);
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_TILE_SOURCE_CUH
