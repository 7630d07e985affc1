// Range of an array and the error bound that follows from it, computed on the device.
#include "dependent_launch.cuh"
#include "dispatch.h"
#include "element.cuh"
#include "launch.h"
#include "load_tile.cuh"
#include "residency.h"

namespace cuszp_gpu {
namespace {

constexpr int kRangeThreads = 512;

// In a workspace: zero before and after a launch. Keys order as the floats do and are never 0 for a finite value.
struct RangeState {
  uint32_t highest;          // key of the largest value
  uint32_t lowest_inverted;  // ~key of the smallest value
  uint32_t finished;
  uint32_t reserved;
  unsigned long long non_finite;
};
static_assert(sizeof(RangeState) <= 64, "fits the smallest workspace");

__device__ __forceinline__ uint32_t key_of(float value) {
  const uint32_t bits = __float_as_uint(value);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float value_of(uint32_t key) {
  return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key);
}

struct Extremes {
  uint32_t highest = 0;
  uint32_t lowest_inverted = 0;
  uint32_t non_finite = 0;
  __device__ __forceinline__ void add(float value) {
    const bool finite = (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u;
    const uint32_t key = key_of(value);
    highest = max(highest, finite ? key : 0u);
    lowest_inverted = max(lowest_inverted, finite ? ~key : 0u);
    non_finite += finite ? 0u : 1u;
  }
};

template <typename Element>
__device__ __forceinline__ void add_chunks(const uint8_t* values, uint64_t chunks, Extremes& extremes) {
  const uint64_t threads = uint64_t(gridDim.x) * blockDim.x;
  const auto* from = reinterpret_cast<const uint4*>(values);
#pragma unroll 4
  for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < chunks; i += threads) {
    float wide[kElementsPerChunk<Element>];
    widen_chunk<Element>(__ldcs(from + i), wide);
#pragma unroll
    for (float value : wide) extremes.add(value);
  }
}

// Writes the result when this is the last block, and leaves the state zero.
__device__ void publish_extremes(const RangeArguments& arguments, const Extremes& extremes) {
  auto& state = *static_cast<RangeState*>(arguments.workspace);
  const uint32_t highest = __reduce_max_sync(~0u, extremes.highest);
  const uint32_t lowest_inverted = __reduce_max_sync(~0u, extremes.lowest_inverted);
  const uint32_t non_finite = __reduce_add_sync(~0u, extremes.non_finite);
  if (threadIdx.x % 32 == 0) {
    atomicMax(&state.highest, highest);
    atomicMax(&state.lowest_inverted, lowest_inverted);
    if (non_finite) atomicAdd(&state.non_finite, static_cast<unsigned long long>(non_finite));
    __threadfence();
  }
  __syncthreads();
  if (threadIdx.x != 0 || atomicAdd(&state.finished, 1u) != gridDim.x - 1) return;
  __threadfence();
  const volatile RangeState& final = state;
  cuszp_range range{0.0f, 0.0f, 0.0f, final.non_finite};
  if (final.highest != 0) {
    range.minimum = value_of(~final.lowest_inverted);
    range.maximum = value_of(final.highest);
    range.max_abs = fmaxf(fabsf(range.minimum), fabsf(range.maximum));
  }
  *arguments.range = range;
  state = RangeState{};
}

template <typename Element>
__global__ void __launch_bounds__(kRangeThreads) range_kernel(const __grid_constant__ RangeArguments arguments) {
  wait_for_previous_kernel();
  const auto* values = static_cast<const uint8_t*>(arguments.values);
  Extremes extremes;
  uint64_t done = 0;
  if ((reinterpret_cast<uintptr_t>(values) & 15) == 0) {
    const uint64_t chunks = arguments.n / kElementsPerChunk<Element>;
    add_chunks<Element>(values, chunks, extremes);
    done = chunks * kElementsPerChunk<Element>;
  }
  const uint64_t threads = uint64_t(gridDim.x) * blockDim.x;
  for (uint64_t i = done + uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < arguments.n; i += threads) {
    extremes.add(load_element<Element>(values + i * Element::kBytes));
  }
  publish_extremes(arguments, extremes);
}

// cuszp_strict_error_bound, step by step the host's: the largest float32 eb' with eb' (1 + 2^-23) + 2^-22 max_abs <=
// min(bound, FLT_MAX - max_abs), max_abs < 2^24 eb', eb' <= 2^125 and a finite 0.5 / eb'; 0 when there is none. The
// products are exact doubles; the sum's rounding error decides a tie.
__device__ bool keeps_bound(float candidate, double bound, double max_abs) {
  if (!(candidate > 0.0f) || !isfinite(__fdiv_rn(0.5f, candidate)) || max_abs >= 0x1p24 * candidate) return false;
  const double quantum = candidate * (1.0 + 0x1p-23);
  const double rounding = 0x1p-22 * max_abs;
  const double sum = quantum + rounding;
  const double large = fmax(quantum, rounding);
  const double lost = fmin(quantum, rounding) - (sum - large);
  return sum < bound || (sum == bound && lost <= 0.0);
}

__device__ float strict_bound(double bound, float max_abs) {
  if (!(bound > 0.0) || !(max_abs >= 0.0f) || !isfinite(max_abs)) return 0.0f;
  const double reach = fmin(bound, 3.4028234663852886e38 - max_abs);
  const double estimate = (reach - 0x1p-22 * max_abs) / (1.0 + 0x1p-23);
  if (!(estimate > 0.0)) return 0.0f;
  float candidate = __double2float_rn(fmin(estimate, 0x1p125));
  if (candidate < 0x1p125f) candidate = __uint_as_float(__float_as_uint(candidate) + 1);
  for (int step = 0; step < 4 && candidate > 0.0f; ++step) {
    if (keeps_bound(candidate, reach, max_abs)) return candidate;
    candidate = __uint_as_float(__float_as_uint(candidate) - 1);
  }
  return 0.0f;
}

__global__ void bound_kernel(const cuszp_range* range, cuszp_cuda_bound_kind kind, double value,
                             cuszp_cuda_bound_policy policy, float* bound) {
  const double asked =
      kind == CUSZP_CUDA_BOUND_ABS ? value : value * static_cast<double>(__fsub_rn(range->maximum, range->minimum));
  float effective = __double2float_rn(asked);
  if (policy == CUSZP_CUDA_BOUND_STRICT) effective = strict_bound(asked, range->max_abs);
  *bound = bound_is_usable(effective) ? effective : 0.0f;
}

template <typename Element>
cudaError_t launch_range(const RangeArguments& arguments, cudaStream_t stream) {
  static Residency residency;
  const uint64_t per_block = uint64_t(kRangeThreads) * kElementsPerChunk<Element> * 4;
  return launch_resident(range_kernel<Element>, residency, {kRangeThreads, 0},
                         (arguments.n + per_block - 1) / per_block, arguments, stream);
}

}  // namespace
}  // namespace cuszp_gpu

