// Decoding of a run of blocks whose metadata has been checked: bit planes, sign, running sum, scale, round.
// Unnamed namespace as in layout.h.
#ifndef CUSZP_SRC_CPU_DECODE_BLOCKS_H
#define CUSZP_SRC_CPU_DECODE_BLOCKS_H

#include <cstdint>
#include <cstring>

#include "bitplanes.h"
#include "cpu/kernels.h"
#include "element.h"
#include "layout.h"

namespace cuszp {
namespace {

constexpr unsigned kRecordReach = 4 + 2 * 64;  // bytes that read_record may look at

// Folded residuals (see encode_blocks.h) of a record; reads kRecordReach bytes at most.
inline void read_record(unsigned metadata, const unsigned char* record, uint32_t word[32]) {
  const unsigned bytes = first_bytes(metadata);
  const unsigned planes = 1 + (metadata & kRateMask);
  const unsigned char* const plane = record + bytes;
  unsigned char part[64];
  for (unsigned i = 0; i < kBlock; ++i) word[i] = 0;
  for (unsigned first = 0; first < planes; first += 16) {
    const unsigned here = planes - first < 16 ? planes - first : 16;
    std::memcpy(part, plane + 4 * first, sizeof part);
    for (unsigned k = here; k < 16; ++k) std::memset(part + 4 * k, 0, 4);
    add_sixteen_planes(part, first, word);
  }
  if (bytes != 0) {
    uint32_t magnitude;
    std::memcpy(&magnitude, record, sizeof magnitude);
    magnitude = little_endian(magnitude) & (0xffffffffu >> (32 - 8 * bytes));
    word[0] = magnitude << 1 | (word[0] & 1);
  }
}

// Element values of a block of folded residuals.
template <class Element, cuszp_mode mode>
inline void scale_block(const uint32_t word[32], float error_bound, typename Element::Storage value[32]) {
  uint32_t quantised[kBlock];
  for (unsigned i = 0; i < kBlock; ++i) quantised[i] = ((word[i] >> 1) ^ (0u - (word[i] & 1))) + (word[i] & 1);
  if (mode != CUSZP_MODE_FIXED) {
    for (unsigned i = 1; i < kBlock; ++i) quantised[i] += quantised[i - 1];
  }
  for (unsigned i = 0; i < kBlock; ++i) {
    value[i] = Element::narrow(static_cast<float>(static_cast<int32_t>(quantised[i])) * error_bound * 2.0f);
  }
}

template <class Element, cuszp_mode mode>
void decode_blocks(const DecodeJob& job, uint64_t first, uint64_t last, const unsigned char* records,
                          unsigned char* values) {
  using Storage = typename Element::Storage;
  const unsigned char* record = records;
  for (uint64_t block = first; block < last; ++block) {
    const uint64_t left = job.n - block * kBlock;
    const uint64_t bytes = (left < kBlock ? left : kBlock) * sizeof(Storage);
    unsigned char* const target = values + (block - first) * kBlock * sizeof(Storage);
    const unsigned metadata = job.metadata[block];
    if (metadata == 0) {
      std::memset(target, 0, bytes);
      continue;
    }
    const unsigned length = record_bytes(metadata);
    uint32_t word[kBlock];
    if (job.end - record >= static_cast<ptrdiff_t>(kRecordReach)) {
      read_record(metadata, record, word);
    } else {
      unsigned char whole[kRecordReach] = {};
      std::memcpy(whole, record, length);
      read_record(metadata, whole, word);
    }
    record += length;
    Storage value[kBlock];
    scale_block<Element, mode>(word, job.error_bound, value);
    if (bytes == sizeof value) {
      std::memcpy(target, value, sizeof value);
    } else {
      std::memcpy(target, value, bytes);
    }
  }
}

}  // namespace
}  // namespace cuszp

#endif
