// From the metadata of a tile to the places of its records, and their way into shared memory.
#ifndef CUSZP_CUDA_PLACE_RECORDS_CUH
#define CUSZP_CUDA_PLACE_RECORDS_CUH

#include <cstdint>

#include "async.cuh"
#include "load_tile.cuh"
#include "record.cuh"

namespace cuszp_gpu {

// Metadata bytes of the four blocks of each lane, 4 lane .. 4 lane + 3 of a tile of 128.
__device__ __forceinline__ uint32_t load_metadata(const uint8_t* metadata) {
  const uint8_t* mine = metadata + threadIdx.x % 32 * 4;
  if ((reinterpret_cast<uintptr_t>(metadata) & 3) == 0) return *reinterpret_cast<const uint32_t*>(mine);
  return mine[0] | mine[1] << 8 | mine[2] << 16 | static_cast<uint32_t>(mine[3]) << 24;
}

// The places of a lane's four records.
struct LaneRecords {
  uint32_t metadata;  // faulty bytes replaced by 0
  uint32_t ends[4];   // within the lane
  bool bad;
};

// Blocks at and past `blocks` (of the tile) hold no data: their metadata must be zero.
template <int kMode>
__device__ __forceinline__ LaneRecords place_records(uint32_t metadata, uint32_t blocks) {
  LaneRecords out{0, {}, false};
  uint32_t end = 0;
#pragma unroll
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t byte = metadata >> (8 * i) & 0xffu;
    if (threadIdx.x % 32 * 4 + i < blocks) {
      const RecordShape shape = parse_metadata<kMode>(byte, out.bad);
      out.metadata |= shape.meta << (8 * i);
      end += shape.bytes;
    } else if (byte != 0) {
      out.bad = true;
    }
    out.ends[i] = end;
  }
  return out;
}

// Brings global bytes [source, source + bytes), all of them below `end`, to shared memory at `room`; returns where the
// first one lies. Whole aligned 16-byte chunks are read: those before `source` must be readable, one that `end` cuts is
// read by bytes.
template <bool kKeepWordAlignment>
__device__ __forceinline__ uint32_t load_payload(uint32_t room, const uint8_t* source, uint32_t bytes,
                                                 const uint8_t* end) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t phase = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(source)) & 15;
  if (kKeepWordAlignment && phase % 4 != 0) {
    for (uint32_t i = lane; i < bytes; i += 32) store_shared<uint8_t>(room + i, source[i]);
    return room;
  }
  const uint8_t* first = source - phase;
  uint32_t span = phase + bytes;
  const uint64_t readable = static_cast<uint64_t>(end - first);
  if (((span + 15) & ~15u) > readable) {  // the stream's last chunk is a partial one
    const uint32_t cut = span & ~15u;
    for (uint32_t at = cut + lane; at < span; at += 32) store_shared<uint8_t>(room + at, first[at]);
    span = cut;
  }
#pragma unroll 4
  for (uint32_t at = lane * 16; at < span; at += 32 * 16) copy_async_16(room + at, first + at);
  return room + phase;
}

// Blocks of a tile that hold data.
template <uint32_t kRows>
__device__ __forceinline__ uint32_t blocks_in_tile(uint64_t n, uint32_t tile) {
  return static_cast<uint32_t>(min(what_is_left(data_blocks(n), uint64_t(tile) * kRows), uint64_t(kRows)));
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_PLACE_RECORDS_CUH
