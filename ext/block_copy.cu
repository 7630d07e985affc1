// Copies of many scattered blocks: the kernel, the loop of asynchronous copies and the batched copy call.
#include <cuda_runtime_api.h>

#include "block_copy.h"

namespace kvbench::block_copy {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kChunksPerThread = 4;  // loads under way before the first store, to cover the bus's latency
constexpr uint64_t kTileBytes = uint64_t{kThreads} * kChunksPerThread * sizeof(uint4);
constexpr int kFirstVersionWithBatches = 12080;

// Copies `bytes` <= kTileBytes; both ends 16-byte aligned.
__device__ void copy_aligned(uint8_t* destination, const uint8_t* source, uint32_t bytes) {
  const auto* from = reinterpret_cast<const uint4*>(source);
  auto* to = reinterpret_cast<uint4*>(destination);
  const uint32_t chunks = bytes / sizeof(uint4);
  uint4 held[kChunksPerThread];
#pragma unroll
  for (uint32_t i = 0; i < kChunksPerThread; ++i) {
    const uint32_t chunk = i * kThreads + threadIdx.x;
    if (chunk < chunks) held[i] = from[chunk];
  }
#pragma unroll
  for (uint32_t i = 0; i < kChunksPerThread; ++i) {
    const uint32_t chunk = i * kThreads + threadIdx.x;
    if (chunk < chunks) to[chunk] = held[i];
  }
  const uint32_t rest = chunks * sizeof(uint4) + threadIdx.x;  // fewer than 16 bytes are left
  if (rest < bytes) destination[rest] = source[rest];
}

__device__ void copy_bytes(uint8_t* destination, const uint8_t* source, uint32_t bytes) {
  for (uint32_t i = threadIdx.x; i < bytes; i += kThreads) destination[i] = source[i];
}

// A tile is a part of one block; tiles go round the grid.
__global__ void __launch_bounds__(kThreads)
    copy_tiles(void* const* __restrict__ destinations, const void* const* __restrict__ sources, uint64_t tiles,
               uint64_t tiles_per_block, uint64_t block_bytes) {
  for (uint64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const uint64_t block = tile / tiles_per_block;
    const uint64_t offset = (tile - block * tiles_per_block) * kTileBytes;
    auto* const destination = static_cast<uint8_t*>(destinations[block]) + offset;
    const auto* const source = static_cast<const uint8_t*>(sources[block]) + offset;
    const uint64_t left = block_bytes - offset;
    const auto bytes = static_cast<uint32_t>(left < kTileBytes ? left : kTileBytes);
    if (((reinterpret_cast<uintptr_t>(destination) | reinterpret_cast<uintptr_t>(source)) % sizeof(uint4)) == 0) {
      copy_aligned(destination, source, bytes);
    } else {
      copy_bytes(destination, source, bytes);
    }
  }
}

// A failed call also stays the runtime's last error, where the next caller who asks would take it for its own.
int forgotten(cudaError_t error) {
  if (error != cudaSuccess) cudaGetLastError();
  return error;
}

}  // namespace

const char* error_text(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}

int device_pointer(void* host, void** device_pointer) {
  return forgotten(cudaHostGetDevicePointer(device_pointer, host, 0));
}

int copy_by_kernel(void* const* destinations, const void* const* sources, uint64_t count, uint64_t block_bytes,
                   uint32_t thread_blocks, void* cuda_stream) {
  if (count == 0 || block_bytes == 0) return cudaSuccess;
  if (destinations == nullptr || sources == nullptr || thread_blocks == 0 || thread_blocks > INT32_MAX) {
    return cudaErrorInvalidValue;
  }
  uint64_t tiles_per_block = (block_bytes - 1) / kTileBytes + 1;
  uint64_t tiles = count * tiles_per_block;
  const auto grid = static_cast<uint32_t>(tiles < thread_blocks ? tiles : thread_blocks);
  void* arguments[] = {&destinations, &sources, &tiles, &tiles_per_block, &block_bytes};
  return forgotten(
      cudaLaunchKernel(copy_tiles, dim3(grid), dim3(kThreads), arguments, 0, static_cast<cudaStream_t>(cuda_stream)));
}

int copy_one_by_one(void* const* destinations, const void* const* sources, const size_t* sizes, uint64_t count,
                    void* cuda_stream) {
  if (count != 0 && (destinations == nullptr || sources == nullptr || sizes == nullptr)) return cudaErrorInvalidValue;
  for (uint64_t i = 0; i < count; ++i) {
    const cudaError_t error = cudaMemcpyAsync(destinations[i], sources[i], sizes[i], cudaMemcpyDefault,
                                              static_cast<cudaStream_t>(cuda_stream));
    if (error != cudaSuccess) return forgotten(error);
  }
  return cudaSuccess;
}

int copy_in_one_batch(void* const* destinations, const void* const* sources, const size_t* sizes, uint64_t count,
                      void* cuda_stream) {
  if (count == 0) return cudaSuccess;
  if (destinations == nullptr || sources == nullptr || sizes == nullptr || cuda_stream == nullptr) {
    return cudaErrorInvalidValue;
  }
#if CUDART_VERSION >= 12080
  cudaMemcpyAttributes attributes = {};
  attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
  size_t first_copy_with_them = 0;
  const auto stream = static_cast<cudaStream_t>(cuda_stream);
#if CUDART_VERSION >= 13000
  return forgotten(
      cudaMemcpyBatchAsync(destinations, sources, sizes, count, &attributes, &first_copy_with_them, 1, stream));
#else
  size_t failed_copy = 0;  // the older signature lacks const, though nothing is written through these
  return forgotten(cudaMemcpyBatchAsync(const_cast<void**>(destinations), const_cast<void**>(sources),
                                        const_cast<size_t*>(sizes), count, &attributes, &first_copy_with_them, 1,
                                        &failed_copy, stream));
#endif
#else
  return cudaErrorNotSupported;
#endif
}

const char* batch_problem() {
  if (CUDART_VERSION < kFirstVersionWithBatches) return "kvbench was built with a CUDA before 12.8";
  int driver = 0;
  if (forgotten(cudaDriverGetVersion(&driver)) != cudaSuccess || driver < kFirstVersionWithBatches) {
    return "the driver is for a CUDA before 12.8";
  }
  return nullptr;
}

}  // namespace kvbench::block_copy
