// The C interface on the host: argument checks and launches of the KV-block calls.
#include "dispatch.h"
#include "kv_layout.h"
#include "launch.h"

namespace {

using namespace cuszp_gpu;

constexpr uint64_t kSmallestPage = 256;

// False when the call makes no sense; else `arguments` is filled but for what only one direction has.
bool take_call(const cuszp_kv_call* call, int with_checksum, uint32_t most_elements, KvArguments& arguments) {
  if (call == nullptr || call->dtype > CUSZP_KV_U8 || most_elements >= cuszp_kv::kMostElements) return false;
  const uint64_t page = call->page_bytes;
  if (page < kSmallestPage || page > uint64_t(1) << 31 || (page & (page - 1)) != 0) return false;
  uint32_t shift = 0;
  while ((uint64_t(1) << shift) < page) ++shift;
  arguments.call = *call;
  arguments.page_shift = shift;
  arguments.with_checksum = with_checksum != 0;
  arguments.most_elements = most_elements;
  if (uint64_t(call->plane_count) * call->move_count == 0) return true;
  return call->planes && call->moves && call->slots && call->page_numbers && call->slab &&
         reinterpret_cast<uintptr_t>(call->slab) % CUSZP_KV_ALIGNMENT == 0;
}

// launch(F32{}), launch(Bf16{}) or launch(F16{}); bytes go with bfloat16, whose codec they do not meet.
template <typename Launch>
cuszp_status for_kv_dtype(uint32_t dtype, Launch&& launch) {
  return for_dtype(dtype == CUSZP_KV_U8 ? CUSZP_BF16 : static_cast<cuszp_dtype>(dtype), launch);
}

}  // namespace

extern "C" cuszp_status cuszp_cuda_kv_store(const cuszp_kv_call* call, uint64_t* cursors, int with_checksum,
                                            cuszp_cuda_pages_home home, uint32_t most_elements, uint32_t most_blocks,
                                            cuszp_kv_stream* streams, void* cuda_stream) {
  KvStoreArguments arguments{};
  if (!take_call(call, with_checksum, most_elements, arguments) ||
      (home != CUSZP_CUDA_PAGES_ON_DEVICE && home != CUSZP_CUDA_PAGES_ON_HOST)) {
    return CUSZP_INVALID_ARGUMENT;
  }
  if (uint64_t(call->plane_count) * call->move_count == 0) return CUSZP_OK;
  if (!cursors || !streams || reinterpret_cast<uintptr_t>(streams) % 16 != 0) return CUSZP_INVALID_ARGUMENT;
  arguments.slab_on_host = home == CUSZP_CUDA_PAGES_ON_HOST;
  arguments.cursors = cursors;
  arguments.streams = streams;
  return for_kv_dtype(call->dtype, [&](auto element) {
    return launch_kv_store<decltype(element)>(arguments, most_blocks, static_cast<cudaStream_t>(cuda_stream));
  });
}

extern "C" cuszp_status cuszp_cuda_kv_load(const cuszp_kv_call* call, const cuszp_kv_stream* streams, int with_checksum,
                                           uint32_t most_elements, uint32_t most_blocks, uint32_t* statuses,
                                           void* cuda_stream) {
  KvLoadArguments arguments{};
  if (!take_call(call, with_checksum, most_elements, arguments)) return CUSZP_INVALID_ARGUMENT;
  if (uint64_t(call->plane_count) * call->move_count == 0) return CUSZP_OK;
  if (!streams || !statuses || reinterpret_cast<uintptr_t>(streams) % 4 != 0) return CUSZP_INVALID_ARGUMENT;
  arguments.streams = streams;
  arguments.statuses = statuses;
  return for_kv_dtype(call->dtype, [&](auto element) {
    return launch_kv_load<decltype(element)>(arguments, most_blocks, static_cast<cudaStream_t>(cuda_stream));
  });
}
