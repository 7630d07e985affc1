// A stream that lies in pages: contiguous memory, or equal pages named by a table.
#ifndef CUSZP_CUDA_PAGES_CUH
#define CUSZP_CUDA_PAGES_CUH

#include <cstdint>

#include "copy_bytes.cuh"

namespace cuszp_gpu {

// page_shift 0: `table` is the memory itself. Else byte b of the stream is byte b % 2^page_shift of page
// table[b >> page_shift]. Memory and pages are 16-byte aligned, page_shift >= 8.
struct Pages {
  void* const* table;
  uint32_t page_shift;

  __device__ __forceinline__ uint8_t* at(uint64_t offset) const {
    if (page_shift == 0) return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(table)) + offset;
    return static_cast<uint8_t*>(table[offset >> page_shift]) + (offset & ((uint64_t(1) << page_shift) - 1));
  }

  // Bytes from `offset` that lie in one piece, at most `bytes`.
  __device__ __forceinline__ uint32_t contiguous(uint64_t offset, uint32_t bytes) const {
    if (page_shift == 0) return bytes;
    const uint64_t page = uint64_t(1) << page_shift;
    return static_cast<uint32_t>(min(page - (offset & (page - 1)), uint64_t(bytes)));
  }
};

// One warp: shared memory to [offset, offset + bytes) of the stream.
__device__ __forceinline__ void copy_shared_to_pages(const Pages& pages, uint64_t offset, uint32_t source,
                                                     uint32_t bytes) {
  while (bytes > 0) {
    const uint32_t piece = pages.contiguous(offset, bytes);
    copy_shared_to_global(pages.at(offset), source, piece);
    offset += piece;
    source += piece;
    bytes -= piece;
  }
}

constexpr uint32_t kLineBytes = 128;

// The line of a stream in which the bytes read so far end, 16 bytes in each of the first eight lanes: the bytes that
// come next begin in it, and are not brought over the link again.
struct LastLine {
  uint64_t at = ~uint64_t(0);  // its offset; none: ~0
  uint4 chunk = {};
};

// Room that copy_pages_to_shared needs beside the bytes themselves.
constexpr uint32_t kPagesSlack = 2 * kLineBytes;

// One warp: [offset, offset + bytes) of the stream, all of it below `end`, to shared memory at `room` (16-byte aligned,
// kPagesSlack larger than `bytes`); returns where the first byte lies. Whole lines are read as far as `end` allows; a
// chunk of 16 that `end` cuts is read by bytes. Plain loads: asynchronous copies from mapped host memory run at half
// the speed of the link. kKeepWordAlignment: the first byte lies at a multiple of 4, at the price of a copy by bytes
// when `offset` does not. Tiles of one stream come one after the other, with the same `last`.
template <bool kKeepWordAlignment>
__device__ __forceinline__ uint32_t copy_pages_to_shared(const Pages& pages, uint64_t offset, uint32_t bytes,
                                                         uint64_t end, uint32_t room, LastLine& last) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t phase = static_cast<uint32_t>(offset % kLineBytes);
  if (bytes == 0) return room + phase % 16;
  if (kKeepWordAlignment && phase % 4 != 0) {
    for (uint32_t i = lane; i < bytes; i += 32) store_shared<uint8_t>(room + i, *pages.at(offset + i));
    return room;
  }
  const uint64_t first = offset - phase;
  const uint32_t span = phase + bytes;
  const uint32_t whole =
      static_cast<uint32_t>(min((span + kLineBytes - 1) & ~uint64_t(kLineBytes - 1), (end - first) & ~uint64_t(15)));
  const uint32_t known = first == last.at ? kLineBytes : 0;
  if (lane * 16 < min(known, whole)) store_shared_16(room + lane * 16, last.chunk);
  constexpr uint32_t kBatch = 8;
  for (uint32_t base = known; base < whole; base += 32 * 16 * kBatch) {
    uint4 chunks[kBatch];
#pragma unroll
    for (uint32_t i = 0; i < kBatch; ++i) {
      const uint32_t at = base + (i * 32 + lane) * 16;
      if (at < whole) chunks[i] = *reinterpret_cast<const uint4*>(pages.at(first + at));
    }
#pragma unroll
    for (uint32_t i = 0; i < kBatch; ++i) {
      const uint32_t at = base + (i * 32 + lane) * 16;
      if (at < whole) store_shared_16(room + at, chunks[i]);
    }
  }
  if (whole + lane < span) store_shared<uint8_t>(room + whole + lane, *pages.at(first + whole + lane));  // 15 at most
  const uint32_t last_line = span & ~(kLineBytes - 1);
  last.at = last_line < whole ? first + last_line : ~uint64_t(0);
  __syncwarp();
  if (lane < kLineBytes / 16 && last_line + lane * 16 < whole)
    last.chunk = load_shared_16(room + last_line + lane * 16);
  return room + phase;
}

// All `threads` threads: `bytes` bytes of contiguous memory at any alignment to the beginning of the stream.
__device__ __forceinline__ void copy_global_to_pages(const Pages& pages, const uint8_t* source, uint64_t bytes,
                                                     uint32_t thread, uint32_t threads) {
  uint64_t done = 0;
  if ((reinterpret_cast<uintptr_t>(source) & 15) == 0) {
    done = bytes & ~uint64_t(15);
#pragma unroll 4
    for (uint64_t at = uint64_t(thread) * 16; at < done; at += uint64_t(threads) * 16) {
      *reinterpret_cast<uint4*>(pages.at(at)) = *reinterpret_cast<const uint4*>(source + at);
    }
  }
  for (uint64_t at = done + thread; at < bytes; at += threads) *pages.at(at) = source[at];
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_PAGES_CUH
