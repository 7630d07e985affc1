// How many thread blocks of a kernel one device holds at once, asked once a kernel and device.
#ifndef CUSZP_CUDA_RESIDENCY_H
#define CUSZP_CUDA_RESIDENCY_H

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstddef>

namespace cuszp_gpu {

constexpr int kMaxDevices = 64;

// One object a kernel, static: constant-initialised, safe from several host threads, no call to the driver after
// the first use on a device.
class Residency {
 public:
  // Thread blocks on the current device; raises the kernel's shared memory limit. 0 with `error` set on failure.
  int blocks(const void* kernel, int threads, size_t shared_bytes, cudaError_t& error) {
    int device = 0;
    error = cudaGetDevice(&device);
    if (error != cudaSuccess) return 0;
    if (device < kMaxDevices) {
      const int known = known_[device].load(std::memory_order_acquire);
      if (known > 0) return known;
    }
    int multiprocessors = 0;
    int per_multiprocessor = 0;
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    if (error == cudaSuccess) {
      error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
    }
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
    if (error == cudaSuccess) {
      error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel, threads, shared_bytes);
    }
    if (error != cudaSuccess) {
      (void)cudaGetLastError();
      return 0;
    }
    const int resident = multiprocessors * (per_multiprocessor > 0 ? per_multiprocessor : 1);
    if (device < kMaxDevices) known_[device].store(resident, std::memory_order_release);
    return resident;
  }

 private:
  std::atomic<int> known_[kMaxDevices] = {};
};

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_RESIDENCY_H
