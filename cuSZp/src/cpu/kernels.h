// The work done on a run of blocks or elements, as tables of functions: one table for each instruction set.
#ifndef CUSZP_SRC_CPU_KERNELS_H
#define CUSZP_SRC_CPU_KERNELS_H

#include <cstdint>

#include "cuszp/cuszp.h"

namespace cuszp {

struct EncodeJob {
  const unsigned char* values;  // n elements, any alignment
  uint64_t n;
  float error_bound;
};

struct DecodeJob {
  const unsigned char* metadata;  // legal bytes, one for each block
  const unsigned char* end;       // of the readable stream
  uint64_t n;
  float error_bound;
};

// Codes blocks [first, last). Writes their metadata to `metadata`, which may be null, and their records one after
// the other to `records` as long as they fit into `room` bytes. Returns the bytes that all the records need.
using EncodeBlocks = uint64_t (*)(const EncodeJob& job, uint64_t first, uint64_t last, unsigned char* metadata,
                                  unsigned char* records, uint64_t room);

// Decodes blocks [first, last), whose records start at `records`; the first element goes to `values`.
using DecodeBlocks = void (*)(const DecodeJob& job, uint64_t first, uint64_t last, const unsigned char* records,
                              unsigned char* values);

// The keys (see element.h) of the smallest and largest finite values, and how many values are not finite.
struct Extremes {
  int32_t lowest = INT32_MAX;
  int32_t highest = INT32_MIN;
  uint64_t non_finite = 0;
};

// Takes `count` elements into account.
using ScanRange = void (*)(const unsigned char* values, uint64_t count, Extremes* extremes);

struct Kernels {
  EncodeBlocks encode[3][3];  // by dtype, by mode
  DecodeBlocks decode[3][3];  // by dtype, by mode
  ScanRange scan[3];          // by dtype
};

const Kernels& baseline_kernels();
#ifdef CUSZP_HAVE_AVX2_KERNELS
const Kernels& avx2_kernels();
#endif

// The fastest table this processor can run.
const Kernels& kernels();

}  // namespace cuszp

#endif
