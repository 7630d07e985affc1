// Bit planes of 32 values held by one thread: the 8x8 bit transpose in four byte lanes at once, and both directions.
//
// A plane is a 32-bit word whose byte j holds one bit of elements 8j..8j+7, element 8j in the byte's top bit.
#ifndef CUSZP_CUDA_BITPLANE_CUH
#define CUSZP_CUDA_BITPLANE_CUH

#include <cstdint>

namespace cuszp_gpu {

// (mask & a) | (~mask & b); nvcc makes two instructions of the C expression.
__device__ __forceinline__ uint32_t bit_select(uint32_t mask, uint32_t a, uint32_t b) {
  uint32_t out;
  asm("lop3.b32 %0, %1, %2, %3, 0xCA;" : "=r"(out) : "r"(mask), "r"(a), "r"(b));
  return out;
}

template <int kShift, uint32_t kMask>
__device__ __forceinline__ void exchange_bits(uint32_t& a, uint32_t& b) {
  const uint32_t low = bit_select(kMask, a, b << kShift);
  b = bit_select(kMask, a >> kShift, b);
  a = low;
}

// Transposes, in each byte lane, the matrix whose row r is rows[r] and whose column c is bit c.
__device__ __forceinline__ void transpose_8(uint32_t (&rows)[8]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) exchange_bits<4, 0x0f0f0f0fu>(rows[i], rows[i + 4]);
#pragma unroll
  for (int i = 0; i < 8; i += 4) {
    exchange_bits<2, 0x33333333u>(rows[i], rows[i + 2]);
    exchange_bits<2, 0x33333333u>(rows[i + 1], rows[i + 3]);
  }
#pragma unroll
  for (int i = 0; i < 8; i += 2) exchange_bits<1, 0x55555555u>(rows[i], rows[i + 1]);
}

// As transpose_8 for rows whose high four bits are zero; only the first four rows of the result are made.
__device__ __forceinline__ void transpose_4(uint32_t (&rows)[8]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) rows[i] += rows[i + 4] << 4;
  exchange_bits<2, 0x33333333u>(rows[0], rows[2]);
  exchange_bits<2, 0x33333333u>(rows[1], rows[3]);
  exchange_bits<1, 0x55555555u>(rows[0], rows[1]);
  exchange_bits<1, 0x55555555u>(rows[2], rows[3]);
}

// Row 7 - i gets byte kByte of elements i, 8 + i, 16 + i, 24 + i: the reversed order puts element 0 in the top bit.
template <int kByte>
__device__ __forceinline__ void gather_byte(const uint32_t (&magnitudes)[32], uint32_t (&rows)[8]) {
  constexpr uint32_t kPair = kByte < 2 ? 0x5410u : 0x7632u;
  constexpr uint32_t kPick = kByte % 2 == 0 ? 0x6420u : 0x7531u;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const uint32_t low = __byte_perm(magnitudes[i], magnitudes[8 + i], kPair);
    const uint32_t high = __byte_perm(magnitudes[16 + i], magnitudes[24 + i], kPair);
    rows[7 - i] = __byte_perm(low, high, kPick);
  }
}

// As gather_byte, from 16-bit magnitudes in pairs: i and 8 + i in pairs[i], 16 + i and 24 + i in pairs[8 + i].
template <int kByte>
__device__ __forceinline__ void gather_pair_byte(const uint32_t (&pairs)[16], uint32_t (&rows)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) rows[7 - i] = __byte_perm(pairs[i], pairs[8 + i], kByte == 0 ? 0x6420u : 0x7531u);
}

// Calls emit(first + k, plane k) for the planes of gathered bytes; `planes` (1..8) of them can be non-zero in this
// warp.
template <typename Emit>
__device__ __forceinline__ void emit_byte_planes(uint32_t (&rows)[8], uint32_t first, uint32_t planes, Emit& emit) {
  if (planes <= 4) {
    transpose_4(rows);
#pragma unroll
    for (int k = 0; k < 4; ++k) emit(first + k, rows[k]);
  } else {
    transpose_8(rows);
#pragma unroll
    for (int k = 0; k < 8; ++k) emit(first + k, rows[k]);
  }
}

template <int kByte, typename Emit>
__device__ __forceinline__ void emit_byte(const uint32_t (&magnitudes)[32], uint32_t planes, Emit& emit) {
  if (planes <= 8 * kByte) return;
  uint32_t rows[8];
  gather_byte<kByte>(magnitudes, rows);
  emit_byte_planes(rows, 8 * kByte, planes - 8 * kByte, emit);
}

// emit(k, word) for k = 0, 1, ..., at least `planes` - 1, in order; `planes` is the same in the whole warp.
template <typename Emit>
__device__ __forceinline__ void emit_planes(const uint32_t (&magnitudes)[32], uint32_t planes, Emit& emit) {
  emit_byte<0>(magnitudes, planes, emit);
  emit_byte<1>(magnitudes, planes, emit);
  emit_byte<2>(magnitudes, planes, emit);
  emit_byte<3>(magnitudes, planes, emit);
}

// As emit_planes, for magnitudes below 2^16 in pairs.
template <typename Emit>
__device__ __forceinline__ void emit_pair_planes(const uint32_t (&pairs)[16], uint32_t planes, Emit& emit) {
  uint32_t rows[8];
  if (planes > 0) {
    gather_pair_byte<0>(pairs, rows);
    emit_byte_planes(rows, 0, planes, emit);
  }
  if (planes > 8) {
    gather_pair_byte<1>(pairs, rows);
    emit_byte_planes(rows, 8, planes - 8, emit);
  }
}

// Turns sign-and-magnitude planes into two's complement ones, one plane after the other: d = (m ^ s) + s.
struct PlaneNegation {
  uint32_t signs;
  uint32_t carry;
  __device__ __forceinline__ explicit PlaneNegation(uint32_t sign_plane) : signs(sign_plane), carry(sign_plane) {}
  __device__ __forceinline__ uint32_t next(uint32_t plane) {
    const uint32_t flipped = plane ^ signs;
    const uint32_t out = flipped ^ carry;
    carry &= flipped;
    return out;
  }
};

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_BITPLANE_CUH
