// Launches the decompress kernel of one element type; included by the file that instantiates it.
#ifndef CUSZP_CUDA_DECOMPRESS_LAUNCH_CUH
#define CUSZP_CUDA_DECOMPRESS_LAUNCH_CUH

#include <algorithm>

#include "decompress.cuh"
#include "residency.h"

namespace cuszp_gpu {

template <typename Element>
struct DecompressShape {
  static constexpr uint32_t kStages = 6;
  static constexpr uint32_t kRingBytes = 19 * 1024;
  static constexpr uint32_t kBlocksPerSm = 5;
};

template <typename Element, int kMode>
cudaError_t launch_decompress_mode(const DecompressArguments& arguments, cudaStream_t stream) {
  using Shape = DecompressShape<Element>;
  constexpr int kThreads = 32 * (kTileWarps + kServiceWarps);
  constexpr size_t kSharedBytes = sizeof(DecompressShared<Element, kTileWarps, Shape::kStages, Shape::kRingBytes>);
  auto* kernel = decompress_kernel<Element, kMode, kTileWarps, Shape::kStages, Shape::kRingBytes, Shape::kBlocksPerSm>;
  static Residency residency;
  cudaError_t error = cudaSuccess;
  const int resident = residency.blocks(reinterpret_cast<const void*>(kernel), kThreads, kSharedBytes, error);
  if (error != cudaSuccess) return error;
  const uint32_t blocks = std::max(1u, std::min(arguments.tiles, static_cast<uint32_t>(resident)));
  kernel<<<blocks, kThreads, kSharedBytes, stream>>>(arguments);
  return cudaGetLastError();
}

template <typename Element>
cudaError_t launch_decompress(const DecompressArguments& arguments, cuszp_mode mode, cudaStream_t stream) {
  switch (mode) {
    case CUSZP_MODE_FIXED:
      return launch_decompress_mode<Element, kFixed>(arguments, stream);
    case CUSZP_MODE_PLAIN:
      return launch_decompress_mode<Element, kPlain>(arguments, stream);
    case CUSZP_MODE_OUTLIER:
      return launch_decompress_mode<Element, kOutlier>(arguments, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_DECOMPRESS_LAUNCH_CUH
