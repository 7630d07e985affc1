// A warp's 32 decoded rows from swizzled shared memory to the caller's array, coalesced, at any alignment.
#ifndef CUSZP_CUDA_STORE_ROWS_CUH
#define CUSZP_CUDA_STORE_ROWS_CUH

#include <cstdint>

#include "copy_bytes.cuh"
#include "load_tile.cuh"

namespace cuszp_gpu {

template <typename Unit>
__device__ __forceinline__ Unit load_shared_unit(uint32_t address) {
  const uint32_t word = load_shared_word(address & ~3u);
  return static_cast<Unit>(word >> ((address & 3) * 8));
}

template <typename Element, typename Unit>
__device__ __noinline__ void store_row_units(uint8_t* destination, uint32_t rows_address, uint32_t valid_bytes) {
  for (uint32_t byte = threadIdx.x % 32 * sizeof(Unit); byte < valid_bytes; byte += 32 * sizeof(Unit)) {
    const uint32_t at = rows_address + chunk_offset<Element>(byte / 16) + byte % 16;
    *reinterpret_cast<Unit*>(destination + byte) = load_shared_unit<Unit>(at);
  }
}

// rows_address: of a row whose index is a multiple of 32. valid_bytes: 0 .. 32 rows.
template <typename Element>
__device__ __forceinline__ void store_rows(uint8_t* destination, uint32_t rows_address, uint32_t valid_bytes) {
  constexpr uint32_t kBytes = 32 * kRowBytes<Element>;
  const uint32_t misalignment = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(destination)) & 15;
  if (misalignment == 0 && valid_bytes == kBytes) {
    auto* chunks = reinterpret_cast<uint4*>(destination);
    constexpr uint32_t kPerLane = kBytes / 16 / 32;
    uint4 lines[kPerLane];
#pragma unroll
    for (uint32_t i = 0; i < kPerLane; ++i) {
      lines[i] = load_shared_16(rows_address + chunk_offset<Element>(i * 32 + threadIdx.x % 32));
    }
#pragma unroll
    for (uint32_t i = 0; i < kPerLane; ++i) {
      __stcs(chunks + i * 32 + threadIdx.x % 32, lines[i]);  // not read here again: L2 is for the payload
    }
  } else if (misalignment % 4 == 0 && Element::kBytes == 4) {
    store_row_units<Element, uint32_t>(destination, rows_address, valid_bytes);
  } else if (misalignment % 2 == 0) {
    store_row_units<Element, uint16_t>(destination, rows_address, valid_bytes);
  } else {
    store_row_units<Element, uint8_t>(destination, rows_address, valid_bytes);
  }
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_STORE_ROWS_CUH
