// A warp's copy of a byte range from shared to global memory at any alignment of both, in aligned 4-byte words.
#ifndef CUSZP_CUDA_COPY_BYTES_CUH
#define CUSZP_CUDA_COPY_BYTES_CUH

#include <cstdint>

#include "load_tile.cuh"

namespace cuszp_gpu {

__device__ __forceinline__ uint32_t load_shared_byte(uint32_t address) {
  uint32_t value;
  asm volatile("ld.shared.u8 %0, [%1];" : "=r"(value) : "r"(address) : "memory");
  return value;
}

// A range cut at the destination's words: bytes before the first whole word, whole words, bytes after the last.
struct WordRange {
  uint32_t* words;   // destination
  uint32_t aligned;  // shared address of the first word's bytes, rounded down to 4
  uint32_t shift;    // bits
  int count;         // of words
  int first;         // the lane's first word, below 0 when the line begins later: lanes share 128-byte lines

  __device__ __forceinline__ uint32_t load(int i) const { return load_shared_word(aligned + 4 * i); }
  __device__ __forceinline__ uint32_t load_shifted(int i) const {
    return __funnelshift_r(load(i), load_shared_word(aligned + 4 * i + 4), shift);
  }
};

// Copies the bytes at both ends, by single bytes, and returns the words between them. Reads no shared word that holds
// no byte of the range.
__device__ __forceinline__ WordRange copy_ends(uint8_t* destination, uint32_t source, uint32_t bytes) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t head = min(bytes, static_cast<uint32_t>(-reinterpret_cast<intptr_t>(destination)) & 3u);
  if (lane < head) destination[lane] = static_cast<uint8_t>(load_shared_byte(source + lane));
  destination += head;
  source += head;
  bytes -= head;
  const uint32_t tail = bytes & 3;
  const uint32_t tail_at = bytes - tail + lane;
  if (lane < tail) destination[tail_at] = static_cast<uint8_t>(load_shared_byte(source + tail_at));
  const int line_offset = static_cast<int>(reinterpret_cast<uintptr_t>(destination) / 4 & 31);
  return {reinterpret_cast<uint32_t*>(destination), source & ~3u, (source & 3) * 8, static_cast<int>(bytes / 4),
          static_cast<int>(lane) - line_offset};
}

// The loop stays small, as it often runs with a cold instruction cache.
__device__ __forceinline__ void copy_shared_to_global(uint8_t* destination, uint32_t source, uint32_t bytes) {
  const WordRange range = copy_ends(destination, source, bytes);
  int i = range.first < 0 ? range.first + 32 : range.first;
  if (i < range.count && range.shift == 0) {
    uint32_t word = range.load(i);
#pragma unroll 1
    for (; i + 32 < range.count; i += 32) {
      const uint32_t next = range.load(i + 32);  // ahead of the store, which it would have to wait for
      range.words[i] = word;
      word = next;
    }
    range.words[i] = word;
  } else {
#pragma unroll 2
    for (; i < range.count; i += 32) range.words[i] = range.load_shifted(i);
  }
}

// One warp, within shared memory: by words where both ends have the same place in their words, else by bytes.
__device__ __forceinline__ void copy_within_shared(uint32_t destination, uint32_t source, uint32_t bytes) {
  const uint32_t lane = threadIdx.x % 32;
  uint32_t words = 0;
  if (((destination | source) & 3) == 0) {
    words = bytes / 4;
    for (uint32_t i = lane; i < words; i += 32) {
      store_shared(destination + 4 * i, load_shared_word(source + 4 * i));
    }
  }
  for (uint32_t i = 4 * words + lane; i < bytes; i += 32) {
    store_shared(destination + i, static_cast<uint8_t>(load_shared_byte(source + i)));
  }
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_COPY_BYTES_CUH
