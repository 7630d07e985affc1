// Encoding of a run of blocks: quantise, difference, sign and magnitude, rate, bit planes.
// The including source has chosen bitplanes.h or a faster copy of it. Unnamed namespace as in layout.h.
#ifndef CUSZP_SRC_CPU_ENCODE_BLOCKS_H
#define CUSZP_SRC_CPU_ENCODE_BLOCKS_H

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/kernels.h"
#include "element.h"
#include "layout.h"

namespace cuszp {
namespace {

// Half up for positive and half down for negative values, saturating, modulo 2^32; NaN gives -1.
inline uint32_t quantise(float value, float reciprocal) {
  const float scaled = value * reciprocal;
  const float shifted = scaled + 0.5f;
  const bool above = shifted >= 0x1p31f;
  const float not_below = shifted > -0x1p31f ? shifted : -0x1p31f;
  uint32_t truncated = static_cast<uint32_t>(static_cast<int32_t>(above ? 0.0f : not_below));
  truncated |= above ? 0x7fffffffu : 0u;
  truncated &= shifted == shifted ? 0xffffffffu : 0u;
  return truncated - (scaled >= -0.5f ? 0u : 1u);
}

// Magnitude << 1 | sign. A residual of -2^31 loses its magnitude here, as the format says.
inline uint32_t fold_sign(uint32_t residual) {
  const uint32_t negative = 0u - (residual >> 31);
  const uint32_t magnitude = (residual ^ negative) - negative;
  return magnitude + magnitude - negative;
}

inline unsigned bit_length(uint32_t value) {
#if defined(__GNUC__)
  return value == 0 ? 0 : 32 - static_cast<unsigned>(__builtin_clz(value));
#else
  unsigned bits = 0;
  for (; value != 0; value >>= 1) ++bits;
  return bits;
#endif
}

// Quantises a block of `count` elements; what is past them is of no account.
template <class Element>
inline void quantise_block(const unsigned char* values, uint64_t count, float reciprocal, uint32_t quantised[32]) {
  using Storage = typename Element::Storage;
  unsigned char padded[kBlock * sizeof(Storage)] = {};
  if (count < kBlock) values = static_cast<unsigned char*>(std::memcpy(padded, values, count * sizeof(Storage)));
  for (unsigned i = 0; i < kBlock; ++i) {
    Storage stored;
    std::memcpy(&stored, values + i * sizeof stored, sizeof stored);
    quantised[i] = quantise(Element::widen(stored), reciprocal);
  }
}

// Folded residuals of a block whose quantised values are before[1..32]; before[0] is 0.
template <cuszp_mode mode>
inline void fold_block(const uint32_t before[33], uint32_t word[32]) {
  for (unsigned i = 0; i < kBlock; ++i) {
    word[i] = fold_sign(mode == CUSZP_MODE_FIXED ? before[1 + i] : before[1 + i] - before[i]);
  }
}

// The metadata byte of a block of folded residuals.
template <cuszp_mode mode>
inline unsigned choose_metadata(const uint32_t word[32]) {
  uint32_t others = 0;
  // Words 1 to 31 as runs of 24 and 8, one word twice, so that no rest is left over from whole vectors.
  for (unsigned i = 1; i <= 24; ++i) others |= word[i];
  for (unsigned i = 24; i < kBlock; ++i) others |= word[i];
  const unsigned rate = bit_length((others | word[0]) >> 1);
  if (mode != CUSZP_MODE_OUTLIER || rate == 0) return rate;
  const unsigned others_rate = bit_length(others >> 1);
  const unsigned bytes = (bit_length(word[0] >> 1) + 7) / 8;
  if (4 * rate <= 4 * others_rate + bytes) return rate;
  return kFlag | (bytes - 1) << kFirstBytesShift | others_rate;
}

constexpr unsigned kBatch = 32;                     // blocks folded before their planes are written; 4 KiB of words
constexpr unsigned kWriteReach = 4 + kPlanesReach;  // bytes that write_record may touch

// Writes a record of a non-zero metadata byte.
inline void write_record(unsigned metadata, uint32_t word[32], unsigned char* record) {
  const unsigned bytes = first_bytes(metadata);
  if (bytes != 0) {
    const uint32_t magnitude = little_endian(word[0] >> 1);
    std::memcpy(record, &magnitude, sizeof magnitude);
    word[0] &= 1;
  }
  write_planes(word, 1 + (metadata & kRateMask), record + bytes);
}

// Writes records that lie one after the other and end exactly at `end`.
inline void write_records(const unsigned char* metadata, uint32_t word[][kBlock], unsigned count, unsigned char* record,
                          const unsigned char* end) {
  for (unsigned b = 0; b < count; ++b) {
    if (metadata[b] == 0) continue;
    const unsigned bytes = record_bytes(metadata[b]);
    if (end - record >= static_cast<ptrdiff_t>(kWriteReach)) {
      write_record(metadata[b], word[b], record);
    } else {
      unsigned char whole[kWriteReach];
      write_record(metadata[b], word[b], whole);
      std::memcpy(record, whole, bytes);
    }
    record += bytes;
  }
}

// Folded residuals of `count` blocks from `block` on, stage by stage: a stage reads what the one before has written
// long enough ago.
template <class Element, cuszp_mode mode>
inline void fold_blocks(const EncodeJob& job, float reciprocal, uint64_t block, unsigned count,
                        uint32_t word[][kBlock]) {
  uint32_t quantised[kBatch][1 + kBlock];
  for (unsigned b = 0; b < count; ++b) {
    const uint64_t element = (block + b) * kBlock;
    quantised[b][0] = 0;
    quantise_block<Element>(job.values + element * sizeof(typename Element::Storage), job.n - element, reciprocal,
                            quantised[b] + 1);
  }
  for (unsigned b = 0; b < count; ++b) fold_block<mode>(quantised[b], word[b]);
  const uint64_t held = job.n - (block + count - 1) * kBlock;  // in the last block
  for (uint64_t i = held; i < kBlock; ++i) word[count - 1][i] = 0;
}

template <class Element, cuszp_mode mode>
uint64_t encode_blocks(const EncodeJob& job, uint64_t first, uint64_t last, unsigned char* metadata,
                       unsigned char* records, uint64_t room) {
  const float reciprocal = 0.5f / job.error_bound;
  uint64_t needed = 0;
  for (uint64_t block = first; block < last; block += kBatch) {
    const unsigned count = static_cast<unsigned>(last - block < kBatch ? last - block : kBatch);
    uint32_t word[kBatch][kBlock];
    fold_blocks<Element, mode>(job, reciprocal, block, count, word);
    unsigned char choice[kBatch];
    uint64_t batch_bytes = 0;
    for (unsigned b = 0; b < count; ++b) {
      choice[b] = static_cast<unsigned char>(choose_metadata<mode>(word[b]));
      batch_bytes += record_bytes(choice[b]);
    }
    if (metadata != nullptr) std::memcpy(metadata + (block - first), choice, count);
    if (needed + batch_bytes <= room) {
      write_records(choice, word, count, records + needed, records + needed + batch_bytes);
    }
    needed += batch_bytes;
  }
  return needed;
}

}  // namespace
}  // namespace cuszp

#endif
