// The KV-block kernels for float32.
#include "kv_launch.cuh"

namespace cuszp_gpu {

template cudaError_t launch_kv_store<F32>(KvStoreArguments, uint32_t, cudaStream_t);
template cudaError_t launch_kv_load<F32>(KvLoadArguments, uint32_t, cudaStream_t);

}  // namespace cuszp_gpu
