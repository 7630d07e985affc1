// Encoding of a run of blocks: quantise, difference, sign and magnitude, rate, bit planes.
// Unnamed namespace as in layout.h.
#ifndef CUSZP_SRC_CPU_ENCODE_BLOCKS_H
#define CUSZP_SRC_CPU_ENCODE_BLOCKS_H

#include <cstdint>
#include <cstring>

#include "bitplanes.h"
#include "cpu/kernels.h"
#include "element.h"
#include "layout.h"

namespace cuszp {
namespace {

// Half up for positive and half down for negative values, saturating, modulo 2^32; NaN gives -1.
inline uint32_t quantise(float value, float reciprocal) {
  const float scaled = value * reciprocal;
  const float shifted = scaled + 0.5f;
  const bool fits = shifted > -0x1p31f && shifted < 0x1p31f;
  uint32_t truncated = static_cast<uint32_t>(static_cast<int32_t>(fits ? shifted : 0.0f));
  truncated = shifted >= 0x1p31f ? 0x7fffffffu : truncated;
  truncated = shifted <= -0x1p31f ? 0x80000000u : truncated;
  return truncated - (scaled >= -0.5f ? 0u : 1u);
}

// Magnitude << 1 | sign. A residual of -2^31 loses its magnitude here, as the format says.
inline uint32_t fold_sign(uint32_t residual) {
  const uint32_t sign = residual >> 31;
  return ((residual ^ (0u - sign)) + sign) << 1 | sign;
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

// Folded residuals of `count` elements; the rest of the block is zero.
template <class Element, cuszp_mode mode>
inline void fold_block(const unsigned char* values, uint64_t count, float reciprocal, uint32_t word[32]) {
  typename Element::Storage stored[kBlock] = {};
  if (count == kBlock) {
    std::memcpy(stored, values, sizeof stored);
  } else {
    std::memcpy(stored, values, count * sizeof stored[0]);
  }
  uint32_t quantised[1 + kBlock];
  quantised[0] = 0;
  for (unsigned i = 0; i < kBlock; ++i) quantised[1 + i] = quantise(Element::widen(stored[i]), reciprocal);
  for (unsigned i = 0; i < kBlock; ++i) {
    word[i] = fold_sign(mode == CUSZP_MODE_FIXED ? quantised[1 + i] : quantised[1 + i] - quantised[i]);
  }
  for (uint64_t i = count; i < kBlock; ++i) word[i] = 0;
}

// The metadata byte of a block of folded residuals.
template <cuszp_mode mode>
inline unsigned choose_metadata(const uint32_t word[32]) {
  uint32_t others = 0;
  for (unsigned i = 1; i < kBlock; ++i) others |= word[i];
  const unsigned rate = bit_length((others | word[0]) >> 1);
  if (mode != CUSZP_MODE_OUTLIER || rate == 0) return rate;
  const unsigned others_rate = bit_length(others >> 1);
  const unsigned bytes = (bit_length(word[0] >> 1) + 7) / 8;
  if (4 * rate <= 4 * others_rate + bytes) return rate;
  return kFlag | (bytes - 1) << kFirstBytesShift | others_rate;
}

// Writes a record of a legal, non-zero metadata byte; may scribble up to 128 bytes from its last field's start.
inline void write_record(unsigned metadata, uint32_t word[32], unsigned char* record) {
  const unsigned bytes = first_bytes(metadata);
  if (bytes != 0) {
    const uint32_t magnitude = little_endian(word[0] >> 1);
    std::memcpy(record, &magnitude, sizeof magnitude);
    record += bytes;
    word[0] &= 1;
  }
  sixteen_planes(word, 0, record);
  if ((metadata & kRateMask) >= 16) sixteen_planes(word, 16, record + 64);
}

constexpr unsigned kBatch = 32;            // blocks folded before their planes are written; 4 KiB of words
constexpr unsigned kScribble = 4 + 2 * 64;  // bytes that write_record may touch

template <class Element, cuszp_mode mode>
uint64_t encode_blocks(const EncodeJob& job, uint64_t first, uint64_t last, unsigned char* metadata,
                              unsigned char* records, uint64_t room) {
  const float reciprocal = 0.5f / job.error_bound;
  uint64_t needed = 0;
  for (uint64_t block = first; block < last; block += kBatch) {
    const unsigned count = static_cast<unsigned>(last - block < kBatch ? last - block : kBatch);
    uint32_t word[kBatch][kBlock];
    unsigned char choice[kBatch];
    uint64_t batch_bytes = 0;
    for (unsigned b = 0; b < count; ++b) {
      const uint64_t element = (block + b) * kBlock;
      const uint64_t left = job.n - element;
      fold_block<Element, mode>(job.values + element * sizeof(typename Element::Storage), left < kBlock ? left : kBlock,
                                reciprocal, word[b]);
      choice[b] = static_cast<unsigned char>(choose_metadata<mode>(word[b]));
      batch_bytes += record_bytes(choice[b]);
    }
    if (metadata != nullptr) std::memcpy(metadata + (block - first), choice, count);
    if (needed + batch_bytes <= room) {
      unsigned char* record = records + needed;
      unsigned char* const end = record + batch_bytes;
      for (unsigned b = 0; b < count; ++b) {
        if (choice[b] == 0) continue;
        const unsigned bytes = record_bytes(choice[b]);
        if (end - record >= static_cast<ptrdiff_t>(kScribble)) {
          write_record(choice[b], word[b], record);
        } else {
          unsigned char whole[kScribble];
          write_record(choice[b], word[b], whole);
          std::memcpy(record, whole, bytes);
        }
        record += bytes;
      }
    }
    needed += batch_bytes;
  }
  return needed;
}

}  // namespace
}  // namespace cuszp

#endif
