// The arithmetic of a stream's layout: how many blocks, how long a record is, which metadata bytes are legal.
// All of it is in an unnamed namespace: sources compiled for different instruction sets must not share a copy.
#ifndef CUSZP_SRC_LAYOUT_H
#define CUSZP_SRC_LAYOUT_H

#include <cstdint>

#include "cuszp/cuszp.h"

namespace cuszp {
namespace {

constexpr uint64_t kBlock = CUSZP_BLOCK_ELEMENTS;
constexpr uint64_t kTileBlocks = CUSZP_TILE_BLOCKS;

// A metadata byte of outlier mode: flag, bytes of the first magnitude less one, bits of the others.
constexpr unsigned kFlag = 0x80;
constexpr unsigned kRateMask = 0x1f;
constexpr unsigned kFirstBytesShift = 5;

inline constexpr uint64_t block_count(uint64_t n) {
  return n / kBlock + (n % kBlock != 0);
}

inline constexpr uint64_t metadata_bytes(uint64_t n) {
  const uint64_t blocks = block_count(n);
  return (blocks / kTileBlocks + (blocks % kTileBlocks != 0)) * kTileBlocks;
}

// Bytes of the first magnitude that a metadata byte announces: 0 when it is not flagged.
inline constexpr unsigned first_bytes(unsigned metadata) {
  return metadata & kFlag ? ((metadata >> kFirstBytesShift) & 3) + 1 : 0;
}

// A record is the first magnitude if kept apart, the signs and `rate` planes; an unflagged rate of 0 has no record.
inline constexpr unsigned record_bytes(unsigned metadata) {
  return metadata == 0 ? 0 : first_bytes(metadata) + 4 + 4 * (metadata & kRateMask);
}

inline constexpr bool is_legal_metadata(unsigned metadata, bool outlier) {
  return metadata <= kRateMask || (outlier && (metadata & kFlag) != 0);
}

}  // namespace
}  // namespace cuszp

#endif
