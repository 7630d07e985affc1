// The C interface on the host: argument checks and launches of the batch calls.
#include <cuda_runtime_api.h>

#include <cmath>

#include "dispatch.h"
#include "launch.h"

namespace {

using namespace cuszp_gpu;

constexpr uint64_t kSmallestPage = 256;

// 0 for contiguous memory; false when page_bytes is no page size.
bool page_shift_of(uint64_t page_bytes, uint32_t& shift) {
  shift = 0;
  if (page_bytes == 0) return true;
  if (page_bytes < kSmallestPage || (page_bytes & (page_bytes - 1)) != 0) return false;
  while ((uint64_t(1) << shift) < page_bytes) ++shift;
  return true;
}

bool sound_call(const void* items, uint64_t count, cuszp_dtype dtype, cuszp_mode mode, float error_bound,
                const void* results) {
  const bool pointers = count == 0 || (items != nullptr && results != nullptr);
  return known_mode(mode) && known_dtype(dtype) && pointers && std::isfinite(error_bound) && error_bound >= 0.0f;
}

}  // namespace

extern "C" cuszp_status cuszp_cuda_compress_batch(const cuszp_cuda_batch_item* items, uint64_t count, cuszp_dtype dtype,
                                                  float error_bound, cuszp_mode mode, uint64_t page_bytes,
                                                  cuszp_cuda_pages_home home, cuszp_cuda_batch_result* results,
                                                  uint32_t most_blocks, void* cuda_stream) {
  uint32_t shift = 0;
  if (!sound_call(items, count, dtype, mode, error_bound, results) || !page_shift_of(page_bytes, shift) ||
      (home != CUSZP_CUDA_PAGES_ON_DEVICE && home != CUSZP_CUDA_PAGES_ON_HOST)) {
    return CUSZP_INVALID_ARGUMENT;
  }
  if (count == 0) return CUSZP_OK;
  const BatchCompressArguments arguments{items, count, shift, home == CUSZP_CUDA_PAGES_ON_HOST, error_bound, results};
  const auto on = static_cast<cudaStream_t>(cuda_stream);
  return for_dtype(
      dtype, [&](auto element) { return launch_batch_compress<decltype(element)>(arguments, mode, most_blocks, on); });
}

extern "C" cuszp_status cuszp_cuda_decompress_batch(const cuszp_cuda_batch_item* items,
                                                    const cuszp_cuda_batch_result* stored, uint64_t count,
                                                    cuszp_dtype dtype, float error_bound, cuszp_mode mode,
                                                    uint64_t page_bytes, uint32_t* statuses, uint32_t most_blocks,
                                                    void* cuda_stream) {
  uint32_t shift = 0;
  if (!sound_call(items, count, dtype, mode, error_bound, statuses) || !page_shift_of(page_bytes, shift) ||
      (count > 0 && stored == nullptr)) {
    return CUSZP_INVALID_ARGUMENT;
  }
  if (count == 0) return CUSZP_OK;
  const BatchDecompressArguments arguments{items, stored, count, shift, error_bound, statuses};
  const auto on = static_cast<cudaStream_t>(cuda_stream);
  return for_dtype(dtype, [&](auto element) {
    return launch_batch_decompress<decltype(element)>(arguments, mode, most_blocks, on);
  });
}
