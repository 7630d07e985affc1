// Decoding of a run of blocks whose metadata has been checked: bit planes, sign, running sum, scale, round.
// The including source has chosen bitplanes.h or a faster copy of it. Unnamed namespace as in layout.h.
#ifndef CUSZP_SRC_CPU_DECODE_BLOCKS_H
#define CUSZP_SRC_CPU_DECODE_BLOCKS_H

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/kernels.h"
#include "element.h"
#include "layout.h"

namespace cuszp {
namespace {

constexpr unsigned kReadReach = 4 + kPlanesReach;  // bytes that read_record may look at

// Folded residuals (see encode_blocks.h) of a record.
inline void read_record(unsigned metadata, const unsigned char* record, uint32_t word[32]) {
  const unsigned bytes = first_bytes(metadata);
  read_planes(record + bytes, 1 + (metadata & kRateMask), word);
  if (bytes != 0) {
    uint32_t magnitude;
    std::memcpy(&magnitude, record, sizeof magnitude);
    magnitude = little_endian(magnitude) & (0xffffffffu >> (32 - 8 * bytes));
    word[0] = magnitude << 1 | (word[0] & 1);
  }
}

// Folded residuals of `count` blocks with records from `record` on, of a stream that ends at `end`; returns the end of
// the records. A block without a record is left as it is.
inline const unsigned char* read_records(const unsigned char* metadata, unsigned count, const unsigned char* record,
                                         const unsigned char* end, uint32_t word[][kBlock]) {
  for (unsigned b = 0; b < count; ++b) {
    if (metadata[b] == 0) continue;
    const unsigned bytes = record_bytes(metadata[b]);
    if (end - record >= static_cast<ptrdiff_t>(kReadReach)) {
      read_record(metadata[b], record, word[b]);
    } else {
      unsigned char whole[kReadReach] = {};
      std::memcpy(whole, record, bytes);
      read_record(metadata[b], whole, word[b]);
    }
    record += bytes;
  }
  return record;
}

// Folded residuals become quantised values.
template <cuszp_mode mode>
inline void unfold_block(uint32_t word[32]) {
  for (unsigned i = 0; i < kBlock; ++i) {
    const uint32_t negative = 0u - (word[i] & 1);
    word[i] = ((word[i] >> 1) ^ negative) - negative;
  }
  if (mode != CUSZP_MODE_FIXED) sum_up(word);
}

// Writes a whole block of quantised values as elements.
template <class Element>
inline void scale_block(const uint32_t quantised[32], float error_bound, unsigned char* values) {
  for (unsigned i = 0; i < kBlock; ++i) {
    const float value = static_cast<float>(static_cast<int32_t>(quantised[i])) * error_bound * 2.0f;
    const typename Element::Storage stored = Element::narrow(value);
    std::memcpy(values + i * sizeof stored, &stored, sizeof stored);
  }
}

constexpr unsigned kDecodeBatch = 16;  // blocks that pass from stage to stage together; 2 KiB of words

template <class Element, cuszp_mode mode>
void decode_blocks(const DecodeJob& job, uint64_t first, uint64_t last, const unsigned char* records,
                   unsigned char* values) {
  constexpr uint64_t kBytes = kBlock * sizeof(typename Element::Storage);
  for (uint64_t block = first; block < last; block += kDecodeBatch) {
    const unsigned count = static_cast<unsigned>(last - block < kDecodeBatch ? last - block : kDecodeBatch);
    const unsigned char* const metadata = job.metadata + block;
    uint32_t word[kDecodeBatch][kBlock];
    records = read_records(metadata, count, records, job.end, word);
    for (unsigned b = 0; b < count; ++b) {
      if (metadata[b] != 0) unfold_block<mode>(word[b]);
    }
    for (unsigned b = 0; b < count; ++b) {
      unsigned char* const target = values + (block + b - first) * kBytes;
      const uint64_t left = (job.n - (block + b) * kBlock) * sizeof(typename Element::Storage);
      if (metadata[b] == 0) {
        std::memset(target, 0, left < kBytes ? left : kBytes);
      } else if (left < kBytes) {
        unsigned char whole[kBytes];
        scale_block<Element>(word[b], job.error_bound, whole);
        std::memcpy(target, whole, left);
      } else {
        scale_block<Element>(word[b], job.error_bound, target);
      }
    }
  }
}

}  // namespace
}  // namespace cuszp

#endif
