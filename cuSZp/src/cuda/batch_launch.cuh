// Launches the batch kernels of one element type; included by the file that instantiates them.
#ifndef CUSZP_CUDA_BATCH_LAUNCH_CUH
#define CUSZP_CUDA_BATCH_LAUNCH_CUH

#include "batch_compress.cuh"
#include "batch_decompress.cuh"
#include "dispatch.h"
#include "residency.h"

namespace cuszp_gpu {

constexpr uint32_t kBatchBlocksPerSm = 4;

// A thread block for each stream, `most_blocks` at most; 0: no limit.
inline uint64_t batch_blocks(uint64_t count, uint32_t most_blocks) {
  return most_blocks > 0 ? std::min<uint64_t>(count, most_blocks) : count;
}

template <typename Element, int kMode>
cudaError_t launch_batch_compress_mode(const BatchCompressArguments& arguments, uint32_t most_blocks,
                                       cudaStream_t stream) {
  using Sizes = CompressSizes<kTileWarps, 2, 8, 5 * 1024>;
  static Residency on_device, on_host;
  const bool host = arguments.pages_on_host;
  const size_t shared_bytes = host ? sizeof(HostBatchShared<Element, Sizes>) : sizeof(BatchShared<Element, Sizes>);
  return launch_resident(batch_compress_kernel<Element, kMode, Sizes, kBatchBlocksPerSm>, host ? on_host : on_device,
                         {Sizes::kThreads, shared_bytes}, batch_blocks(arguments.count, most_blocks), arguments,
                         stream);
}

template <typename Element>
cudaError_t launch_batch_compress(const BatchCompressArguments& arguments, cuszp_mode mode, uint32_t most_blocks,
                                  cudaStream_t stream) {
  return for_mode(mode,
                  [&](auto m) { return launch_batch_compress_mode<Element, m.value>(arguments, most_blocks, stream); });
}

template <typename Element, int kMode>
cudaError_t launch_batch_decompress_mode(const BatchDecompressArguments& arguments, uint32_t most_blocks,
                                         cudaStream_t stream) {
  constexpr uint32_t kStages = 6;
  constexpr uint32_t kRingBytes = 19 * 1024;
  using Shared = BatchDecompressShared<Element, kTileWarps, kStages, kRingBytes>;
  static Residency residency;
  return launch_resident(batch_decompress_kernel<Element, kMode, kTileWarps, kStages, kRingBytes, kBatchBlocksPerSm>,
                         residency, {32 * (kTileWarps + kServiceWarps), sizeof(Shared)},
                         batch_blocks(arguments.count, most_blocks), arguments, stream);
}

template <typename Element>
cudaError_t launch_batch_decompress(const BatchDecompressArguments& arguments, cuszp_mode mode, uint32_t most_blocks,
                                    cudaStream_t stream) {
  return for_mode(
      mode, [&](auto m) { return launch_batch_decompress_mode<Element, m.value>(arguments, most_blocks, stream); });
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_BATCH_LAUNCH_CUH
