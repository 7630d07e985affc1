// The decompress kernels for bfloat16 output.
#include "decompress_launch.cuh"

namespace cuszp_gpu {

template cudaError_t launch_decompress<Bf16>(const DecompressArguments&, cuszp_mode, cudaStream_t);

}  // namespace cuszp_gpu
