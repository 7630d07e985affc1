// The work done on a run of blocks, as tables of functions: one table for each instruction set.
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

struct Kernels {
  EncodeBlocks encode[3][3];  // by dtype, by mode
  DecodeBlocks decode[3][3];  // by dtype, by mode
};

// The fastest table this processor can run.
const Kernels& kernels();

#ifdef CUSZP_HAVE_AVX2_KERNELS
extern const Kernels kAvx2Kernels;
#endif

}  // namespace cuszp

#endif
