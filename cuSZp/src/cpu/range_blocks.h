// Smallest, largest and count of non-finite values of a run of elements. Unnamed namespace as in layout.h.
#ifndef CUSZP_SRC_CPU_RANGE_BLOCKS_H
#define CUSZP_SRC_CPU_RANGE_BLOCKS_H

#include <cstdint>
#include <cstring>

#include "cpu/kernels.h"
#include "element.h"

namespace cuszp {
namespace {

// Fewer than 2^32 elements. Selections are spelled as masks so that the loop vectorises.
template <class Element>
inline void scan_piece(const unsigned char* values, uint32_t count, Extremes* extremes) {
  int32_t lowest = extremes->lowest, highest = extremes->highest;
  uint32_t non_finite = 0;
  for (uint32_t i = 0; i < count; ++i) {
    typename Element::Storage stored;
    std::memcpy(&stored, values + uint64_t{i} * sizeof stored, sizeof stored);
    const uint32_t bits = bits_of_float(Element::widen(stored));
    const int32_t key = key_of_float(bits);
    // All ones where the exponent is the largest: 0x7f800000 + 0x00800000 reaches the top bit.
    const int32_t odd = static_cast<int32_t>((bits & 0x7fffffffu) + 0x00800000u) >> 31;
    const int32_t low_key = (key & ~odd) | (INT32_MAX & odd);
    const int32_t high_key = (key & ~odd) | (INT32_MIN & odd);
    lowest = low_key < lowest ? low_key : lowest;
    highest = high_key > highest ? high_key : highest;
    non_finite -= static_cast<uint32_t>(odd);
  }
  extremes->lowest = lowest;
  extremes->highest = highest;
  extremes->non_finite += non_finite;
}

template <class Element>
void scan_range(const unsigned char* values, uint64_t count, Extremes* extremes) {
  constexpr uint64_t kPiece = uint64_t{1} << 30;
  for (uint64_t first = 0; first < count; first += kPiece) {
    scan_piece<Element>(values + first * sizeof(typename Element::Storage),
                        static_cast<uint32_t>(count - first < kPiece ? count - first : kPiece), extremes);
  }
}

}  // namespace
}  // namespace cuszp

#endif
