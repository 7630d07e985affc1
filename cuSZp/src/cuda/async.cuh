// Shared-memory barriers (mbarrier) and asynchronous 16- and 4-byte copies, as thin wrappers over PTX.
#ifndef CUSZP_CUDA_ASYNC_CUH
#define CUSZP_CUDA_ASYNC_CUH

#include <cstdint>

namespace cuszp_gpu {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void barrier_init(uint64_t* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// Release: what the calling thread wrote before is visible to those who wait.
__device__ __forceinline__ void barrier_arrive(uint64_t* barrier) {
  asm volatile(
      "{\n.reg .b64 token;\n"
      "mbarrier.arrive.shared.b64 token, [%0];\n}" ::"r"(shared_address(barrier))
      : "memory");
}

// Arrivals of a whole warp at a barrier. Every lane arrives, which costs no more than one doing it for all after a
// __syncwarp, and lets the race checker follow.
constexpr uint32_t kWarpArrivals = 32;

// One arrival, made by the hardware once the thread's earlier asynchronous copies have landed.
__device__ __forceinline__ void barrier_arrive_after_copies(uint64_t* barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(shared_address(barrier)) : "memory");
}

// Whether the phase of the given parity has completed; may wait a little for it.
__device__ __forceinline__ bool barrier_poll(uint64_t* barrier, uint32_t parity) {
  uint32_t done;
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n.reg .pred p;\n"
      "mbarrier.try_wait.parity.shared.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(done)
      : "r"(shared_address(barrier)), "r"(parity)
      : "memory");
#else
  asm volatile(
      "{\n.reg .pred p;\n"
      "mbarrier.test_wait.parity.shared.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(done)
      : "r"(shared_address(barrier)), "r"(parity)
      : "memory");
#endif
  return done != 0;
}

// As barrier_poll, never waits.
__device__ __forceinline__ bool barrier_test(uint64_t* barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n.reg .pred p;\n"
      "mbarrier.test_wait.parity.shared.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(done)
      : "r"(shared_address(barrier)), "r"(parity)
      : "memory");
  return done != 0;
}

// Acquire: waits until the phase of the given parity has completed.
__device__ __forceinline__ void barrier_wait(uint64_t* barrier, uint32_t parity) {
  while (!barrier_poll(barrier, parity)) {
  }
}

// 16 bytes, both ends 16-byte aligned.
__device__ __forceinline__ void copy_async_16(uint32_t destination, const void* source) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(destination), "l"(source) : "memory");
}

// Groups of a thread's copies: what came since the last call, and a wait until all groups but the newest have landed.
__device__ __forceinline__ void copy_async_close_group() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
__device__ __forceinline__ void copy_async_wait_for_all_but_one_group() {
  asm volatile("cp.async.wait_group 1;" ::: "memory");
}

__device__ __forceinline__ void copy_async_wait_all() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_ASYNC_CUH
