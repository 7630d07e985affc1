// What host and device share about KV blocks: shapes, sizes, the checksum, which planes make sense.
#ifndef CUSZP_SRC_KV_LAYOUT_H
#define CUSZP_SRC_KV_LAYOUT_H

#include <cstdint>

#include "cuszp/cuszp_kv.h"

#ifdef __CUDACC__
#define CUSZP_BOTH __host__ __device__ __forceinline__
#else
#define CUSZP_BOTH inline
#endif

namespace cuszp_kv {

constexpr uint64_t kMostElements = uint64_t(1) << 28;  // of a block: sizes and offsets stay within 32 bits

CUSZP_BOTH uint32_t element_bytes(uint32_t dtype) {
  return dtype == CUSZP_KV_F32 ? 4 : dtype == CUSZP_KV_U8 ? 1 : 2;
}

CUSZP_BOTH uint64_t elements_of(const cuszp_kv_plane& plane) {
  const uint64_t channels = uint64_t(plane.heads) * plane.head_size;
  if (channels >= kMostElements || plane.tokens >= kMostElements || channels * plane.tokens >= kMostElements) return 0;
  return plane.form <= CUSZP_KV_FORM_RAW && plane.layout <= CUSZP_KV_LAYOUT_HDT ? channels * plane.tokens : 0;
}

// The sizes of one stream.
struct Shape {
  uint32_t elements;    // of the block; 0: the plane makes no sense
  uint32_t channels;    // of a token
  uint32_t kept;        // tokens
  uint32_t kept_bytes;  // of the kept tokens
  uint32_t raw_bytes;   // of all tokens
  uint32_t n;           // elements that are coded
  uint32_t blocks;      // of 32 elements
};

CUSZP_BOTH Shape shape_of(const cuszp_kv_plane& plane, uint32_t keep_first, uint32_t dtype) {
  Shape shape;
  shape.elements = static_cast<uint32_t>(elements_of(plane));
  shape.channels = plane.heads * plane.head_size;
  shape.kept = keep_first < plane.tokens ? keep_first : plane.tokens;
  shape.kept_bytes = shape.kept * shape.channels * element_bytes(dtype);
  shape.raw_bytes = shape.elements * element_bytes(dtype);
  shape.n = shape.elements - shape.kept * shape.channels;
  shape.blocks = (shape.n + 31) / 32;
  return shape;
}

// Whether streams of this plane are coded at all.
CUSZP_BOTH bool is_coded(const cuszp_kv_plane& plane, uint32_t dtype) {
  return plane.form != CUSZP_KV_FORM_RAW && dtype != CUSZP_KV_U8 && plane.error_bound > 0.0f &&
         plane.error_bound <= 3.402823466e38f;
}

CUSZP_BOTH bool is_limited(const cuszp_kv_plane& plane) {
  return plane.limit > 0.0f && plane.limit <= 3.402823466e38f;
}

CUSZP_BOTH uint64_t round_up(uint64_t bytes) {
  return (bytes + CUSZP_KV_ALIGNMENT - 1) & ~uint64_t(CUSZP_KV_ALIGNMENT - 1);
}

// The end of what offsets of 32 bits reach in a slot.
CUSZP_BOTH uint64_t slot_bytes(const cuszp_kv_slot& slot, uint64_t page_bytes) {
  const uint64_t bytes = slot.page_count * page_bytes;
  return bytes < 0xfffffff0u ? bytes : 0xfffffff0u;
}

// The checksum is the sum, modulo 2^32, of mix(word, i) over the stream's 32-bit little-endian words i, zero-padded,
// plus mix(bytes, ~0). mix is one-to-one in the word, so a change within one word is always seen; words may be summed
// in any order.
CUSZP_BOTH uint32_t mix(uint32_t word, uint32_t index) {
  uint32_t x = word ^ (index * 0x9e3779b1u + 0x7f4a7c15u);
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  return x ^ (x >> 13);
}

// Never 0, which says that there is no checksum.
CUSZP_BOTH uint32_t finish_checksum(uint32_t sum, uint32_t bytes) {
  const uint32_t checksum = sum + mix(bytes, ~0u);
  return checksum ? checksum : 1;
}

// Streams whose place makes no sense, before any byte is read.
CUSZP_BOTH cuszp_status check_place(const cuszp_kv_stream& stream, const Shape& shape, uint64_t slot_capacity) {
  if (stream.offset % CUSZP_KV_ALIGNMENT != 0 || stream.stored_raw > 1) return CUSZP_INVALID_ARGUMENT;
  if (uint64_t(stream.offset) + stream.stored_bytes > slot_capacity) return CUSZP_STREAM_TRUNCATED;
  if (stream.stored_raw) {
    return stream.stored_bytes == shape.raw_bytes  ? CUSZP_OK
           : stream.stored_bytes < shape.raw_bytes ? CUSZP_STREAM_TRUNCATED
                                                   : CUSZP_STREAM_TOO_LONG;
  }
  if (stream.stored_bytes >= shape.raw_bytes) return CUSZP_STREAM_TOO_LONG;  // it would have been stored raw
  if (stream.stored_bytes < shape.kept_bytes + shape.blocks) return CUSZP_STREAM_TRUNCATED;
  return CUSZP_OK;
}

}  // namespace cuszp_kv

#endif
