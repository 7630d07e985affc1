// The layout rules of a stream: sizes, the metadata byte of a block and what a decoder accepts.
#ifndef CUSZP_CUDA_RECORD_CUH
#define CUSZP_CUDA_RECORD_CUH

#include <cstdint>

#include "cuszp/cuszp.h"

namespace cuszp_gpu {

constexpr uint32_t kBlockElements = CUSZP_BLOCK_ELEMENTS;
constexpr uint32_t kMaxRecordBytes = CUSZP_MAX_RECORD_BYTES;

constexpr int kFixed = CUSZP_MODE_FIXED;
constexpr int kPlain = CUSZP_MODE_PLAIN;
constexpr int kOutlier = CUSZP_MODE_OUTLIER;

__host__ __device__ constexpr uint64_t metadata_blocks(uint64_t n) {
  const uint64_t tile = uint64_t(CUSZP_BLOCK_ELEMENTS) * CUSZP_TILE_BLOCKS;
  return (n / tile + (n % tile != 0)) * CUSZP_TILE_BLOCKS;
}

__host__ __device__ constexpr uint64_t data_blocks(uint64_t n) {
  return n / CUSZP_BLOCK_ELEMENTS + (n % CUSZP_BLOCK_ELEMENTS != 0);
}

__host__ __device__ constexpr uint64_t what_is_left(uint64_t total, uint64_t taken) {
  return total > taken ? total - taken : 0;
}

__device__ __forceinline__ uint32_t bit_length(uint32_t value) {
  return 32 - __clz(value);
}

struct RecordShape {
  uint32_t meta;           // the metadata byte
  uint32_t rate;           // planes
  uint32_t outlier_bytes;  // 0: not flagged
  uint32_t bytes;          // of the record
};

__device__ __forceinline__ RecordShape plain_shape(uint32_t magnitude_or) {
  // A magnitude of 2^31 is invisible to the format's signed maximum, hence the mask.
  const uint32_t rate = bit_length(magnitude_or & 0x7fffffffu);
  return {rate, rate, 0, rate ? 4 + 4 * rate : 0};
}

__device__ __forceinline__ RecordShape outlier_shape(uint32_t first, uint32_t rest_or) {
  const RecordShape plain = plain_shape(first | rest_or);
  const uint32_t rate = bit_length(rest_or & 0x7fffffffu);
  const uint32_t outlier_bytes = (bit_length(first) + 7) / 8;
  const uint32_t bytes = 4 + 4 * rate + outlier_bytes;
  if (plain.bytes <= bytes) return plain;
  return {0x80u | (outlier_bytes - 1) << 5 | rate, rate, outlier_bytes, bytes};
}

// The shape a metadata byte stands for; an unacceptable byte gives an empty record and sets `bad`.
template <int kMode>
__device__ __forceinline__ RecordShape parse_metadata(uint32_t meta, bool& bad) {
  const uint32_t rate = meta & 31u;
  if (kMode == kOutlier && (meta & 0x80u)) {
    const uint32_t outlier_bytes = (meta >> 5 & 3u) + 1;
    return {meta, rate, outlier_bytes, 4 + 4 * rate + outlier_bytes};
  }
  if (meta > 31) {
    bad = true;
    return {0, 0, 0, 0};
  }
  return {meta, rate, 0, rate ? 4 + 4 * rate : 0};
}

// Over the lanes of a warp.
__device__ __forceinline__ uint32_t inclusive_sum(uint32_t value) {
  const uint32_t lane = threadIdx.x % 32;
#pragma unroll
  for (uint32_t step = 1; step < 32; step *= 2) {
    const uint32_t other = __shfl_up_sync(~0u, value, step);
    if (lane >= step) value += other;
  }
  return value;
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_RECORD_CUH
