// Sizes, status texts and the strict error bound: what needs no pass over values.
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "cpu/arguments.h"
#include "cpu/float_environment.h"
#include "layout.h"

extern "C" const char* cuszp_status_text(cuszp_status status) {
  switch (status) {
    case CUSZP_OK:
      return "ok";
    case CUSZP_INVALID_ARGUMENT:
      return "invalid argument";
    case CUSZP_TOO_LARGE:
      return "too many elements for this machine";
    case CUSZP_OUTPUT_TOO_SMALL:
      return "output buffer too small";
    case CUSZP_STREAM_TRUNCATED:
      return "stream is shorter than its metadata says";
    case CUSZP_STREAM_TOO_LONG:
      return "stream has bytes left over after its payload";
    case CUSZP_BAD_METADATA:
      return "stream holds a metadata byte that no encoder writes";
    case CUSZP_OUT_OF_MEMORY:
      return "out of memory";
    case CUSZP_CUDA_ERROR:
      return "CUDA error";
    case CUSZP_CHECKSUM_MISMATCH:
      return "stored bytes do not match their checksum";
  }
  return "unknown status";
}

extern "C" uint64_t cuszp_metadata_bytes(uint64_t n) {
  return cuszp::metadata_bytes(n);
}

extern "C" uint64_t cuszp_max_compressed_bytes(uint64_t n) {
  const uint64_t blocks = cuszp::block_count(n);
  const uint64_t metadata = cuszp::metadata_bytes(n);
  const bool fits = blocks <= (UINT64_MAX - metadata) / CUSZP_MAX_RECORD_BYTES;
  return fits ? metadata + CUSZP_MAX_RECORD_BYTES * blocks : UINT64_MAX;
}

namespace {

// Whether rounding in binary32 keeps values up to max_abs within `bound` when quantised with `error_bound`:
// error_bound (1 + 2^-23) + 2^-22 max_abs <= bound, decided exactly (both terms are exact doubles, and a rounded sum
// is above the bound if the true one is, unless both equal it; then the sum's rounding error tells).
bool keeps_bound(float error_bound, double bound, double max_abs) {
  if (!(error_bound > 0.0f) || !std::isfinite(0.5f / error_bound) || max_abs >= 0x1p24 * error_bound) return false;
  const double quantum = error_bound * (1.0 + 0x1p-23);
  const double rounding = 0x1p-22 * max_abs;
  const double sum = quantum + rounding;
  const double big = std::max(quantum, rounding);
  const double lost = std::min(quantum, rounding) - (sum - big);
  return sum < bound || (sum == bound && lost <= 0.0);
}

}  // namespace

extern "C" float cuszp_strict_error_bound(double bound, float max_abs) {
  if (!(bound > 0.0) || !(max_abs >= 0.0f) || !std::isfinite(max_abs)) return 0.0f;
  const cuszp::DefaultFloatEnvironment environment;
  // Decoded values must stay finite, and 0.5 / eb' a normal number.
  const double reach = std::min(bound, static_cast<double>(FLT_MAX) - max_abs);
  const double estimate = (reach - 0x1p-22 * max_abs) / (1.0 + 0x1p-23);
  if (!(estimate > 0.0)) return 0.0f;
  float candidate = static_cast<float>(std::min(estimate, 0x1p125));
  if (candidate < 0x1p125f) candidate = std::nextafterf(candidate, FLT_MAX);
  for (int step = 0; step < 4; ++step, candidate = std::nextafterf(candidate, 0.0f)) {
    if (keeps_bound(candidate, reach, max_abs)) return candidate;
  }
  return 0.0f;
}
