// The batch kernels for float32.
#include "batch_launch.cuh"

namespace cuszp_gpu {

template cudaError_t launch_batch_compress<F32>(const BatchCompressArguments&, cuszp_mode, uint32_t, cudaStream_t);
template cudaError_t launch_batch_decompress<F32>(const BatchDecompressArguments&, cuszp_mode, uint32_t, cudaStream_t);

}  // namespace cuszp_gpu
