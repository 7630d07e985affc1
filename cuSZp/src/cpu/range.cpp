// cuszp_measure_range: smallest, largest and count of non-finite values in one pass.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/arguments.h"
#include "cpu/float_environment.h"
#include "cpu/parallel.h"
#include "element.h"
#include "layout.h"

namespace cuszp {
namespace {

// Integers that order as the floats do (-0 just below +0), so that the loop is exact in any order and vectorises.
int32_t key_of_float(uint32_t bits) { return static_cast<int32_t>(bits & 0x80000000u ? bits ^ 0x7fffffffu : bits); }
float float_of_key(int32_t key) {
  const uint32_t bits = static_cast<uint32_t>(key);
  return float_of_bits(bits & 0x80000000u ? bits ^ 0x7fffffffu : bits);
}

struct Extremes {
  int32_t lowest = INT32_MAX;
  int32_t highest = INT32_MIN;
  uint64_t non_finite = 0;

  void merge(const Extremes& other) {
    lowest = std::min(lowest, other.lowest);
    highest = std::max(highest, other.highest);
    non_finite += other.non_finite;
  }
};

// At most 2^31 elements.
template <class Element>
Extremes scan_piece(const unsigned char* values, uint32_t count) {
  int32_t lowest = INT32_MAX, highest = INT32_MIN;
  uint32_t non_finite = 0;
  for (uint32_t i = 0; i < count; ++i) {
    typename Element::Storage stored;
    std::memcpy(&stored, values + i * sizeof stored, sizeof stored);
    const uint32_t bits = bits_of_float(Element::widen(stored));
    const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
    const int32_t key = key_of_float(bits);
    lowest = std::min(lowest, finite ? key : INT32_MAX);
    highest = std::max(highest, finite ? key : INT32_MIN);
    non_finite += finite ? 0 : 1;
  }
  Extremes extremes;
  extremes.lowest = lowest;
  extremes.highest = highest;
  extremes.non_finite = non_finite;
  return extremes;
}

constexpr uint64_t kPiece = 1u << 20;

template <class Element>
Extremes scan(const unsigned char* values, uint64_t count) {
  Extremes extremes;
  for (uint64_t first = 0; first < count; first += kPiece) {
    extremes.merge(scan_piece<Element>(values + first * sizeof(typename Element::Storage),
                                       static_cast<uint32_t>(std::min(kPiece, count - first))));
  }
  return extremes;
}

}  // namespace
}  // namespace cuszp

extern "C" cuszp_status cuszp_measure_range(const void* values, cuszp_dtype dtype, uint64_t n, unsigned threads,
                                            cuszp_range* range) {
  using namespace cuszp;
  if (range == nullptr || !is_dtype(dtype) || (n > 0 && values == nullptr)) return CUSZP_INVALID_ARGUMENT;
  if (!fits_memory(n, dtype)) return CUSZP_TOO_LARGE;
  const DefaultFloatEnvironment environment;
  const auto scan_values = dtype == CUSZP_F32 ? scan<Float32> : dtype == CUSZP_BF16 ? scan<BFloat16> : scan<Float16>;
  const Split split(block_count(n), threads);
  Extremes extremes[kMaxParts];
  run_parts(split, [&](unsigned part) {
    const uint64_t first = split.begin(part) * kBlock;
    const uint64_t last = std::min(n, split.end(part) * kBlock);
    extremes[part] = scan_values(static_cast<const unsigned char*>(values) + first * element_bytes(dtype), last - first);
  });
  for (unsigned part = 1; part < split.parts(); ++part) extremes[0].merge(extremes[part]);
  *range = {0.0f, 0.0f, 0.0f, extremes[0].non_finite};
  if (extremes[0].lowest <= extremes[0].highest) {
    range->minimum = float_of_key(extremes[0].lowest) + 0.0f;  // turns -0 into +0
    range->maximum = float_of_key(extremes[0].highest) + 0.0f;
    range->max_abs = std::max(std::fabs(range->minimum), std::fabs(range->maximum));
  }
  return CUSZP_OK;
}
