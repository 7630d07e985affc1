// The C interface on the host: argument checks and launches of the single-stream calls.
#include <cuda_runtime_api.h>

#include <cmath>

#include "dispatch.h"
#include "launch.h"
#include "scan_state.cuh"

namespace {

using namespace cuszp_gpu;

constexpr uint64_t kMostTiles = 0xff000000u;  // tickets run a little past the number of tiles

bool usable_bound(float bound, const float* bound_device) {
  return bound_device != nullptr || (std::isfinite(bound) && bound > 0.0f);
}

// Faults that both directions share.
cuszp_status check_call(const void* values, const void* stream, cuszp_dtype dtype, uint64_t n, cuszp_mode mode,
                        const void* status, const void* workspace, uint64_t workspace_bytes) {
  if (!known_mode(mode) || !known_dtype(dtype) || status == nullptr || workspace == nullptr) {
    return CUSZP_INVALID_ARGUMENT;
  }
  if (n > 0 && (values == nullptr || stream == nullptr)) return CUSZP_INVALID_ARGUMENT;
  if (metadata_blocks(n) / kTileBlocks > kMostTiles) return CUSZP_TOO_LARGE;
  if (reinterpret_cast<uintptr_t>(workspace) % 16 != 0 || workspace_bytes < cuszp_cuda_workspace_bytes(n)) {
    return CUSZP_INVALID_ARGUMENT;
  }
  return CUSZP_OK;
}

}  // namespace

extern "C" uint64_t cuszp_cuda_workspace_bytes(uint64_t n) {
  return (scan_state_bytes(metadata_blocks(n) / kTileBlocks) + 15) / 16 * 16;
}

extern "C" cuszp_status cuszp_cuda_workspace_init(void* workspace, uint64_t workspace_bytes, void* cuda_stream) {
  if (workspace == nullptr) return CUSZP_INVALID_ARGUMENT;
  return to_status(cudaMemsetAsync(workspace, 0, workspace_bytes, static_cast<cudaStream_t>(cuda_stream)));
}

extern "C" cuszp_status cuszp_cuda_compress(const void* values, cuszp_dtype dtype, uint64_t n, float error_bound,
                                            const float* error_bound_device, cuszp_mode mode, uint8_t* stream,
                                            uint64_t capacity, uint64_t* stream_bytes, uint32_t* status,
                                            void* workspace, uint64_t workspace_bytes, void* cuda_stream) {
  const cuszp_status fault = check_call(values, stream, dtype, n, mode, status, workspace, workspace_bytes);
  if (fault != CUSZP_OK) return fault;
  if (stream_bytes == nullptr || !usable_bound(error_bound, error_bound_device)) return CUSZP_INVALID_ARGUMENT;
  const auto tiles = static_cast<uint32_t>(metadata_blocks(n) / kTileBlocks);
  const CompressArguments arguments{values, n,         error_bound, error_bound_device, stream, capacity, stream_bytes,
                                    status, workspace, tiles};
  const auto on = static_cast<cudaStream_t>(cuda_stream);
  return for_dtype(dtype, [&](auto element) { return launch_compress<decltype(element)>(arguments, mode, on); });
}

extern "C" cuszp_status cuszp_cuda_decompress(const uint8_t* stream, uint64_t stream_bytes,
                                              const uint64_t* stream_bytes_device, uint64_t n, float error_bound,
                                              const float* error_bound_device, cuszp_mode mode, cuszp_dtype dtype,
                                              void* values, uint32_t* status, void* workspace, uint64_t workspace_bytes,
                                              void* cuda_stream) {
  const cuszp_status fault = check_call(values, stream, dtype, n, mode, status, workspace, workspace_bytes);
  if (fault != CUSZP_OK) return fault;
  if (!usable_bound(error_bound, error_bound_device)) return CUSZP_INVALID_ARGUMENT;
  const auto tiles = static_cast<uint32_t>(metadata_blocks(n) / kTileBlocks);
  const DecompressArguments arguments{stream, stream_bytes, stream_bytes_device, n,    error_bound, error_bound_device,
                                      values, status,       workspace,           tiles};
  const auto on = static_cast<cudaStream_t>(cuda_stream);
  return for_dtype(dtype, [&](auto element) { return launch_decompress<decltype(element)>(arguments, mode, on); });
}
