// Bit planes of a block: 32 words to 32 planes and back. Plane k is the 4 bytes that hold bit k of every word,
// element 0 in the top bit of the first byte. Unnamed namespace as in layout.h.
#ifndef CUSZP_SRC_BITPLANES_H
#define CUSZP_SRC_BITPLANES_H

#include <cstdint>
#include <cstring>

namespace cuszp {
namespace {

// A plane as a number whose lowest byte is the first in the stream.
inline uint32_t little_endian(uint32_t word) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  return (word >> 24) | ((word >> 8) & 0xff00u) | ((word << 8) & 0xff0000u) | (word << 24);
#else
  return word;
#endif
}

// Swaps the bits of `high` under mask with the bits of `low` under mask << shift.
inline void exchange(uint64_t& low, uint64_t& high, unsigned shift, uint64_t mask) {
  const uint64_t difference = ((low >> shift) ^ high) & mask;
  high ^= difference;
  low ^= difference << shift;
}

// Transposes, in each of the eight byte lanes at once, the 8x8 bits of lane[0..7]. Its own inverse.
inline void transpose_lanes(uint64_t lane[8]) {
  for (int i = 0; i < 4; ++i) exchange(lane[i], lane[i + 4], 4, 0x0f0f0f0f0f0f0f0fu);
  for (int i = 0; i < 4; ++i) exchange(lane[i + (i & 2)], lane[i + (i & 2) + 2], 2, 0x3333333333333333u);
  for (int i = 0; i < 4; ++i) exchange(lane[2 * i], lane[2 * i + 1], 1, 0x5555555555555555u);
}

// Planes [first, first + 16) of word[0..31]; first is 0 or 16. Elements enter in reverse order because the
// stream puts the first of eight into the highest bit.
inline void sixteen_planes(const uint32_t word[32], unsigned first, unsigned char plane[64]) {
  uint32_t low[8], high[8];
  for (int i = 0; i < 8; ++i) {
    const uint32_t a = word[i] >> first, b = word[8 + i] >> first;
    const uint32_t c = word[16 + i] >> first, d = word[24 + i] >> first;
    low[i] = (a & 0xffu) | (b & 0xffu) << 8 | (c & 0xffu) << 16 | d << 24;
    high[i] = (a >> 8 & 0xffu) | (b & 0xff00u) | (c & 0xff00u) << 8 | (d & 0xff00u) << 16;
  }
  uint64_t lane[8];
  for (int i = 0; i < 8; ++i) lane[7 - i] = low[i] | static_cast<uint64_t>(high[i]) << 32;
  transpose_lanes(lane);
  uint32_t out[16];
  for (int k = 0; k < 8; ++k) {
    out[k] = little_endian(static_cast<uint32_t>(lane[k]));
    out[8 + k] = little_endian(static_cast<uint32_t>(lane[k] >> 32));
  }
  std::memcpy(plane, out, sizeof out);
}

// Adds planes [first, first + 16), all 64 bytes of them, to word[0..31].
inline void add_sixteen_planes(const unsigned char plane[64], unsigned first, uint32_t word[32]) {
  uint32_t in[16];
  std::memcpy(in, plane, sizeof in);
  uint64_t lane[8];
  for (int k = 0; k < 8; ++k) lane[k] = little_endian(in[k]) | static_cast<uint64_t>(little_endian(in[8 + k])) << 32;
  transpose_lanes(lane);
  uint32_t low[8], high[8];
  for (int i = 0; i < 8; ++i) {
    low[i] = static_cast<uint32_t>(lane[7 - i]);
    high[i] = static_cast<uint32_t>(lane[7 - i] >> 32);
  }
  for (int i = 0; i < 8; ++i) {
    word[i] |= ((low[i] & 0xffu) | (high[i] & 0xffu) << 8) << first;
    word[8 + i] |= ((low[i] >> 8 & 0xffu) | (high[i] & 0xff00u)) << first;
    word[16 + i] |= ((low[i] >> 16 & 0xffu) | (high[i] >> 8 & 0xff00u)) << first;
    word[24 + i] |= (low[i] >> 24 | (high[i] >> 16 & 0xff00u)) << first;
  }
}

}  // namespace
}  // namespace cuszp

#endif
