// Launches of kernels whose thread blocks are all on the device at once: how many fit, and the launch itself.
#ifndef CUSZP_CUDA_RESIDENCY_H
#define CUSZP_CUDA_RESIDENCY_H

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace cuszp_gpu {

constexpr int kMaxDevices = 64;

struct LaunchShape {
  int threads;
  size_t shared_bytes;
};

// What a device makes of a kernel.
struct Residence {
  uint32_t blocks;  // thread blocks that the device holds at once; 0 where not one fits
  uint32_t multiprocessors;
  bool starts_early;  // its code waits for the kernel before it, see dependent_launch.cuh
};

// One object a kernel and shape, static: constant-initialised, safe from several host threads, no call to the driver
// after the first use on a device.
class Residency {
 public:
  // For the current device; raises the kernel's shared memory limit.
  cudaError_t find(const void* kernel, const LaunchShape& shape, Residence& out) {
    int device = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error != cudaSuccess) return error;
    const uint64_t known = device < kMaxDevices ? known_[device].load(std::memory_order_acquire) : 0;
    if (known != 0) {
      out = {static_cast<uint32_t>(known >> 32), static_cast<uint32_t>(known) >> 1, (known & 1) != 0};
      return cudaSuccess;
    }
    error = ask(kernel, shape, device, out);
    if (error != cudaSuccess) {
      (void)cudaGetLastError();
    } else if (device < kMaxDevices) {
      known_[device].store(uint64_t(out.blocks) << 32 | out.multiprocessors << 1 | (out.starts_early ? 1 : 0),
                           std::memory_order_release);
    }
    return error;
  }

 private:
  static cudaError_t ask(const void* kernel, const LaunchShape& shape, int device, Residence& out) {
    int multiprocessors = 0;
    int major = 0;
    int most_shared = 0;
    cudaFuncAttributes code{};
    cudaError_t error = cudaFuncGetAttributes(&code, kernel);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    if (error == cudaSuccess) {
      error = cudaDeviceGetAttribute(&most_shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    }
    // Code made from PTX for older cards does not wait, whatever card it runs on.
    out = {0, static_cast<uint32_t>(multiprocessors), major >= 9 && code.ptxVersion >= 90};
    if (error != cudaSuccess || shape.shared_bytes + code.sharedSizeBytes > static_cast<size_t>(most_shared)) {
      return error;
    }
    int per_multiprocessor = 0;
    // The same limit for every shape of a kernel, as several threads may come here at once.
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 most_shared - static_cast<int>(code.sharedSizeBytes));
    if (error == cudaSuccess) {
      error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
    }
    if (error == cudaSuccess) {
      error =
          cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel, shape.threads, shape.shared_bytes);
    }
    out.blocks = out.multiprocessors * static_cast<uint32_t>(per_multiprocessor);
    return error;
  }

  std::atomic<uint64_t> known_[kMaxDevices] = {};
};

template <typename Arguments>
cudaError_t launch(void (*kernel)(Arguments), const LaunchShape& shape, const Residence& residence, uint32_t blocks,
                   const Arguments& arguments, cudaStream_t stream) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = residence.starts_early ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, arguments);
}

// As many thread blocks as there is work for and the device holds at once.
template <typename Arguments>
cudaError_t launch_resident(void (*kernel)(Arguments), Residency& residency, const LaunchShape& shape, uint64_t wanted,
                            const Arguments& arguments, cudaStream_t stream) {
  Residence residence{};
  const cudaError_t error = residency.find(reinterpret_cast<const void*>(kernel), shape, residence);
  if (error != cudaSuccess) return error;
  if (residence.blocks == 0) return cudaErrorInvalidConfiguration;
  const uint64_t blocks = std::max<uint64_t>(1, std::min<uint64_t>(wanted, residence.blocks));
  return launch(kernel, shape, residence, static_cast<uint32_t>(blocks), arguments, stream);
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_RESIDENCY_H
