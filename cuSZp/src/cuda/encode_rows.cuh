// The consumer side of compression: one thread turns its row of 32 elements into a record, a warp packs 32 records.
#ifndef CUSZP_CUDA_ENCODE_ROWS_CUH
#define CUSZP_CUDA_ENCODE_ROWS_CUH

#include <cstdint>

#include "bitplane.cuh"
#include "load_tile.cuh"
#include "record.cuh"

namespace cuszp_gpu {

// What is known of a block of 32 residuals in sign and magnitude, beside the magnitudes.
struct Residuals {
  uint32_t signs;    // element 0 in the top bit
  uint32_t first;    // magnitude of element 0
  uint32_t rest_or;  // OR of magnitudes 1..31
};

// Magnitudes below 2^16: pairs[8 h + i] holds elements 16 h + i and, in the upper half, 16 h + 8 + i.
struct PairedMagnitudes {
  uint32_t pairs[16];
};

// Magnitudes without limit; in local memory, for the few warps that have larger ones.
struct WideMagnitudes {
  uint32_t words[32];
};

// Values 0..31 of a row of a swizzled tile, asked for in order.
template <typename Element>
struct TileRow {
  uint32_t address;
  uint32_t row;
  float chunk[kElementsPerChunk<Element>];
  __device__ __forceinline__ TileRow(uint32_t row_address, uint32_t row_index) : address(row_address), row(row_index) {}
  __device__ __forceinline__ float operator()(uint32_t i) {
    constexpr uint32_t kPerChunk = kElementsPerChunk<Element>;
    if (i % kPerChunk == 0) {
      widen_chunk<Element>(load_shared_16(address + ((i / kPerChunk) ^ swizzle<Element>(row)) * 16), chunk);
    }
    return chunk[i % kPerChunk];
  }
};

// Quantises the 32 values that fetch(i) gives in order; modes plain and outlier take differences between neighbours.
// keep(i, magnitude, quantum) gets the magnitudes in order, and the quantised value plus kQuickBias where kQuick.
// kQuick: the result holds only if every magnitude is below 2^16. Then every quantised value is within 2^21 of zero,
// the first one being a residual itself and 31 more being added to it, which is where quantise_quickly is exact; and a
// value for which it is not lies at 2^22 or beyond, so that it cannot pass for such a sum.
template <int kMode, bool kQuick, typename Fetch, typename Keep>
__device__ __forceinline__ Residuals read_residuals(Fetch&& fetch, float reciprocal, Keep&& keep) {
  constexpr uint32_t kZero = kQuick ? kQuickBias : 0;
  uint32_t previous = kZero;
  Residuals out{0, 0, 0};
#pragma unroll
  for (uint32_t i = 0; i < kBlockElements; ++i) {
    const float value = fetch(i);
    const uint32_t quantum =
        kQuick ? quantise_quickly(value, reciprocal) : static_cast<uint32_t>(quantise(value, reciprocal));
    const uint32_t residual = quantum - (kMode == kFixed ? kZero : previous);
    previous = quantum;
    out.signs = __funnelshift_l(residual, out.signs, 1);
    const uint32_t magnitude = residual >> 31 ? 0u - residual : residual;
    if (i > 0)
      out.rest_or |= magnitude;
    else
      out.first = magnitude;
    keep(i, magnitude, quantum);
  }
  return out;
}

// The same for magnitudes below 2^16, which go to `paired`; inspect(i, quantum) sees the quantised values as above.
template <int kMode, typename Fetch, typename Inspect>
__device__ __forceinline__ Residuals read_paired(Fetch&& fetch, float reciprocal, PairedMagnitudes& paired,
                                                 Inspect&& inspect) {
  uint32_t lower[8];
  return read_residuals<kMode, true>(fetch, reciprocal, [&](uint32_t i, uint32_t magnitude, uint32_t quantum) {
    if (i % 16 < 8)
      lower[i % 8] = magnitude;
    else
      paired.pairs[i / 16 * 8 + i % 8] = __byte_perm(lower[i % 8], magnitude, 0x5410);
    inspect(i, quantum);
  });
}

// Elements at and past `valid` (0..31) have residual zero: no return to zero is coded. `drop` clears their magnitudes
// and returns the OR of all but the first.
template <typename Drop>
__device__ __forceinline__ void drop_residuals_from(uint32_t valid, Residuals& block, Drop&& drop) {
  block.signs = valid ? block.signs & ~0u << (32 - valid) : 0;
  if (valid == 0) block.first = 0;
  block.rest_or = drop();
}

__device__ __forceinline__ uint32_t drop_pairs_from(uint32_t valid, PairedMagnitudes& magnitudes) {
  uint32_t rest_or = 0;
#pragma unroll
  for (uint32_t i = 0; i < 16; ++i) {
    uint32_t& pair = magnitudes.pairs[i];
    const uint32_t low = i / 8 * 16 + i % 8;
    if (low >= valid) pair &= 0xffff0000u;
    if (low + 8 >= valid) pair &= 0xffffu;
    rest_or |= i == 0 ? pair >> 16 : pair | pair >> 16;
  }
  return rest_or & 0xffffu;
}

__device__ __forceinline__ uint32_t drop_words_from(uint32_t valid, WideMagnitudes& magnitudes) {
  uint32_t rest_or = 0;
  for (uint32_t i = 0; i < kBlockElements; ++i) {
    if (i >= valid) magnitudes.words[i] = 0;
    if (i > 0) rest_or |= magnitudes.words[i];
  }
  return rest_or;
}

// Apart, so that the rare way takes no registers from the usual one.
template <typename Element, int kMode>
__device__ __noinline__ Residuals read_wide(uint32_t row_address, uint32_t row, float reciprocal, uint32_t valid,
                                            WideMagnitudes& wide) {
  Residuals block =
      read_residuals<kMode, false>(TileRow<Element>(row_address, row), reciprocal,
                                   [&](uint32_t i, uint32_t magnitude, uint32_t) { wide.words[i] = magnitude; });
  if (valid >= kBlockElements) return block;
  drop_residuals_from(valid, block, [&] { return drop_words_from(valid, wide); });
  return block;
}

// Reads the warp's rows; `valid` elements (0 .. 32) of the thread's row exist. The magnitudes of all of them are in
// `wide` or else in `paired`: two objects, so that what is in registers stays there.
template <typename Element, int kMode>
__device__ __forceinline__ Residuals read_rows(uint32_t row_address, uint32_t row, float reciprocal, uint32_t valid,
                                               PairedMagnitudes& paired, WideMagnitudes& wide, bool& is_wide) {
  Residuals block =
      read_paired<kMode>(TileRow<Element>(row_address, row), reciprocal, paired, [](uint32_t, uint32_t) {});
  is_wide = __any_sync(~0u, (block.first | block.rest_or) > 0xffffu);
  if (is_wide) {
    block = read_wide<Element, kMode>(row_address, row, reciprocal, valid, wide);
  } else if (valid < kBlockElements) {
    drop_residuals_from(valid, block, [&] { return drop_pairs_from(valid, paired); });
  }
  return block;
}

template <int kMode>
__device__ __forceinline__ RecordShape record_shape(const Residuals& block) {
  if (kMode == kOutlier) return outlier_shape(block.first, block.rest_or);
  return plain_shape(block.first | block.rest_or);
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

// Writes the record at byte `at` of the sink. planes(emit) calls emit(k, plane k) for k = 0, 1, ... to the largest rate
// in the warp or further; a magnitude kept apart as the outlier is not in them.
template <int kMode, typename Sink, typename Planes>
__device__ __forceinline__ void write_planes(uint32_t signs, uint32_t first, const RecordShape& shape, uint32_t at,
                                             const Sink& sink, Planes&& planes) {
  const uint32_t sign_word = __byte_perm(signs, 0, 0x0123);
  if (kMode != kOutlier) {
    if (shape.rate) sink.word(at, sign_word);
    AlignedWords<Sink> words{sink, at + 4, shape.rate};
    planes(words);
    return;
  }
  write_bytes(sink, at, first, shape.outlier_bytes);
  const uint32_t signs_at = at + shape.outlier_bytes;
  const uint32_t head = signs_at & 3;
  if (shape.bytes) {
    if (head)
      write_bytes(sink, signs_at, sign_word, 4 - head);
    else
      sink.word(signs_at, sign_word);
  }
  ShiftedWords<Sink> words{sink, (signs_at & ~3u) + 4, 8 * head, shape.rate, sign_word};
  planes(words);
  if (shape.bytes && head) {
    write_bytes(sink, (signs_at & ~3u) + 4 * (shape.rate + 1), words.previous >> (32 - 8 * head), head);
  }
}

template <int kMode, typename Sink>
__device__ __noinline__ void write_wide(WideMagnitudes& wide, uint32_t signs, uint32_t first, RecordShape shape,
                                        uint32_t warp_planes, uint32_t at, Sink sink) {
  if (shape.outlier_bytes) wide.words[0] = 0;
  write_planes<kMode>(signs, first, shape, at, sink, [&](auto& emit) { emit_planes(wide.words, warp_planes, emit); });
}

// The record of a block that read_rows has read.
template <int kMode, typename Sink>
__device__ __forceinline__ void write_record(const Residuals& block, PairedMagnitudes& paired, WideMagnitudes& wide,
                                             bool is_wide, const RecordShape& shape, uint32_t at, const Sink& sink) {
  const uint32_t warp_planes = __reduce_max_sync(~0u, shape.rate);
  if (is_wide) {
    return write_wide<kMode>(wide, block.signs, block.first, shape, warp_planes, at, sink);
  }
  if (shape.outlier_bytes) paired.pairs[0] &= 0xffff0000u;
  write_planes<kMode>(block.signs, block.first, shape, at, sink,
                      [&](auto& emit) { emit_pair_planes(paired.pairs, warp_planes, emit); });
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_ENCODE_ROWS_CUH
