// One KV block on the host: its elements to codec order and back, its stream to pages and back, checks of a call.
// Unnamed namespace as in layout.h.
#ifndef CUSZP_SRC_CPU_KV_BLOCK_H
#define CUSZP_SRC_CPU_KV_BLOCK_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/parallel.h"
#include "element.h"
#include "kv_layout.h"
#include "layout.h"

namespace cuszp {
namespace {

// visit(address, bytes) for each run of adjacent elements of tokens [first, last), in (token, head, channel) order.
template <class Visit>
inline void for_each_head(const cuszp_kv_plane& plane, int64_t block, uint32_t first, uint32_t last, uint32_t element,
                          const Visit& visit) {
  auto* const base = static_cast<unsigned char*>(plane.values) + block * plane.block_stride * int64_t(element);
  for (uint32_t token = first; token < last; ++token) {
    for (uint32_t head = 0; head < plane.heads; ++head) {
      visit(base + (token * plane.token_stride + head * plane.head_stride) * int64_t(element),
            size_t(plane.head_size) * element);
    }
  }
}

inline void copy_tokens_out(const cuszp_kv_plane& plane, int64_t block, uint32_t first, uint32_t last, uint32_t element,
                            unsigned char* to) {
  for_each_head(plane, block, first, last, element, [&](unsigned char* at, size_t bytes) {
    std::memcpy(to, at, bytes);
    to += bytes;
  });
}

inline void copy_tokens_in(const cuszp_kv_plane& plane, int64_t block, uint32_t first, uint32_t last, uint32_t element,
                           const unsigned char* from) {
  for_each_head(plane, block, first, last, element, [&](unsigned char* at, size_t bytes) {
    std::memcpy(at, from, bytes);
    from += bytes;
  });
}

// rows x columns elements of `element` bytes, transposed.
inline void transpose(const unsigned char* from, uint32_t rows, uint32_t columns, uint32_t element, unsigned char* to) {
  for (uint32_t column = 0; column < columns; ++column) {
    for (uint32_t row = 0; row < rows; ++row, to += element) {
      std::memcpy(to, from + (size_t(row) * columns + column) * element, element);
    }
  }
}

// visit(i, mean of the channel of coded element i), in codec order.
template <class Visit>
inline void for_each_mean(const cuszp_kv_plane& plane, const cuszp_kv::Shape& shape, const Visit& visit) {
  const bool by_channel = plane.layout == CUSZP_KV_LAYOUT_HDT;
  const uint32_t outer = by_channel ? shape.channels : plane.tokens - shape.kept;
  const uint32_t inner = by_channel ? plane.tokens - shape.kept : shape.channels;
  uint32_t i = 0;
  for (uint32_t a = 0; a < outer; ++a) {
    for (uint32_t b = 0; b < inner; ++b) visit(i++, plane.means ? plane.means[by_channel ? a : b] : 0.0f);
  }
}

// visit(address, bytes) for each piece of [offset, offset + bytes) of a slot that lies on one page, in order.
template <class Visit>
inline void for_each_page(const cuszp_kv_call& call, const cuszp_kv_slot& slot, uint64_t offset, uint64_t bytes,
                          const Visit& visit) {
  while (bytes > 0) {
    const uint64_t within = offset % call.page_bytes;
    const uint64_t piece = std::min(bytes, call.page_bytes - within);
    const uint64_t page = call.page_numbers[slot.first_page + offset / call.page_bytes];
    visit(static_cast<unsigned char*>(call.slab) + page * call.page_bytes + within, piece);
    offset += piece;
    bytes -= piece;
  }
}

inline uint32_t checksum_of(const unsigned char* bytes, uint32_t count) {
  uint32_t sum = 0;
  for (uint32_t at = 0; at < count; at += 4) {
    unsigned char word[4] = {};
    std::memcpy(word, bytes + at, std::min<uint32_t>(4, count - at));
    sum += cuszp_kv::mix(word[0] | word[1] << 8 | word[2] << 16 | uint32_t(word[3]) << 24, at / 4);
  }
  return cuszp_kv::finish_checksum(sum, count);
}

inline bool is_sound(const cuszp_kv_call* call) {
  if (call == nullptr || call->dtype > CUSZP_KV_U8) return false;
  const uint64_t page = call->page_bytes;
  if (page < 256 || (page & (page - 1)) != 0) return false;
  if (uint64_t(call->plane_count) * call->move_count == 0) return true;
  return call->planes != nullptr && call->moves != nullptr && call->slots != nullptr && call->page_numbers != nullptr &&
         call->slab != nullptr && reinterpret_cast<uintptr_t>(call->slab) % CUSZP_KV_ALIGNMENT == 0;
}

// Of the largest block of any plane.
inline uint32_t most_elements(const cuszp_kv_call& call) {
  uint64_t most = 0;
  for (uint32_t p = 0; p < call.plane_count; ++p) most = std::max(most, cuszp_kv::elements_of(call.planes[p]));
  return static_cast<uint32_t>(most);
}

// As many workers as there is work for.
inline Split workers_of(const cuszp_kv_call& call, unsigned threads) {
  return Split(uint64_t(call.move_count) * call.plane_count * block_count(most_elements(call)), threads);
}

template <class Visit>
inline void for_dtype(uint32_t dtype, const Visit& visit) {
  if (dtype == CUSZP_KV_F32) visit(Float32{});
  if (dtype == CUSZP_KV_BF16) visit(BFloat16{});
  if (dtype == CUSZP_KV_F16) visit(Float16{});
}

}  // namespace
}  // namespace cuszp

#endif
