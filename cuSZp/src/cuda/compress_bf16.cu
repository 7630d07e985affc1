// The compress kernels for bfloat16 input.
#include "compress_launch.cuh"

namespace cuszp_gpu {

template cudaError_t launch_compress<Bf16>(const CompressArguments&, cuszp_mode, cudaStream_t);

}  // namespace cuszp_gpu
