// The checks that every call makes on its arguments.
#ifndef CUSZP_SRC_CPU_ARGUMENTS_H
#define CUSZP_SRC_CPU_ARGUMENTS_H

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "cuszp/cuszp.h"

namespace cuszp {

inline bool is_mode(int mode) {
  return mode >= CUSZP_MODE_FIXED && mode <= CUSZP_MODE_OUTLIER;
}
inline bool is_dtype(int dtype) {
  return dtype >= CUSZP_F32 && dtype <= CUSZP_F16;
}
inline bool is_bound(float bound) {
  return std::isfinite(bound) && bound > 0.0f;
}

inline uint64_t element_bytes(cuszp_dtype dtype) {
  return dtype == CUSZP_F32 ? 4 : 2;
}

// Whether n elements can be addressed and the sizes of their stream fit 64 bits.
inline bool fits_memory(uint64_t n, cuszp_dtype dtype) {
  return n <= static_cast<uint64_t>(PTRDIFF_MAX) / element_bytes(dtype) && cuszp_max_compressed_bytes(n) != UINT64_MAX;
}

}  // namespace cuszp

#endif
