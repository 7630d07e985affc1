// A stand-in for the original cuSZp library: its C interface and its faults around a codec that the test brings.
//
// Compiled as C++ it works on host memory, compiled as CUDA on device memory. The faults: the length reported for up to
// 32768 values leaves out the payload; blocks of zeros are not written; nothing checks the size of a buffer.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __CUDACC__
#include <cuda_runtime.h>
static void copy(void* to, const void* from, size_t bytes) {
  cudaMemcpy(to, from, bytes, cudaMemcpyDefault);
}
#else
struct uint3 {
  unsigned x, y, z;
};
static void copy(void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
}
#endif

extern "C" {

// The codec, on host memory: compress gives the length of the stream.
using Compress = size_t (*)(const float* values, size_t n, float error_bound, int mode, uint8_t* stream);
using Decompress = void (*)(const uint8_t* stream, size_t n, float error_bound, int mode, float* values);

struct FakeSettings {
  float error_bound;
  int dim;
  int type;
  int mode;
  void* stream;
  size_t bytes;
};

FakeSettings fake_last;

static Compress fake_compress;
static Decompress fake_decompress;

void fake_use(Compress compress, Decompress decompress) {
  fake_compress = compress;
  fake_decompress = decompress;
}

void cuSZp_compress(void* values, unsigned char* stream, size_t n, size_t* bytes, float error_bound, int dim, uint3,
                    int type, int mode, void* cuda_stream) {
  fake_last = {error_bound, dim, type, mode, cuda_stream, 0};
  const size_t metadata = (n + 32767) / 32768 * 1024;
  std::vector<float> input(n);
  std::vector<uint8_t> output(metadata + 128 * ((n + 31) / 32));
  copy(input.data(), values, 4 * n);
  const size_t length = fake_compress(input.data(), n, error_bound, mode, output.data());
  copy(stream, output.data(), length);
  *bytes = n <= 32768 ? metadata : length;
}

void cuSZp_decompress(void* values, unsigned char* stream, size_t n, size_t bytes, float error_bound, int dim, uint3,
                      int type, int mode, void* cuda_stream) {
  fake_last = {error_bound, dim, type, mode, cuda_stream, bytes};
  std::vector<uint8_t> input(bytes);
  std::vector<float> decoded(n), output(n);
  copy(input.data(), stream, bytes);
  copy(output.data(), values, 4 * n);
  fake_decompress(input.data(), n, error_bound, mode, decoded.data());
  for (size_t i = 0; i < n; ++i) {
    if (input[i / 32] != 0) output[i] = decoded[i];
  }
  copy(values, output.data(), 4 * n);
}
}
