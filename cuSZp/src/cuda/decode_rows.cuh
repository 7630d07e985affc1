// The decoding side: one thread turns a record in shared memory into 32 values in its row of a swizzled tile.
#ifndef CUSZP_CUDA_DECODE_ROWS_CUH
#define CUSZP_CUDA_DECODE_ROWS_CUH

#include <cstdint>
#include <type_traits>

#include "bitplane.cuh"
#include "copy_bytes.cuh"
#include "load_tile.cuh"
#include "record.cuh"

namespace cuszp_gpu {

// Integer to value is RN(RN(float(q)) * bound) * 2. One multiplication by 2 * bound gives the same bits while the
// bound and its double are normal numbers.
struct Scale {
  float factor;
  bool one_step;
  __device__ __forceinline__ explicit Scale(float error_bound) {
    one_step = error_bound >= 1.175494351e-38f && error_bound <= 8.507059173e37f;
    factor = one_step ? 2.0f * error_bound : error_bound;
  }
};

// The words of a record at any byte of shared memory, in order.
template <bool kAligned>
struct RecordReader {
  uint32_t address;  // of the next word, rounded down to 4
  uint32_t shift;
  uint32_t pending;
  __device__ __forceinline__ RecordReader(uint32_t at, bool empty) {
    address = at & ~3u;
    shift = (at & 3) * 8;
    pending = 0;
    if (!kAligned && !empty) {
      pending = load_shared_word(address);
      address += 4;
    }
  }
  __device__ __forceinline__ uint32_t next() {
    const uint32_t word = load_shared_word(address);
    address += 4;
    if (kAligned) return word;
    const uint32_t out = __funnelshift_r(pending, word, shift);
    pending = word;
    return out;
  }
};

// Reads planes first .. first + 7 as two's complement ones and transposes them: byte j of rows[7 - i] belongs to
// element 8j + i. Planes at and past `rate` are the sign.
template <typename Reader>
__device__ __forceinline__ void read_byte(Reader& reader, PlaneNegation& negation, uint32_t rate, uint32_t first,
                                          uint32_t keep, uint32_t (&rows)[8]) {
#pragma unroll
  for (uint32_t k = 0; k < 8; ++k) {
    const uint32_t plane = first + k < rate ? reader.next() & keep : 0;
    rows[k] = negation.next(plane);
  }
  transpose_8(rows);
}

constexpr int32_t kFloatBias = 0x4b400000;      // 1.5 * 2^23 as bits: adding a small integer adds it to the float
constexpr float kFloatBiasValue = 12582912.0f;  // valid while |integer| < 2^22
constexpr uint32_t kBiasedOutlierLimit = 1u << 21;

// The sums below call sink(i, q) for elements 0..31 in order, q as float. kPrefix: running sums from `start`.
template <bool kPrefix, typename Sink>
__device__ __forceinline__ void sum_bytes(const uint32_t (&rows)[8], int32_t start, Sink& sink) {
  int32_t biased = kFloatBias + start;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int32_t next = __dp4a(static_cast<int32_t>(rows[7 - i]), 1 << (8 * j), biased);
      if (kPrefix) biased = next;
      sink(8 * j + i, __fadd_rn(__int_as_float(next), -kFloatBiasValue));
    }
  }
}

template <bool kPrefix, typename Sink>
__device__ __forceinline__ void sum_halves(const uint32_t (&low)[8], const uint32_t (&high)[8], int32_t start,
                                           Sink& sink) {
  int32_t biased = kFloatBias + start;
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    uint32_t pairs[8];  // elements 8j + i and 8(j + 1) + i
#pragma unroll
    for (int i = 0; i < 8; ++i) pairs[i] = __byte_perm(low[7 - i], high[7 - i], j == 0 ? 0x5140 : 0x7362);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int32_t next = __dp2a_lo(static_cast<int32_t>(pairs[i]), half ? 0x0100 : 0x0001, biased);
        if (kPrefix) biased = next;
        sink(8 * (j + half) + i, __fadd_rn(__int_as_float(next), -kFloatBiasValue));
      }
    }
  }
}

template <bool kPrefix, typename Sink>
__device__ __forceinline__ void sum_words(const uint32_t (&bytes)[4][8], int32_t start, Sink& sink) {
  uint32_t quantum = static_cast<uint32_t>(start);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t pick = j | (j + 4) << 4;
      const uint32_t low = __byte_perm(bytes[0][7 - i], bytes[1][7 - i], pick);
      const uint32_t high = __byte_perm(bytes[2][7 - i], bytes[3][7 - i], pick);
      const uint32_t residual = __byte_perm(low, high, 0x5410);
      quantum = kPrefix ? quantum + residual : residual;
      sink(8 * j + i, __int2float_rn(static_cast<int32_t>(quantum)));
    }
  }
}

