// Helpers of the CUDA test and bench programs: device memory that frees itself, error checks, input data.
#ifndef CUSZP_TESTS_CUDA_SUPPORT_H
#define CUSZP_TESTS_CUDA_SUPPORT_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cuszp/cuszp.h"
#include "cuszp/cuszp_cuda.h"

namespace cuszp_test {

inline void require_cuda(cudaError_t error, const char* what, int line) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "line %d: %s: %s\n", line, what, cudaGetErrorString(error));
  std::exit(2);
}
#define CUDA_OK(call) ::cuszp_test::require_cuda((call), #call, __LINE__)

// Device memory of `bytes` bytes, 256-byte aligned.
class DeviceBytes {
 public:
  explicit DeviceBytes(size_t bytes) : size_(bytes) { CUDA_OK(cudaMalloc(&data_, bytes ? bytes : 1)); }
  ~DeviceBytes() { cudaFree(data_); }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;
  uint8_t* data() const { return static_cast<uint8_t*>(data_); }
  template <typename T>
  T* as(size_t byte_offset = 0) const {
    return reinterpret_cast<T*>(data() + byte_offset);
  }
  size_t size() const { return size_; }
  void fill(int value) const { CUDA_OK(cudaMemset(data_, value, size_)); }
  void upload(const void* from, size_t bytes, size_t at = 0) const {
    CUDA_OK(cudaMemcpy(data() + at, from, bytes, cudaMemcpyHostToDevice));
  }
  std::vector<uint8_t> download() const {
    std::vector<uint8_t> out(size_);
    CUDA_OK(cudaMemcpy(out.data(), data_, size_, cudaMemcpyDeviceToHost));
    return out;
  }

 private:
  void* data_ = nullptr;
  size_t size_;
};

inline size_t element_bytes(cuszp_dtype dtype) {
  return dtype == CUSZP_F32 ? 4 : 2;
}
inline const char* dtype_name(cuszp_dtype dtype) {
  return dtype == CUSZP_F32 ? "f32" : dtype == CUSZP_BF16 ? "bf16" : "f16";
}
inline const char* mode_name(int mode) {
  return mode == 0 ? "fixed" : mode == 1 ? "plain" : "outlier";
}

// Values rounded to `dtype`, as stored.
inline std::vector<uint8_t> stored(const std::vector<float>& values, cuszp_dtype dtype) {
  std::vector<uint8_t> out(values.size() * element_bytes(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == CUSZP_F32) {
      std::memcpy(&out[4 * i], &values[i], 4);
    } else if (dtype == CUSZP_BF16) {
      const __nv_bfloat16 rounded = __float2bfloat16(values[i]);
      std::memcpy(&out[2 * i], &rounded, 2);
    } else {
      const __half rounded = __float2half(values[i]);
      std::memcpy(&out[2 * i], &rounded, 2);
    }
  }
  return out;
}

// A key-value cache as rows of 1024 channels: unit normals, 2 % of the channels 10 to 20 times larger.
inline std::vector<float> cache_like(size_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform;
  std::vector<float> scale(1024, 1.0f), values(n);
  for (float& s : scale) {
    if (uniform(random) < 0.02f) s = 10.0f + 10.0f * uniform(random);
  }
  std::vector<float> pool(1 << 16);
  for (float& p : pool) p = normal(random);
  size_t at = 0;
  for (size_t i = 0; i < n; ++i) {
    if (i % 1024 == 0) at = random() % pool.size();
    values[i] = pool[(at + i) % pool.size()] * scale[i % 1024];
  }
  return values;
}

}  // namespace cuszp_test

#endif  // CUSZP_TESTS_CUDA_SUPPORT_H
