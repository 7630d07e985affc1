// cuszp_measure_range: smallest, largest and count of non-finite values in one pass.
#include <algorithm>
#include <cmath>

#include "cpu/arguments.h"
#include "cpu/float_environment.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "element.h"
#include "layout.h"

extern "C" cuszp_status cuszp_measure_range(const void* values, cuszp_dtype dtype, uint64_t n, unsigned threads,
                                            cuszp_range* range) {
  using namespace cuszp;
  if (range == nullptr || !is_dtype(dtype) || (n > 0 && values == nullptr)) return CUSZP_INVALID_ARGUMENT;
  if (!fits_memory(n, dtype)) return CUSZP_TOO_LARGE;
  const DefaultFloatEnvironment environment;
  const ScanRange scan = kernels().scan[dtype];
  const Split split(block_count(n), threads);
  Extremes parts[kMaxParts];
  run_parts(split, [&](unsigned part) {
    const uint64_t first = split.begin(part) * kBlock;
    const uint64_t last = std::min(n, split.end(part) * kBlock);
    scan(static_cast<const unsigned char*>(values) + first * element_bytes(dtype), last - first, &parts[part]);
  });
  Extremes whole;
  for (const Extremes& part : parts) {
    whole.lowest = std::min(whole.lowest, part.lowest);
    whole.highest = std::max(whole.highest, part.highest);
    whole.non_finite += part.non_finite;
  }
  *range = {0.0f, 0.0f, 0.0f, whole.non_finite};
  if (whole.lowest <= whole.highest) {
    range->minimum = float_of_key(whole.lowest) + 0.0f;  // turns -0 into +0
    range->maximum = float_of_key(whole.highest) + 0.0f;
    range->max_abs = std::max(std::fabs(range->minimum), std::fabs(range->maximum));
  }
  return CUSZP_OK;
}
