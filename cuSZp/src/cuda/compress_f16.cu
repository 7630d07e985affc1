// The compress kernels for float16 input.
#include "compress_launch.cuh"

namespace cuszp_gpu {

template cudaError_t launch_compress<F16>(const CompressArguments&, cuszp_mode, cudaStream_t);

}  // namespace cuszp_gpu
