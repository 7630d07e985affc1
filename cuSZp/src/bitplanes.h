// Bit planes of a block: 32 words to 32 planes and back. Plane k is the 4 bytes that hold bit k of every word,
// element 0 in the top bit of the first byte. Unnamed namespace as in layout.h.
#ifndef CUSZP_SRC_BITPLANES_H
#define CUSZP_SRC_BITPLANES_H

#include <cstdint>
#include <cstring>

namespace cuszp {
namespace {

// Both directions work on whole groups of planes and so touch more than they are asked for, but no more than this.
constexpr unsigned kPlanesReach = 32 * 4;

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

// Writes planes [first, first + 16) of word[0..31]. Elements enter a lane in reverse order because the stream puts the
// first of eight into the highest bit.
template <unsigned first>
inline void write_half(const uint32_t word[32], unsigned char* out) {
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
  uint32_t plane[16];
  for (int k = 0; k < 8; ++k) {
    plane[k] = little_endian(static_cast<uint32_t>(lane[k]));
    plane[8 + k] = little_endian(static_cast<uint32_t>(lane[k] >> 32));
  }
  std::memcpy(out + 4 * first, plane, sizeof plane);
}

// Writes the first `planes` planes of word[0..31], rounded up to 16 or 32.
inline void write_planes(const uint32_t word[32], unsigned planes, unsigned char* out) {
  write_half<0>(word, out);
  if (planes > 16) write_half<16>(word, out);
}

// The low 16 bits of word[0..31] from 16 planes, of which only the first `planes` count.
inline void read_half(const unsigned char* in, unsigned planes, uint32_t word[32]) {
  uint32_t plane[16];
  std::memcpy(plane, in, sizeof plane);
  uint64_t lane[8];
  for (int k = 0; k < 8; ++k) {
    lane[k] = little_endian(plane[k]) | static_cast<uint64_t>(little_endian(plane[8 + k])) << 32;
  }
  transpose_lanes(lane);
  uint32_t low[8], high[8];
  const uint32_t kept = planes < 16 ? (1u << planes) - 1 : 0xffffu;
  for (int i = 0; i < 8; ++i) {
    low[i] = static_cast<uint32_t>(lane[7 - i]);
    high[i] = static_cast<uint32_t>(lane[7 - i] >> 32);
  }
  for (int i = 0; i < 8; ++i) {
    word[i] = ((low[i] & 0xffu) | (high[i] & 0xffu) << 8) & kept;
    word[8 + i] = ((low[i] >> 8 & 0xffu) | (high[i] & 0xff00u)) & kept;
    word[16 + i] = ((low[i] >> 16 & 0xffu) | (high[i] >> 8 & 0xff00u)) & kept;
    word[24 + i] = (low[i] >> 24 | (high[i] >> 16 & 0xff00u)) & kept;
  }
}

// The words whose first `planes` planes, at least one, are these; their other bits are 0.
inline void read_planes(const unsigned char* in, unsigned planes, uint32_t word[32]) {
  read_half(in, planes, word);
  if (planes > 16) {
    uint32_t upper[32];
    read_half(in + 64, planes - 16, upper);
    for (int i = 0; i < 32; ++i) word[i] |= upper[i] << 16;
  }
}

// value[i] becomes the sum of value[0..i], modulo 2^32.
inline void sum_up(uint32_t value[32]) {
  for (unsigned i = 1; i < 32; ++i) value[i] += value[i - 1];
}

}  // namespace
}  // namespace cuszp

#endif
