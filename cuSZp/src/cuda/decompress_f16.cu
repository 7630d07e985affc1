// The decompress kernels for float16 output.
#include "decompress_launch.cuh"

namespace cuszp_gpu {

template cudaError_t launch_decompress<F16>(const DecompressArguments&, cuszp_mode, cudaStream_t);

}  // namespace cuszp_gpu
