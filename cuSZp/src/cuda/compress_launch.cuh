// Launches the compress kernels of one element type; included by the file that instantiates it.
#ifndef CUSZP_CUDA_COMPRESS_LAUNCH_CUH
#define CUSZP_CUDA_COMPRESS_LAUNCH_CUH

#include <iterator>

#include "compress.cuh"
#include "compress_once.cuh"
#include "dispatch.h"
#include "residency.h"

namespace cuszp_gpu {

constexpr uint32_t kCompressBlocksPerSm = 4;

// Warps of a block of the kernel for short streams: the fewest with which there is at most one block a multiprocessor.
// Larger blocks are fewer to look back over, smaller ones leave no multiprocessor idle.
constexpr uint32_t kOnceWarps[] = {8, 16, 32};

template <typename Element, int kMode>
cudaError_t launch_compress_mode(const CompressArguments& arguments, cudaStream_t stream) {
  static Residency once_residency[std::size(kOnceWarps)], residency;
  for (size_t i = 0; i < std::size(kOnceWarps); ++i) {
    auto* kernel = compress_once_kernel<Element, kMode>;
    const LaunchShape shape{static_cast<int>(32 * kOnceWarps[i]), once_shared_bytes(kOnceWarps[i])};
    CompressArguments whole = arguments;
    whole.tiles = arguments.tiles / (kOnceWarps[i] / kTileWarps);
    Residence residence{};
    const cudaError_t error = once_residency[i].find(reinterpret_cast<const void*>(kernel), shape, residence);
    if (error != cudaSuccess) return error;
    if (residence.blocks == 0) break;
    if (whole.tiles <= std::min(residence.multiprocessors, kMostTilesAtOnce)) {
      return launch(kernel, shape, residence, std::max(whole.tiles, 1u), whole, stream);
    }
  }
  using Sizes = CompressSizes<kTileWarps, 2, 8, 5 * 1024>;
  return launch_resident(compress_kernel<Element, kMode, Sizes, kCompressBlocksPerSm>, residency,
                         {Sizes::kThreads, sizeof(StreamShared<Element, Sizes>)}, arguments.tiles, arguments, stream);
}

template <typename Element>
cudaError_t launch_compress(const CompressArguments& arguments, cuszp_mode mode, cudaStream_t stream) {
  return for_mode(mode, [&](auto m) { return launch_compress_mode<Element, m.value>(arguments, stream); });
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_COMPRESS_LAUNCH_CUH
