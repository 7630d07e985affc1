// The device side of programmatic dependent launch: a kernel starts while the one before it in the stream still runs.
#ifndef CUSZP_CUDA_DEPENDENT_LAUNCH_CUH
#define CUSZP_CUDA_DEPENDENT_LAUNCH_CUH

namespace cuszp_gpu {

// By every thread, before it touches global memory: returns when all earlier work of the stream is over and its writes
// are visible. Then allows the next kernel to take what room there is; it waits here in its turn. In this order, so
// that no kernel starts before the one two before it has ended. Nothing happens where a kernel was launched as usual.
__device__ __forceinline__ void wait_for_previous_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_DEPENDENT_LAUNCH_CUH
