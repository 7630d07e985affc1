// An array of more than 2^31 elements on the device: compress, decompress, every error checked there.
//
// cuda_large [ELEMENTS]: bfloat16, default 2^31 + 4096 + 5. Ends with 0 when all held, with 77 where no device can be
// used or its memory is too small.
#include "cuda_support.h"

using namespace cuszp_test;

namespace {

constexpr float kBound = 0.02f;
constexpr int kThreads = 256;

// Element `index`: roughly a unit normal, another value for every index.
__device__ float value_at(uint64_t index) {
  uint64_t x = index * 0x9e3779b97f4a7c15ull + 0x632be59bd9b4e019ull;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ x >> 27) * 0x94d049bb133111ebull;
  x ^= x >> 31;
  float sum = 0;
  for (int i = 0; i < 4; ++i) sum += static_cast<float>(x >> (16 * i) & 0xffffu);
  return (sum * (1.0f / 65536) - 2.0f) * 1.7320508f;
}

__global__ void fill_values(__nv_bfloat16* values, uint64_t n) {
  const uint64_t step = uint64_t(gridDim.x) * blockDim.x;
  for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    values[i] = __float2bfloat16(value_at(i));
  }
}

// Counts values further from their original than the bound, its rounding and that to bfloat16 allow.
__global__ void count_broken(const __nv_bfloat16* values, uint64_t n, unsigned long long* broken) {
  const uint64_t step = uint64_t(gridDim.x) * blockDim.x;
  for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    const float original = __bfloat162float(__float2bfloat16(value_at(i)));
    const float error = fabsf(__bfloat162float(values[i]) - original);
    if (!(error <= kBound * 1.0001f + (fabsf(original) + kBound) * 0x1p-8f)) atomicAdd(broken, 1ull);
  }
}

int check_large(uint64_t n) {
  const uint64_t guard = 64;
  size_t available = 0, total = 0;
  CUDA_OK(cudaMemGetInfo(&available, &total));
  const uint64_t capacity = n * 2, workspace_bytes = cuszp_cuda_workspace_bytes(n);
  const uint64_t needed = n * 2 + n * 2 + guard + capacity + workspace_bytes + (uint64_t(1) << 26);
  if (available < needed) {
    std::printf("skipped: %llu bytes of device memory are needed, %zu are free\n",
                static_cast<unsigned long long>(needed), available);
    return 77;
  }
  DeviceBytes input(n * 2), output(n * 2 + guard), packed(capacity), workspace(workspace_bytes), results(32);
  output.fill(0xA5);
  results.fill(0);
  cuszp_cuda_workspace_init(workspace.data(), workspace.size(), nullptr);
  fill_values<<<2048, kThreads>>>(input.as<__nv_bfloat16>(), n);
  const auto compressed =
      cuszp_cuda_compress(input.data(), CUSZP_BF16, n, kBound, nullptr, CUSZP_MODE_PLAIN, packed.data(), capacity,
                          results.as<uint64_t>(), results.as<uint32_t>(8), workspace.data(), workspace.size(), nullptr);
  const auto restored = cuszp_cuda_decompress(packed.data(), capacity, results.as<uint64_t>(), n, kBound, nullptr,
                                              CUSZP_MODE_PLAIN, CUSZP_BF16, output.data(), results.as<uint32_t>(12),
                                              workspace.data(), workspace.size(), nullptr);
  count_broken<<<2048, kThreads>>>(output.as<__nv_bfloat16>(), n, results.as<unsigned long long>(16));
  CUDA_OK(cudaGetLastError());
  CUDA_OK(cudaDeviceSynchronize());
  const auto bytes = results.download();
  uint64_t stream_bytes, broken;
  uint32_t statuses[2];
  std::memcpy(&stream_bytes, bytes.data(), 8);
  std::memcpy(statuses, bytes.data() + 8, 8);
  std::memcpy(&broken, bytes.data() + 16, 8);
  std::vector<uint8_t> after(guard);
  CUDA_OK(cudaMemcpy(after.data(), output.data() + n * 2, guard, cudaMemcpyDeviceToHost));
  bool intact = true;
  for (uint8_t byte : after) intact = intact && byte == 0xA5;
  std::printf("cuda_large: %llu elements, stream of %llu bytes, statuses %u %u, %llu values beyond the bound%s\n",
              static_cast<unsigned long long>(n), static_cast<unsigned long long>(stream_bytes), statuses[0],
              statuses[1], static_cast<unsigned long long>(broken), intact ? "" : ", wrote past the end");
  const bool held = compressed == CUSZP_OK && restored == CUSZP_OK && statuses[0] == CUSZP_OK &&
                    statuses[1] == CUSZP_OK && broken == 0 && intact;
  return held ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (const char* problem = cuszp_cuda_device_problem()) {
    std::printf("%s\n", problem);
    return 77;
  }
  return check_large(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : (uint64_t(1) << 31) + 4096 + 5);
}
