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

// Calls emit(k, plane k) for the planes of byte kByte; `planes` (1..8) of them can be non-zero in this warp.
template <int kByte, typename Emit>
__device__ __forceinline__ void emit_byte_planes(const uint32_t (&magnitudes)[32], uint32_t planes, Emit& emit) {
  uint32_t rows[8];
  gather_byte<kByte>(magnitudes, rows);
  if (planes <= 4) {
    transpose_4(rows);
#pragma unroll
    for (int k = 0; k < 4; ++k) emit(8 * kByte + k, rows[k]);
  } else {
    transpose_8(rows);
#pragma unroll
    for (int k = 0; k < 8; ++k) emit(8 * kByte + k, rows[k]);
  }
}

// emit(k, word) for k = 0, 1, ..., at least `planes` - 1, in order; `planes` is the same in the whole warp.
template <typename Emit>
__device__ __forceinline__ void emit_planes(const uint32_t (&magnitudes)[32], uint32_t planes, Emit& emit) {
  if (planes > 0) emit_byte_planes<0>(magnitudes, planes, emit);
  if (planes > 8) emit_byte_planes<1>(magnitudes, planes - 8, emit);
  if (planes > 16) emit_byte_planes<2>(magnitudes, planes - 16, emit);
  if (planes > 24) emit_byte_planes<3>(magnitudes, planes - 24, emit);
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
