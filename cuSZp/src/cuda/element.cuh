// The element types float32, bfloat16 and float16: widening of a 16-byte chunk, rounding back, quantiser.
#ifndef CUSZP_CUDA_ELEMENT_CUH
#define CUSZP_CUDA_ELEMENT_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace cuszp_gpu {

struct F32 {
  static constexpr uint32_t kBytes = 4;
};
struct Bf16 {
  static constexpr uint32_t kBytes = 2;
};
struct F16 {
  static constexpr uint32_t kBytes = 2;
};

template <typename Element>
constexpr uint32_t kElementsPerChunk = 16 / Element::kBytes;

// Widens one 16-byte chunk; `out` has kElementsPerChunk floats.
template <typename Element>
__device__ __forceinline__ void widen_chunk(const uint4& chunk, float* out);

template <>
__device__ __forceinline__ void widen_chunk<F32>(const uint4& chunk, float* out) {
  out[0] = __uint_as_float(chunk.x);
  out[1] = __uint_as_float(chunk.y);
  out[2] = __uint_as_float(chunk.z);
  out[3] = __uint_as_float(chunk.w);
}

template <>
__device__ __forceinline__ void widen_chunk<Bf16>(const uint4& chunk, float* out) {
  const uint32_t words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = __uint_as_float(words[i] << 16);
    out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}

template <>
__device__ __forceinline__ void widen_chunk<F16>(const uint4& chunk, float* out) {
  const uint32_t words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = __half2float(__ushort_as_half(static_cast<unsigned short>(words[i] & 0xffffu)));
    out[2 * i + 1] = __half2float(__ushort_as_half(static_cast<unsigned short>(words[i] >> 16)));
  }
}

// As quantise, plus kQuickBias, where that is below 2^22 in magnitude; some other value elsewhere, NaN included.
// With t = RN(r + 0.5): t >= 0 gives floor(t), t < 0 gives the largest integer below t, which is floor of the float
// below t. Adding 1.5 * 2^23 toward minus infinity is floor, and adds the integer to the bits.
constexpr uint32_t kQuickBias = 0x4b400000;
__device__ __forceinline__ uint32_t quantise_quickly(float value, float reciprocal) {
  const uint32_t shifted = __float_as_uint(__fadd_rn(__fmul_rn(value, reciprocal), 0.5f));
  return __float_as_uint(__fadd_rd(__uint_as_float(shifted + (shifted >> 31)), 12582912.0f));
}

// One element at any byte address, widened.
template <typename Element>
__device__ __forceinline__ float load_element(const uint8_t* at) {
  uint4 chunk = make_uint4(0, 0, 0, 0);
  for (uint32_t i = 0; i < Element::kBytes; ++i) chunk.x |= static_cast<uint32_t>(at[i]) << (8 * i);
  float values[kElementsPerChunk<Element>];
  widen_chunk<Element>(chunk, values);
  return values[0];
}

// Rounds kElementsPerChunk floats to nearest even into one 16-byte chunk.
template <typename Element>
__device__ __forceinline__ uint4 narrow_chunk(const float* in);

template <>
__device__ __forceinline__ uint4 narrow_chunk<F32>(const float* in) {
  return make_uint4(__float_as_uint(in[0]), __float_as_uint(in[1]), __float_as_uint(in[2]), __float_as_uint(in[3]));
}

__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ __forceinline__ uint32_t f16_pair(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

template <>
__device__ __forceinline__ uint4 narrow_chunk<Bf16>(const float* in) {
  return make_uint4(bf16_pair(in[0], in[1]), bf16_pair(in[2], in[3]), bf16_pair(in[4], in[5]), bf16_pair(in[6], in[7]));
}

template <>
__device__ __forceinline__ uint4 narrow_chunk<F16>(const float* in) {
  return make_uint4(f16_pair(in[0], in[1]), f16_pair(in[2], in[3]), f16_pair(in[4], in[5]), f16_pair(in[6], in[7]));
}

// The format's quantiser: single roundings, nothing fused, saturating, NaN gives -1. The last step is written in PTX
// because a predicated add is one instruction less than what nvcc makes of a conditional expression.
__device__ __forceinline__ int32_t quantise(float value, float reciprocal) {
  const float scaled = __fmul_rn(value, reciprocal);
  int32_t quantum = __float2int_rz(__fadd_rn(scaled, 0.5f));
  asm("{\n.reg .pred p;\n"
      "setp.ge.f32 p, %1, 0fBF000000;\n"
      "@!p add.s32 %0, %0, -1;\n}"
      : "+r"(quantum)
      : "f"(scaled));
  return quantum;
}

__device__ __forceinline__ bool bound_is_usable(float error_bound) {
  return error_bound > 0.0f && error_bound <= 3.402823466e38f;
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_ELEMENT_CUH
