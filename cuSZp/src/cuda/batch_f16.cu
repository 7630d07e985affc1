// The batch kernels for float16.
#include "batch_launch.cuh"

namespace cuszp_gpu {

template cudaError_t launch_batch_compress<F16>(const BatchCompressArguments&, cuszp_mode, uint32_t, cudaStream_t);
template cudaError_t launch_batch_decompress<F16>(const BatchDecompressArguments&, cuszp_mode, uint32_t, cudaStream_t);

}  // namespace cuszp_gpu
