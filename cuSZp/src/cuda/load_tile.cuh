// Input of a compress tile: rows of 32 elements brought into shared memory with swizzled 16-byte chunks.
//
// Chunk c of row r lies at chunk c ^ swizzle(r) of that row, so that eight threads reading chunk c of eight
// consecutive rows touch all 32 banks once, and so do eight threads filling one 128-byte line.
#ifndef CUSZP_CUDA_LOAD_TILE_CUH
#define CUSZP_CUDA_LOAD_TILE_CUH

#include <cstdint>

#include "async.cuh"
#include "element.cuh"
#include "record.cuh"

namespace cuszp_gpu {

template <typename Element>
constexpr uint32_t kRowBytes = kBlockElements * Element::kBytes;

template <typename Element>
constexpr uint32_t kChunksPerRow = kRowBytes<Element> / 16;

template <typename Element>
__device__ __forceinline__ uint32_t swizzle(uint32_t row) {
  return Element::kBytes == 4 ? row & 7 : row >> 1 & 3;
}

// Byte offset of chunk `chunk` (counted through the rows) in a swizzled tile.
template <typename Element>
__device__ __forceinline__ uint32_t chunk_offset(uint32_t chunk) {
  const uint32_t row = chunk / kChunksPerRow<Element>;
  return row * kRowBytes<Element> + ((chunk % kChunksPerRow<Element>)^swizzle<Element>(row)) * 16;
}

// A whole tile from a 16-byte aligned source; one warp. 64 chunks further lie 1024 bytes further on both sides.
template <typename Element, uint32_t kRows>
__device__ __forceinline__ void load_full_tile(uint32_t tile_address, const uint8_t* source) {
  constexpr uint32_t kChunks = kRows * kChunksPerRow<Element>;
  static_assert(kChunks % 64 == 0, "chunks come in pairs a lane");
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t even = tile_address + chunk_offset<Element>(lane);
  const uint32_t odd = tile_address + chunk_offset<Element>(lane + 32);
  source += lane * 16;
#pragma unroll
  for (uint32_t pair = 0; pair < kChunks / 64; ++pair) {
    copy_async_16(even + pair * 1024, source + pair * 1024);
    copy_async_16(odd + pair * 1024, source + pair * 1024 + 512);
  }
}

template <typename Unit>
__device__ __forceinline__ void store_shared(uint32_t address, Unit value);
template <>
__device__ __forceinline__ void store_shared<uint32_t>(uint32_t address, uint32_t value) {
  asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(value) : "memory");
}
template <>
__device__ __forceinline__ void store_shared<uint16_t>(uint32_t address, uint16_t value) {
  asm volatile("st.shared.u16 [%0], %1;" ::"r"(address), "h"(value) : "memory");
}
template <>
__device__ __forceinline__ void store_shared<uint8_t>(uint32_t address, uint8_t value) {
  asm volatile("st.shared.u8 [%0], %1;" ::"r"(address), "r"(static_cast<uint32_t>(value)) : "memory");
}

// Source aligned to sizeof(Unit) only, and any number of valid bytes; one warp.
template <typename Element, typename Unit>
__device__ __noinline__ void load_units(uint32_t tile_address, const uint8_t* source, uint32_t valid_bytes) {
  for (uint32_t byte = threadIdx.x % 32 * sizeof(Unit); byte < valid_bytes; byte += 32 * sizeof(Unit)) {
    const Unit value = *reinterpret_cast<const Unit*>(source + byte);
    store_shared<Unit>(tile_address + chunk_offset<Element>(byte / 16) + byte % 16, value);
  }
}

// A tile of which valid_bytes (0 .. all) exist in memory; one warp. Ends in asynchronous copies and plain stores of the
// lanes. Rows without a valid byte are left as they are.
template <typename Element, uint32_t kRows>
__device__ __forceinline__ void load_tile(uint32_t tile_address, const uint8_t* source, uint32_t valid_bytes) {
  constexpr uint32_t kChunks = kRows * kChunksPerRow<Element>;
  const uint32_t misalignment = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(source)) & 15;
  if (valid_bytes == 0) return;
  if (misalignment == 0) {
    if (valid_bytes == kChunks * 16) return load_full_tile<Element, kRows>(tile_address, source);
    const uint32_t whole = valid_bytes / 16;
    for (uint32_t chunk = threadIdx.x % 32; chunk < whole; chunk += 32) {
      copy_async_16(tile_address + chunk_offset<Element>(chunk), source + chunk * 16);
    }
    for (uint32_t byte = whole * 16 + threadIdx.x % 32; byte < valid_bytes; byte += 32) {
      store_shared<uint8_t>(tile_address + chunk_offset<Element>(whole) + byte % 16, source[byte]);
    }
  } else if (misalignment % 4 == 0 && Element::kBytes == 4) {
    load_units<Element, uint32_t>(tile_address, source, valid_bytes);
  } else if (misalignment % 2 == 0) {
    load_units<Element, uint16_t>(tile_address, source, valid_bytes);
  } else {
    load_units<Element, uint8_t>(tile_address, source, valid_bytes);
  }
}

__device__ __forceinline__ uint4 load_shared_16(uint32_t address) {
  uint4 value;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(address)
               : "memory");
  return value;
}

__device__ __forceinline__ void store_shared_16(uint32_t address, const uint4& value) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(value.x), "r"(value.y), "r"(value.z),
               "r"(value.w)
               : "memory");
}

__device__ __forceinline__ uint32_t load_shared_word(uint32_t address) {
  uint32_t value;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(value) : "r"(address) : "memory");
  return value;
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_LOAD_TILE_CUH
