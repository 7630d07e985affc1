// What host code and kernels share: the arguments of each kernel and the functions that launch it.
#ifndef CUSZP_CUDA_LAUNCH_H
#define CUSZP_CUDA_LAUNCH_H

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuszp/cuszp_cuda_kv.h"

namespace cuszp_gpu {

constexpr uint32_t kTileWarps = 4;  // encoding or decoding warps of a thread block
constexpr uint32_t kTileBlocks = 32 * kTileWarps;

struct CompressArguments {
  const void* values;
  uint64_t n;
  float bound;
  const float* bound_device;
  uint8_t* stream;
  uint64_t capacity;
  uint64_t* stream_bytes;
  uint32_t* status;
  void* workspace;
  uint32_t tiles;
};

struct DecompressArguments {
  const uint8_t* stream;
  uint64_t stream_bytes;
  const uint64_t* stream_bytes_device;
  uint64_t n;
  float bound;
  const float* bound_device;
  void* values;
  uint32_t* status;
  void* workspace;
  uint32_t tiles;
};

struct BatchCompressArguments {
  const cuszp_cuda_batch_item* items;
  uint64_t count;
  uint32_t page_shift;  // 0: contiguous memory
  bool pages_on_host;
  float error_bound;
  cuszp_cuda_batch_result* results;
};

struct BatchDecompressArguments {
  const cuszp_cuda_batch_item* items;
  const cuszp_cuda_batch_result* stored;
  uint64_t count;
  uint32_t page_shift;  // 0: contiguous memory
  float error_bound;
  uint32_t* statuses;
};

struct KvArguments {
  cuszp_kv_call call;
  uint32_t page_shift;
  bool with_checksum;
  uint32_t most_elements;
  uint32_t image_bytes;  // room in shared memory for the elements of a block
};

struct KvStoreArguments : KvArguments {
  bool slab_on_host;
  uint64_t* cursors;
  cuszp_kv_stream* streams;
};

struct KvLoadArguments : KvArguments {
  const cuszp_kv_stream* streams;
  uint32_t* statuses;
};

struct RangeArguments {
  const void* values;
  uint64_t n;
  cuszp_range* range;
  void* workspace;
};

// One definition an element type; each launches on `stream` and returns the launch's error.
template <typename Element>
cudaError_t launch_compress(const CompressArguments& arguments, cuszp_mode mode, cudaStream_t stream);
template <typename Element>
cudaError_t launch_decompress(const DecompressArguments& arguments, cuszp_mode mode, cudaStream_t stream);
template <typename Element>
cudaError_t launch_batch_compress(const BatchCompressArguments& arguments, cuszp_mode mode, uint32_t most_blocks,
                                  cudaStream_t stream);
template <typename Element>
cudaError_t launch_batch_decompress(const BatchDecompressArguments& arguments, cuszp_mode mode, uint32_t most_blocks,
                                    cudaStream_t stream);

template <typename Element>
cudaError_t launch_kv_store(KvStoreArguments arguments, uint32_t most_blocks, cudaStream_t stream);
template <typename Element>
cudaError_t launch_kv_load(KvLoadArguments arguments, uint32_t most_blocks, cudaStream_t stream);

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_LAUNCH_H
