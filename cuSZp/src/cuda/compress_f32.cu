// The compress kernels for float32 input.
#include "compress_launch.cuh"

namespace cuszp_gpu {

template cudaError_t launch_compress<F32>(const CompressArguments&, cuszp_mode, cudaStream_t);

}  // namespace cuszp_gpu
