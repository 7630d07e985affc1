// Launches the batch kernels of one element type; included by the file that instantiates them.
#ifndef CUSZP_CUDA_BATCH_LAUNCH_CUH
#define CUSZP_CUDA_BATCH_LAUNCH_CUH

#include <algorithm>

#include "batch_compress.cuh"
#include "batch_decompress.cuh"
#include "residency.h"

namespace cuszp_gpu {

constexpr uint32_t kBatchBlocksPerSm = 4;

inline uint32_t batch_blocks(uint64_t count, int resident, uint32_t most_blocks) {
  uint64_t blocks = std::min<uint64_t>(count, static_cast<uint64_t>(resident));
  if (most_blocks > 0) blocks = std::min<uint64_t>(blocks, most_blocks);
  return static_cast<uint32_t>(std::max<uint64_t>(blocks, 1));
}

template <typename Element, int kMode>
cudaError_t launch_batch_compress_mode(const BatchCompressArguments& arguments, uint32_t most_blocks,
                                       cudaStream_t stream) {
  using Sizes = CompressSizes<kTileWarps, 2, 8, 5 * 1024>;
  constexpr int kThreads = Sizes::kThreads;
  constexpr size_t kSharedBytes = sizeof(BatchShared<Element, Sizes>);
  auto* kernel = batch_compress_kernel<Element, kMode, Sizes, kBatchBlocksPerSm>;
  static Residency residency;
  cudaError_t error = cudaSuccess;
  const int resident = residency.blocks(reinterpret_cast<const void*>(kernel), kThreads, kSharedBytes, error);
  if (error != cudaSuccess) return error;
  kernel<<<batch_blocks(arguments.count, resident, most_blocks), kThreads, kSharedBytes, stream>>>(arguments);
  return cudaGetLastError();
}

template <typename Element>
cudaError_t launch_batch_compress(const BatchCompressArguments& arguments, cuszp_mode mode, uint32_t most_blocks,
                                  cudaStream_t stream) {
  switch (mode) {
    case CUSZP_MODE_FIXED:
      return launch_batch_compress_mode<Element, kFixed>(arguments, most_blocks, stream);
    case CUSZP_MODE_PLAIN:
      return launch_batch_compress_mode<Element, kPlain>(arguments, most_blocks, stream);
    case CUSZP_MODE_OUTLIER:
      return launch_batch_compress_mode<Element, kOutlier>(arguments, most_blocks, stream);
  }
  return cudaErrorInvalidValue;
}

template <typename Element, int kMode>
cudaError_t launch_batch_decompress_mode(const BatchDecompressArguments& arguments, uint32_t most_blocks,
                                         cudaStream_t stream) {
  constexpr uint32_t kStages = 6;
  constexpr uint32_t kRingBytes = 19 * 1024;
  constexpr int kThreads = 32 * (kTileWarps + kServiceWarps);
  constexpr size_t kSharedBytes = sizeof(BatchDecompressShared<Element, kTileWarps, kStages, kRingBytes>);
  auto* kernel = batch_decompress_kernel<Element, kMode, kTileWarps, kStages, kRingBytes, kBatchBlocksPerSm>;
  static Residency residency;
  cudaError_t error = cudaSuccess;
  const int resident = residency.blocks(reinterpret_cast<const void*>(kernel), kThreads, kSharedBytes, error);
  if (error != cudaSuccess) return error;
  kernel<<<batch_blocks(arguments.count, resident, most_blocks), kThreads, kSharedBytes, stream>>>(arguments);
  return cudaGetLastError();
}

template <typename Element>
cudaError_t launch_batch_decompress(const BatchDecompressArguments& arguments, cuszp_mode mode, uint32_t most_blocks,
                                    cudaStream_t stream) {
  switch (mode) {
    case CUSZP_MODE_FIXED:
      return launch_batch_decompress_mode<Element, kFixed>(arguments, most_blocks, stream);
    case CUSZP_MODE_PLAIN:
      return launch_batch_decompress_mode<Element, kPlain>(arguments, most_blocks, stream);
    case CUSZP_MODE_OUTLIER:
      return launch_batch_decompress_mode<Element, kOutlier>(arguments, most_blocks, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_BATCH_LAUNCH_CUH
