// cuszp_decompress and cuszp_decompress_range: the whole metadata is checked before anything is written.
#include "cpu/arguments.h"
#include "cpu/float_environment.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "layout.h"

namespace cuszp {
namespace {

constexpr uint64_t kIllegal = UINT64_MAX;  // more than any sum of record sizes

// Bytes of the records that metadata bytes [first, last) announce, or kIllegal.
uint64_t sum_records(const uint8_t* metadata, uint64_t first, uint64_t last, bool outlier) {
  uint64_t sum = 0;
  bool legal = true;
  for (uint64_t block = first; block < last; ++block) {
    sum += record_bytes(metadata[block]);
    legal = legal && is_legal_metadata(metadata[block], outlier);
  }
  return legal ? sum : kIllegal;
}

bool all_zero(const uint8_t* bytes, uint64_t first, uint64_t last) {
  unsigned any = 0;
  for (uint64_t i = first; i < last; ++i) any |= bytes[i];
  return any == 0;
}

struct Offsets {
  uint64_t start[kMaxParts + 1];  // of each part's records, from the first record on
  cuszp_status status;
};

// Checks the stream of n elements and finds where the records of each part of blocks [first, ...) start.
Offsets find_records(const uint8_t* stream, uint64_t stream_bytes, uint64_t n, bool outlier, uint64_t first,
                     const Split& split) {
  Offsets offsets = {};
  const uint64_t header = metadata_bytes(n);
  offsets.status = stream_bytes < header ? CUSZP_STREAM_TRUNCATED : CUSZP_OK;
  if (offsets.status != CUSZP_OK) return offsets;

  uint64_t sum[kMaxParts] = {};
  run_parts(split, [&](unsigned part) {
    sum[part] = sum_records(stream, first + split.begin(part), first + split.end(part), outlier);
  });
  const uint64_t before = sum_records(stream, 0, first, outlier);
  const uint64_t after = sum_records(stream, first + split.end(split.parts() - 1), block_count(n), outlier);
  bool legal = before != kIllegal && after != kIllegal && all_zero(stream, block_count(n), header);
  offsets.start[0] = before;
  for (unsigned part = 0; part < split.parts(); ++part) {
    legal = legal && sum[part] != kIllegal;
    offsets.start[part + 1] = offsets.start[part] + sum[part];
  }
  const uint64_t payload = offsets.start[split.parts()] + after;
  const uint64_t present = stream_bytes - header;
  if (!legal) {
    offsets.status = CUSZP_BAD_METADATA;
  } else if (payload != present) {
    offsets.status = payload > present ? CUSZP_STREAM_TRUNCATED : CUSZP_STREAM_TOO_LONG;
  }
  return offsets;
}

}  // namespace
}  // namespace cuszp

extern "C" cuszp_status cuszp_decompress(const uint8_t* stream, uint64_t stream_bytes, uint64_t n, float error_bound,
                                         cuszp_mode mode, cuszp_dtype dtype, unsigned threads, void* values) {
  return cuszp_decompress_range(stream, stream_bytes, n, error_bound, mode, dtype, 0, n, threads, values);
}

extern "C" cuszp_status cuszp_decompress_range(const uint8_t* stream, uint64_t stream_bytes, uint64_t n,
                                               float error_bound, cuszp_mode mode, cuszp_dtype dtype, uint64_t first,
                                               uint64_t count, unsigned threads, void* values) {
  using namespace cuszp;
  if (!is_dtype(dtype) || !is_mode(mode) || !is_bound(error_bound) || first % kBlock != 0 || first > n ||
      count > n - first || (count > 0 && values == nullptr) || (stream == nullptr && (n > 0 || stream_bytes > 0))) {
    return CUSZP_INVALID_ARGUMENT;
  }
  if (!fits_memory(n, dtype)) return CUSZP_TOO_LARGE;
  const uint64_t first_block = first / kBlock;
  const Split split(block_count(count), threads);
  const Offsets offsets = find_records(stream, stream_bytes, n, mode == CUSZP_MODE_OUTLIER, first_block, split);
  if (offsets.status != CUSZP_OK || count == 0) return offsets.status;

  const DefaultFloatEnvironment environment;
  const DecodeJob job = {stream, stream + stream_bytes, first + count, error_bound};
  const DecodeBlocks decode = kernels().decode[dtype][mode];
  run_parts(split, [&](unsigned part) {
    decode(job, first_block + split.begin(part), first_block + split.end(part),
           stream + metadata_bytes(n) + offsets.start[part],
           static_cast<unsigned char*>(values) + split.begin(part) * kBlock * element_bytes(dtype));
  });
  return CUSZP_OK;
}
