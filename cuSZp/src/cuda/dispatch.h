// From what a call names at run time to a function compiled for it.
#ifndef CUSZP_CUDA_DISPATCH_H
#define CUSZP_CUDA_DISPATCH_H

#include <cuda_runtime_api.h>

#include <type_traits>

#include "element.cuh"
#include "record.cuh"

namespace cuszp_gpu {

inline bool known_mode(cuszp_mode mode) {
  return mode == CUSZP_MODE_FIXED || mode == CUSZP_MODE_PLAIN || mode == CUSZP_MODE_OUTLIER;
}

inline bool known_dtype(cuszp_dtype dtype) {
  return dtype == CUSZP_F32 || dtype == CUSZP_BF16 || dtype == CUSZP_F16;
}

inline cuszp_status to_status(cudaError_t error) {
  return error == cudaSuccess ? CUSZP_OK : CUSZP_CUDA_ERROR;
}

// launch(std::integral_constant<int, mode>{}).
template <typename Launch>
cudaError_t for_mode(cuszp_mode mode, Launch&& launch) {
  switch (mode) {
    case CUSZP_MODE_FIXED:
      return launch(std::integral_constant<int, kFixed>{});
    case CUSZP_MODE_PLAIN:
      return launch(std::integral_constant<int, kPlain>{});
    case CUSZP_MODE_OUTLIER:
      return launch(std::integral_constant<int, kOutlier>{});
  }
  return cudaErrorInvalidValue;
}

// launch(F32{}), launch(Bf16{}) or launch(F16{}).
template <typename Launch>
cuszp_status for_dtype(cuszp_dtype dtype, Launch&& launch) {
  switch (dtype) {
    case CUSZP_F32:
      return to_status(launch(F32{}));
    case CUSZP_BF16:
      return to_status(launch(Bf16{}));
    case CUSZP_F16:
      return to_status(launch(F16{}));
  }
  return CUSZP_INVALID_ARGUMENT;
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_DISPATCH_H
