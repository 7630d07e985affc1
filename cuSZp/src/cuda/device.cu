// Whether the current device can run this library, said in one line.
#include <cuda_runtime_api.h>

#include <cstdio>

#include "cuszp/cuszp_cuda.h"

namespace {

__global__ void image_probe() {}

}  // namespace

extern "C" const char* cuszp_cuda_device_problem(void) {
  static thread_local char line[384];
  int device = 0;
  cudaFuncAttributes attributes{};
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaFuncGetAttributes(&attributes, image_probe);
  if (error == cudaSuccess) return nullptr;
  (void)cudaGetLastError();
  cudaDeviceProp properties{};
  const bool lacks_image = error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction ||
                           error == cudaErrorUnsupportedPtxVersion;
  if (lacks_image && cudaGetDeviceProperties(&properties, device) == cudaSuccess) {
    char remedy[64] = "8.0 or newer is needed";
    if (properties.major >= 8) {
      std::snprintf(remedy, sizeof remedy, "build it with CUDAARCHS=%d%d", properties.major, properties.minor);
    }
    std::snprintf(line, sizeof line, "this build of cuszp has no CUDA code for %s, compute capability %d.%d: %s",
                  properties.name, properties.major, properties.minor, remedy);
  } else {
    std::snprintf(line, sizeof line, "CUDA cannot be used: %s", cudaGetErrorString(error));
  }
  return line;
}
