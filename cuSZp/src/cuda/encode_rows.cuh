// The consumer side of compression: one thread turns its row of 32 elements into a record, a warp packs 32 records.
#ifndef CUSZP_CUDA_ENCODE_ROWS_CUH
#define CUSZP_CUDA_ENCODE_ROWS_CUH

#include <cstdint>

#include "bitplane.cuh"
#include "load_tile.cuh"
#include "record.cuh"

namespace cuszp_gpu {

// One block of 32 residuals in sign and magnitude.
struct Residuals {
  uint32_t magnitudes[32];
  uint32_t signs;    // element 0 in the top bit
  uint32_t rest_or;  // OR of magnitudes 1..31
};

// Reads the thread's row and quantises it; modes plain and outlier take differences within the row. kQuick: the result
// holds only if every magnitude is below 2^16. Then every quantised value is within 2^21 of zero, the first one being a
// residual itself and 31 more being added to it, which is where quantise_quickly is exact; and a value for which it is
// not lies at 2^22 or beyond, so that it cannot pass for such a sum.
template <typename Element, int kMode, bool kQuick>
__device__ __forceinline__ void read_residuals(uint32_t row_address, uint32_t row, float reciprocal, Residuals& out) {
  constexpr uint32_t kPerChunk = kElementsPerChunk<Element>;
  constexpr uint32_t kZero = kQuick ? kQuickBias : 0;
  uint32_t previous = kZero;
  out.signs = 0;
  out.rest_or = 0;
#pragma unroll
  for (uint32_t chunk = 0; chunk < kChunksPerRow<Element>; ++chunk) {
    float values[kPerChunk];
    widen_chunk<Element>(load_shared_16(row_address + (chunk ^ swizzle<Element>(row)) * 16), values);
#pragma unroll
    for (uint32_t i = 0; i < kPerChunk; ++i) {
      const uint32_t quantum =
          kQuick ? quantise_quickly(values[i], reciprocal) : static_cast<uint32_t>(quantise(values[i], reciprocal));
      const uint32_t residual = quantum - (kMode == kFixed ? kZero : previous);
      previous = quantum;
      out.signs = __funnelshift_l(residual, out.signs, 1);
      const uint32_t magnitude = residual >> 31 ? 0u - residual : residual;
      out.magnitudes[chunk * kPerChunk + i] = magnitude;
      if (chunk * kPerChunk + i > 0) out.rest_or |= magnitude;
    }
  }
}

// Apart, so that the rare way takes no registers from the usual one.
template <typename Element, int kMode>
__device__ __noinline__ void read_residuals_slowly(uint32_t row_address, uint32_t row, float reciprocal,
                                                   Residuals& out) {
  read_residuals<Element, kMode, false>(row_address, row, reciprocal, out);
}

// The residuals of a warp's rows, the quick way where that is exact for all of them.
template <typename Element, int kMode>
__device__ __forceinline__ void read_residuals_exactly(uint32_t row_address, uint32_t row, float reciprocal,
                                                       Residuals& out) {
  read_residuals<Element, kMode, true>(row_address, row, reciprocal, out);
  if (__any_sync(~0u, (out.magnitudes[0] | out.rest_or) > 0xffffu)) {
    Residuals slow;
    read_residuals_slowly<Element, kMode>(row_address, row, reciprocal, slow);
    out = slow;
  }
}

// Elements at and past `valid` (0..31) have residual zero: no return to zero is coded.
__device__ __forceinline__ void drop_residuals_from(uint32_t valid, Residuals& block) {
  block.rest_or = 0;
  block.signs = valid ? block.signs & ~0u << (32 - valid) : 0;
#pragma unroll
  for (uint32_t i = 0; i < 32; ++i) {
    if (i >= valid) block.magnitudes[i] = 0;
    if (i > 0) block.rest_or |= block.magnitudes[i];
  }
}

template <int kMode>
__device__ __forceinline__ RecordShape record_shape(const Residuals& block) {
  if (kMode == kOutlier) return outlier_shape(block.magnitudes[0], block.rest_or);
  return plain_shape(block.magnitudes[0] | block.rest_or);
}

// Where record bytes go: shared memory of the warp, or global memory when the records outgrow it.
struct SharedBytes {
  uint32_t address;
  __device__ __forceinline__ void word(uint32_t byte, uint32_t value) const { store_shared(address + byte, value); }
  __device__ __forceinline__ void byte(uint32_t byte, uint32_t value) const {
    store_shared(address + byte, static_cast<uint8_t>(value));
  }
};

// Words at a 4-byte aligned record; planes at and past `rate` are skipped.
template <typename Sink>
struct AlignedWords {
  const Sink& sink;
  uint32_t base;
  uint32_t rate;
  __device__ __forceinline__ void operator()(uint32_t plane, uint32_t word) {
    if (plane < rate) sink.word(base + 4 * plane, word);
  }
};

// Words at any byte: whole aligned words between the ends, single bytes at the ends that neighbours share.
template <typename Sink>
struct ShiftedWords {
  const Sink& sink;
  uint32_t base;   // of plane 0, rounded down to 4
  uint32_t shift;  // bits, 8 * (byte offset of plane 0 modulo 4)
  uint32_t rate;
  uint32_t previous;
  __device__ __forceinline__ void operator()(uint32_t plane, uint32_t word) {
    if (plane < rate) {
      sink.word(base + 4 * plane, __funnelshift_l(previous, word, shift));
      previous = word;
    }
  }
};

template <typename Sink>
__device__ __forceinline__ void write_bytes(const Sink& sink, uint32_t at, uint32_t value, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) sink.byte(at + i, value >> (8 * i));
}

// Writes the record at byte `at` of the sink. `warp_planes`: the largest rate in the warp. A magnitude kept apart
// as the outlier is cleared in `block`.
template <int kMode, typename Sink>
__device__ __forceinline__ void write_record(Residuals& block, const RecordShape& shape, uint32_t warp_planes,
                                             uint32_t at, const Sink& sink) {
  const uint32_t sign_word = __byte_perm(block.signs, 0, 0x0123);
  if (kMode != kOutlier) {
    if (shape.rate) sink.word(at, sign_word);
    AlignedWords<Sink> planes{sink, at + 4, shape.rate};
    emit_planes(block.magnitudes, warp_planes, planes);
    return;
  }
  write_bytes(sink, at, block.magnitudes[0], shape.outlier_bytes);
  const uint32_t signs_at = at + shape.outlier_bytes;
  const uint32_t head = signs_at & 3;
  if (shape.bytes) {
    if (head)
      write_bytes(sink, signs_at, sign_word, 4 - head);
    else
      sink.word(signs_at, sign_word);
  }
  ShiftedWords<Sink> planes{sink, (signs_at & ~3u) + 4, 8 * head, shape.rate, sign_word};
  if (shape.outlier_bytes) block.magnitudes[0] = 0;
  emit_planes(block.magnitudes, warp_planes, planes);
  if (shape.bytes && head) {
    write_bytes(sink, (signs_at & ~3u) + 4 * (shape.rate + 1), planes.previous >> (32 - 8 * head), head);
  }
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_ENCODE_ROWS_CUH
