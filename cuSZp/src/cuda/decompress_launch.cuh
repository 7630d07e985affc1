// Launches the decompress kernels of one element type; included by the file that instantiates it.
#ifndef CUSZP_CUDA_DECOMPRESS_LAUNCH_CUH
#define CUSZP_CUDA_DECOMPRESS_LAUNCH_CUH

#include "decompress.cuh"
#include "dispatch.h"
#include "residency.h"

namespace cuszp_gpu {

constexpr uint32_t kDecompressStages = 6;
constexpr uint32_t kDecompressRingBytes = 19 * 1024;
constexpr uint32_t kDecompressBlocksPerSm = 5;

template <typename Element, int kMode>
cudaError_t launch_decompress_mode(const DecompressArguments& arguments, cudaStream_t stream) {
  using Shared = DecompressShared<Element, kTileWarps, kDecompressStages, kDecompressRingBytes>;
  static Residency residency;
  return launch_resident(
      decompress_kernel<Element, kMode, kTileWarps, kDecompressStages, kDecompressRingBytes, kDecompressBlocksPerSm>,
      residency, {32 * (kTileWarps + kServiceWarps), sizeof(Shared)}, arguments.tiles, arguments, stream);
}

template <typename Element>
cudaError_t launch_decompress(const DecompressArguments& arguments, cuszp_mode mode, cudaStream_t stream) {
  return for_mode(mode, [&](auto m) { return launch_decompress_mode<Element, m.value>(arguments, stream); });
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_DECOMPRESS_LAUNCH_CUH
