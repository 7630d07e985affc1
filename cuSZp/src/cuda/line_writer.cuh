// Streams to mapped host memory: records gathered in shared memory and stored as whole lines.
//
// The link carries a store in packets, and a packet costs the same whether it is full or not. So the encoding warps put
// a tile's records side by side, in a buffer that continues the stream's lines of 128 bytes, and store what makes whole
// lines together; the rest, less than a line, waits for the next tile.
#ifndef CUSZP_CUDA_LINE_WRITER_CUH
#define CUSZP_CUDA_LINE_WRITER_CUH

#include <cstdint>

#include "async.cuh"
#include "copy_bytes.cuh"
#include "pages.cuh"
#include "record.cuh"

namespace cuszp_gpu {

template <uint32_t kWarps, uint32_t kSlots>
struct LineBuffers {
  // Two, so that a tile is gathered while the one before is stored.
  alignas(kLineBytes) uint8_t records[2][32 * kWarps * kMaxRecordBytes + kLineBytes];
  alignas(16) uint8_t metadata[kSlots][32 * kWarps];  // of the tile in each slot
};

// Stores bytes [begin, end) of a stream, which lie at `source`, the image of stream offset `origin` (a multiple of 16):
// 16 bytes a thread, single bytes at the ends. By `threads` threads.
__device__ __forceinline__ void store_chunks(const Pages& pages, uint64_t origin, uint64_t begin, uint64_t end,
                                             uint32_t source, uint32_t thread, uint32_t threads) {
  for (uint64_t at = (begin & ~uint64_t(15)) + thread * 16; at < end; at += threads * 16) {
    const uint32_t from = source + static_cast<uint32_t>(at - origin);
    uint8_t* to = pages.at(at);
    if (at >= begin && at + 16 <= end) {
      *reinterpret_cast<uint4*>(to) = load_shared_16(from);
    } else {
      for (uint32_t i = 0; i < 16; ++i) {
        if (at + i >= begin && at + i < end) to[i] = static_cast<uint8_t>(load_shared_byte(from + i));
      }
    }
  }
}

// One encoding warp's part in it; every encoding warp comes to store() once for every tile, in the order of the tiles.
template <uint32_t kWarps, uint32_t kSlots>
class LineWriter {
 public:
  // meet(): returns when all encoding warps have called it.
  template <typename Slot, typename Meet>
  __device__ __forceinline__ void store(LineBuffers<kWarps, kSlots>& buffers, const Slot& slot, uint32_t slot_index,
                                        const Pages& pages, uint32_t warp, uint32_t source, Meet&& meet) {
    const uint64_t tile_end = slot.warp_offsets[kWarps - 1] + slot.warp_bytes[kWarps - 1];
    if (slot.first) stored_ = slot.warp_offsets[0];
    const uint64_t origin = stored_ & ~uint64_t(kLineBytes - 1);
    const uint32_t buffer = shared_address(buffers.records[turn_]);
    copy_within_shared(buffer + static_cast<uint32_t>(slot.warp_offsets[warp] - origin), source, slot.warp_bytes[warp]);
    meet();
    const uint64_t whole = max(slot.last ? tile_end : tile_end & ~uint64_t(kLineBytes - 1), stored_);
    const uint64_t writable = min(whole, slot.item.capacity);
    store_chunks(pages, origin, stored_, writable, buffer, warp * 32 + threadIdx.x % 32, 32 * kWarps);
    turn_ ^= 1;
    if (warp == 0) {
      store_metadata(slot, shared_address(buffers.metadata[slot_index]));
      copy_within_shared(shared_address(buffers.records[turn_]) + static_cast<uint32_t>(whole % kLineBytes),
                         buffer + static_cast<uint32_t>(whole - origin), static_cast<uint32_t>(tile_end - whole));
    }
    stored_ = whole;
  }

 private:
  template <typename Slot>
  __device__ __forceinline__ static void store_metadata(const Slot& slot, uint32_t source) {
    const uint32_t first = threadIdx.x % 32 * 16;
    const uint32_t from = source + first;
    if (first + 16 <= slot.metadata_bytes) {
      *reinterpret_cast<uint4*>(slot.metadata + first) = load_shared_16(from);
    } else {
      for (uint32_t i = 0; first + i < slot.metadata_bytes; ++i) {
        slot.metadata[first + i] = static_cast<uint8_t>(load_shared_byte(from + i));
      }
    }
  }

  uint64_t stored_ = 0;  // bytes of the stream up to here are stored
  uint32_t turn_ = 0;
};

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_LINE_WRITER_CUH
