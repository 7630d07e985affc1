// cuszp_compress: one pass over the values on one thread, or a pass for the sizes and a pass for the records on many.
#include <cstring>

#include "cpu/arguments.h"
#include "cpu/float_environment.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "layout.h"

namespace cuszp {
namespace {

// Bytes that the records need; writes everything when the stream fits into `capacity`.
uint64_t encode_parts(const EncodeJob& job, EncodeBlocks encode, unsigned threads, uint8_t* stream, uint64_t capacity) {
  const uint64_t header = metadata_bytes(job.n);
  const Split split(block_count(job.n), threads);
  uint8_t* const metadata = capacity < header ? nullptr : stream;
  uint8_t* const records = metadata == nullptr ? nullptr : stream + header;
  const uint64_t room = metadata == nullptr ? 0 : capacity - header;
  if (metadata != nullptr) std::memset(metadata + block_count(job.n), 0, header - block_count(job.n));
  if (split.parts() == 1) return encode(job, 0, block_count(job.n), metadata, records, room);

  uint64_t start[kMaxParts + 1] = {};
  run_parts(split, [&](unsigned part) {
    start[part + 1] = encode(job, split.begin(part), split.end(part), nullptr, nullptr, 0);
  });
  for (unsigned part = 0; part < split.parts(); ++part) start[part + 1] += start[part];
  const uint64_t needed = start[split.parts()];
  if (metadata == nullptr || needed > room) return needed;
  run_parts(split, [&](unsigned part) {
    encode(job, split.begin(part), split.end(part), metadata + split.begin(part), records + start[part],
           start[part + 1] - start[part]);
  });
  return needed;
}

}  // namespace
}  // namespace cuszp

extern "C" cuszp_status cuszp_compress(const void* values, cuszp_dtype dtype, uint64_t n, float error_bound,
                                       cuszp_mode mode, unsigned threads, uint8_t* stream, uint64_t capacity,
                                       uint64_t* stream_bytes) {
  using namespace cuszp;
  if (stream_bytes == nullptr || !is_dtype(dtype) || !is_mode(mode) || !is_bound(error_bound) ||
      (n > 0 && (values == nullptr || stream == nullptr))) {
    return CUSZP_INVALID_ARGUMENT;
  }
  if (!fits_memory(n, dtype)) return CUSZP_TOO_LARGE;
  *stream_bytes = 0;
  if (n == 0) return CUSZP_OK;
  const DefaultFloatEnvironment environment;
  const EncodeJob job = {static_cast<const unsigned char*>(values), n, error_bound};
  *stream_bytes = metadata_bytes(n) + encode_parts(job, kernels().encode[dtype][mode], threads, stream, capacity);
  return *stream_bytes <= capacity ? CUSZP_OK : CUSZP_OUTPUT_TOO_SMALL;
}
