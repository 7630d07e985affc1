// The KV-block kernels for bfloat16, and for bytes, which are only copied.
#include "kv_launch.cuh"

namespace cuszp_gpu {

template cudaError_t launch_kv_store<Bf16>(KvStoreArguments, uint32_t, cudaStream_t);
template cudaError_t launch_kv_load<Bf16>(KvLoadArguments, uint32_t, cudaStream_t);

}  // namespace cuszp_gpu
