// Launches the KV-block kernels of one element type; included by the file that instantiates them.
#ifndef CUSZP_CUDA_KV_LAUNCH_CUH
#define CUSZP_CUDA_KV_LAUNCH_CUH

#include "kv_load.cuh"
#include "kv_store.cuh"
#include "residency.h"

namespace cuszp_gpu {

constexpr uint32_t kKvMostImageBytes = 100 * 1024;  // two of them fit into a multiprocessor

constexpr uint32_t kKvFewThreads = 512, kKvManyThreads = 1024;
constexpr uint32_t kLinkThreads = 96 * kKvFewThreads;  // fill a link outward: between 64 x 512, a little short, and all

// For blocks of most_elements: a thread a row, room for two images.
template <typename Arguments>
uint32_t fit_kv(Arguments& arguments) {
  const uint64_t element = cuszp_kv::element_bytes(arguments.call.dtype);
  const uint64_t image = (arguments.most_elements * element + 127) & ~uint64_t(127);
  arguments.image_bytes = static_cast<uint32_t>(std::min<uint64_t>(image, kKvMostImageBytes));
  const uint32_t rows = (arguments.most_elements + 31) / 32;
  return std::min(kKvManyThreads, std::max(32u, (rows + 31) / 32 * 32));
}

// The shared memory differs from call to call, so the thread blocks that fit are counted here; the registers are enough
// for the kernel's most threads on a multiprocessor.
template <typename Arguments>
cudaError_t launch_kv(void (*kernel)(Arguments), Residency& residency, uint32_t threads, const Arguments& arguments,
                      uint32_t most_blocks, cudaStream_t stream) {
  const LaunchShape shape{static_cast<int>(threads), kKvSharedBytes + 2 * (arguments.image_bytes + kKvSlack)};
  const LaunchShape largest{static_cast<int>(threads > kKvFewThreads ? kKvManyThreads : kKvFewThreads),
                            kKvSharedBytes + 2 * (kKvMostImageBytes + kKvSlack)};
  Residence residence{};
  const cudaError_t error = residency.find(reinterpret_cast<const void*>(kernel), largest, residence);
  if (error != cudaSuccess) return error;
  if (residence.blocks == 0) return cudaErrorInvalidConfiguration;
  const uint64_t a_multiprocessor = std::max<uint64_t>(
      1, std::min<uint64_t>(uint64_t(largest.threads) / threads, 220 * 1024 / (shape.shared_bytes + 1024)));
  const uint64_t resident = residence.multiprocessors * a_multiprocessor;
  const uint64_t count = uint64_t(arguments.call.move_count) * arguments.call.plane_count;
  const uint64_t blocks = std::min(count, most_blocks > 0 ? std::min<uint64_t>(most_blocks, resident) : resident);
  return launch(kernel, shape, residence, static_cast<uint32_t>(blocks), arguments, stream);
}

template <typename Element>
cudaError_t launch_kv_store(KvStoreArguments arguments, uint32_t most_blocks, cudaStream_t stream) {
  static Residency few, many;
  const uint32_t threads = fit_kv(arguments);
  if (most_blocks == 0 && arguments.slab_on_host) most_blocks = kLinkThreads / threads;
  if (threads > kKvFewThreads) {
    return launch_kv(kv_store_kernel<Element, kKvManyThreads>, many, threads, arguments, most_blocks, stream);
  }
  return launch_kv(kv_store_kernel<Element, kKvFewThreads>, few, threads, arguments, most_blocks, stream);
}

template <typename Element>
cudaError_t launch_kv_load(KvLoadArguments arguments, uint32_t most_blocks, cudaStream_t stream) {
  static Residency few, many;
  const uint32_t threads = fit_kv(arguments);
  if (threads > kKvFewThreads) {
    return launch_kv(kv_load_kernel<Element, kKvManyThreads>, many, threads, arguments, most_blocks, stream);
  }
  return launch_kv(kv_load_kernel<Element, kKvFewThreads>, few, threads, arguments, most_blocks, stream);
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_KV_LAUNCH_CUH
