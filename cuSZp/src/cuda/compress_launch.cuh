// Launches the compress kernel of one element type; included by the file that instantiates it.
#ifndef CUSZP_CUDA_COMPRESS_LAUNCH_CUH
#define CUSZP_CUDA_COMPRESS_LAUNCH_CUH

#include <algorithm>

#include "compress.cuh"
#include "residency.h"

namespace cuszp_gpu {

template <typename Element>
struct CompressShape {
  using Sizes = CompressSizes<kTileWarps, 2, 8, 5 * 1024>;
  static constexpr uint32_t kBlocksPerSm = 4;
};

template <typename Element, int kMode>
cudaError_t launch_compress_mode(const CompressArguments& arguments, cudaStream_t stream) {
  using Sizes = typename CompressShape<Element>::Sizes;
  constexpr int kThreads = Sizes::kThreads;
  constexpr size_t kSharedBytes = sizeof(StreamShared<Element, Sizes>);
  auto* kernel = compress_kernel<Element, kMode, Sizes, CompressShape<Element>::kBlocksPerSm>;
  static Residency residency;
  cudaError_t error = cudaSuccess;
  const int resident = residency.blocks(reinterpret_cast<const void*>(kernel), kThreads, kSharedBytes, error);
  if (error != cudaSuccess) return error;
  const uint32_t blocks = std::max(1u, std::min(arguments.tiles, static_cast<uint32_t>(resident)));
  kernel<<<blocks, kThreads, kSharedBytes, stream>>>(arguments);
  return cudaGetLastError();
}

template <typename Element>
cudaError_t launch_compress(const CompressArguments& arguments, cuszp_mode mode, cudaStream_t stream) {
  switch (mode) {
    case CUSZP_MODE_FIXED:
      return launch_compress_mode<Element, kFixed>(arguments, stream);
    case CUSZP_MODE_PLAIN:
      return launch_compress_mode<Element, kPlain>(arguments, stream);
    case CUSZP_MODE_OUTLIER:
      return launch_compress_mode<Element, kOutlier>(arguments, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_COMPRESS_LAUNCH_CUH
