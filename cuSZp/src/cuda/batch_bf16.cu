// The batch kernels for bfloat16.
#include "batch_launch.cuh"

namespace cuszp_gpu {

template cudaError_t launch_batch_compress<Bf16>(const BatchCompressArguments&, cuszp_mode, uint32_t, cudaStream_t);
template cudaError_t launch_batch_decompress<Bf16>(const BatchDecompressArguments&, cuszp_mode, uint32_t, cudaStream_t);

}  // namespace cuszp_gpu