// Scales values and writes them as 16-byte chunks of the thread's row.
template <typename Element, bool kOneStep>
struct RowWriter {
  uint32_t row_address;
  uint32_t row;
  float factor;
  float chunk[kElementsPerChunk<Element>];
  __device__ __forceinline__ RowWriter(uint32_t address, uint32_t row_index, const Scale& scale)
      : row_address(address), row(row_index), factor(scale.factor) {}
  __device__ __forceinline__ void operator()(uint32_t i, float quantum) {
    const float scaled = __fmul_rn(quantum, factor);
    put(i, kOneStep ? scaled : 2.0f * scaled);
  }
  __device__ __forceinline__ void put(uint32_t i, float value) {
    constexpr uint32_t kPerChunk = kElementsPerChunk<Element>;
    chunk[i % kPerChunk] = value;
    if (i % kPerChunk == kPerChunk - 1) {
      store_shared_16(row_address + ((i / kPerChunk) ^ swizzle<Element>(row)) * 16, narrow_chunk<Element>(chunk));
    }
  }
};

// A first value that was kept apart, as a two's complement integer; `signs` is the record's sign word.
__device__ __forceinline__ int32_t read_outlier(uint32_t at, uint32_t bytes, uint32_t signs) {
  uint32_t value = 0;
  for (uint32_t i = 0; i < bytes; ++i) value |= load_shared_byte(at + i) << (8 * i);
  value &= 0x7fffffffu;  // a quantised value has 31 bits
  return static_cast<int32_t>(signs & 0x80u ? 0u - value : value);
}

// Decodes the record at shared address `record`. `warp_planes`: the largest rate in the warp.
// release() is called by the whole warp once every lane has read its record.
// make_writer(std::true_type or std::false_type for Scale::one_step, Scale) gives what takes the values, as RowWriter.
// kAligned: records lie at multiples of 4.
template <int kMode, bool kAligned, typename MakeWriter, typename Release>
__device__ __forceinline__ void decode_record_to(uint32_t record, const RecordShape& shape, uint32_t warp_planes,
                                                 const Scale& scale, MakeWriter&& make_writer, Release&& release) {
  constexpr bool kPrefix = kMode != kFixed;
  const bool empty = shape.bytes == 0;
  RecordReader<kAligned> reader(record + shape.outlier_bytes, empty);
  const uint32_t signs = empty ? 0 : reader.next();
  int32_t start = 0;
  bool small = scale.one_step && warp_planes <= 15;
  if (kMode == kOutlier) {
    start = read_outlier(record, shape.outlier_bytes, signs);
    small = __all_sync(~0u, small && static_cast<uint32_t>(abs(start)) < kBiasedOutlierLimit);
  }
  // Element 0 of a flagged record is not in the planes: its bits there are ignored.
  const uint32_t keep = shape.outlier_bytes ? ~0x80u : ~0u;
  PlaneNegation negation(signs & keep);
  if (small && warp_planes <= 7) {
    uint32_t rows[8];
    read_byte(reader, negation, shape.rate, 0, keep, rows);
    release();
    auto writer = make_writer(std::true_type{}, scale);
    sum_bytes<kPrefix>(rows, start, writer);
  } else if (small) {
    uint32_t low[8], high[8];
    read_byte(reader, negation, shape.rate, 0, keep, low);
    read_byte(reader, negation, shape.rate, 8, keep, high);
    release();
    auto writer = make_writer(std::true_type{}, scale);
    sum_halves<kPrefix>(low, high, start, writer);
  } else {
    uint32_t bytes[4][8];
#pragma unroll
    for (int level = 0; level < 4; ++level) read_byte(reader, negation, shape.rate, 8 * level, keep, bytes[level]);
    release();
    Scale two_steps = scale;
    if (scale.one_step) two_steps.factor = 0.5f * scale.factor;
    auto writer = make_writer(std::false_type{}, two_steps);
    sum_words<kPrefix>(bytes, start, writer);
  }
}

// The same into the thread's row of a swizzled tile.
template <typename Element, int kMode, typename Release>
__device__ __forceinline__ void decode_record(uint32_t record, const RecordShape& shape, uint32_t warp_planes,
                                              uint32_t row_address, uint32_t row, const Scale& scale,
                                              Release&& release) {
  decode_record_to<kMode, kMode != kOutlier>(
      record, shape, warp_planes, scale,
      [&](auto one_step, const Scale& to) {
        return RowWriter<Element, decltype(one_step)::value>(row_address, row, to);
      },
      release);
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_DECODE_ROWS_CUH
