// The decompress kernels for float32 output.
#include "decompress_launch.cuh"

namespace cuszp_gpu {

template cudaError_t launch_decompress<F32>(const DecompressArguments&, cuszp_mode, cudaStream_t);

}  // namespace cuszp_gpu