extern "C" cuszp_status cuszp_cuda_measure_range(const void* values, cuszp_dtype dtype, uint64_t n, cuszp_range* range,
                                                 void* workspace, uint64_t workspace_bytes, void* cuda_stream) {
  using namespace cuszp_gpu;
  if ((values == nullptr && n > 0) || range == nullptr || workspace == nullptr ||
      reinterpret_cast<uintptr_t>(workspace) % 16 != 0 || workspace_bytes < sizeof(RangeState)) {
    return CUSZP_INVALID_ARGUMENT;
  }
  const RangeArguments arguments{values, n, range, workspace};
  const auto on = static_cast<cudaStream_t>(cuda_stream);
  return for_dtype(dtype, [&](auto element) { return launch_range<decltype(element)>(arguments, on); });
}

extern "C" cuszp_status cuszp_cuda_effective_bound(const cuszp_range* range, cuszp_cuda_bound_kind kind, double value,
                                                   cuszp_cuda_bound_policy policy, float* bound, void* cuda_stream) {
  using namespace cuszp_gpu;
  const bool known = (kind == CUSZP_CUDA_BOUND_ABS || kind == CUSZP_CUDA_BOUND_REL) &&
                     (policy == CUSZP_CUDA_BOUND_COMPATIBLE || policy == CUSZP_CUDA_BOUND_STRICT);
  if (!known || range == nullptr || bound == nullptr || !(value > 0.0)) return CUSZP_INVALID_ARGUMENT;
  bound_kernel<<<1, 1, 0, static_cast<cudaStream_t>(cuda_stream)>>>(range, kind, value, policy, bound);
  return to_status(cudaGetLastError());
}
