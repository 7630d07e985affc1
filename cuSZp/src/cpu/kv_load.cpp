// cuszp_kv_load: a stream's bytes are gathered from its pages, checked, decoded and put back into their block.
#include <atomic>
#include <new>
#include <vector>

#include "cpu/float_environment.h"
#include "cpu/kernels.h"
#include "cpu/kv_block.h"

namespace cuszp {
namespace {

using cuszp_kv::Shape;

struct Scratch {
  std::vector<unsigned char> stream;  // the stored form
  std::vector<unsigned char> values;  // the decoded elements in codec order
  std::vector<float> centred;         // the same before their means are added
  std::vector<unsigned char> tokens;  // in (token, head, channel) order

  Scratch(uint32_t elements, uint32_t element)
      : stream(size_t(elements) * element), values(stream.size()), centred(elements), tokens(stream.size()) {}
};

cuszp_status check_records(const unsigned char* metadata, const Shape& shape, uint64_t present, bool outlier) {
  uint64_t sum = 0;
  for (uint32_t block = 0; block < shape.blocks; ++block) {
    if (!is_legal_metadata(metadata[block], outlier)) return CUSZP_BAD_METADATA;
    sum += record_bytes(metadata[block]);
  }
  return sum == present ? CUSZP_OK : sum > present ? CUSZP_STREAM_TRUNCATED : CUSZP_STREAM_TOO_LONG;
}

template <class Element>
void add_means(const cuszp_kv_plane& plane, const Shape& shape, Scratch& scratch) {
  for_each_mean(plane, shape, [&](uint32_t i, float mean) {
    const typename Element::Storage value = Element::narrow(scratch.centred[i] + mean);
    std::memcpy(&scratch.values[i * sizeof value], &value, sizeof value);
  });
}

cuszp_status decode(const cuszp_kv_plane& plane, const Shape& shape, uint32_t dtype, uint32_t stored_bytes,
                    Scratch& scratch) {
  const unsigned char* const metadata = scratch.stream.data() + shape.kept_bytes;
  const unsigned char* const records = metadata + shape.blocks;
  const unsigned char* const end = scratch.stream.data() + stored_bytes;
  const cuszp_status status = check_records(metadata, shape, end - records, plane.form == CUSZP_KV_FORM_OUTLIER);
  if (status != CUSZP_OK) return status;
  const DecodeJob job = {metadata, end, shape.n, plane.error_bound};
  if (plane.means != nullptr) {
    kernels().decode[CUSZP_F32][plane.form](job, 0, shape.blocks, records,
                                            reinterpret_cast<unsigned char*>(scratch.centred.data()));
    for_dtype(dtype, [&](auto element) { add_means<decltype(element)>(plane, shape, scratch); });
  } else {
    kernels().decode[dtype][plane.form](job, 0, shape.blocks, records, scratch.values.data());
  }
  return CUSZP_OK;
}

cuszp_status load_stream(const cuszp_kv_call& call, const cuszp_kv_move& move, const cuszp_kv_plane& plane,
                         const cuszp_kv_stream& stream, bool with_checksum, Scratch& scratch) {
  const uint32_t element = cuszp_kv::element_bytes(call.dtype);
  const Shape shape = cuszp_kv::shape_of(plane, move.keep_first, call.dtype);
  if (shape.elements == 0 || move.slot >= call.slot_count) return CUSZP_INVALID_ARGUMENT;
  if (stream.status != CUSZP_OK) return static_cast<cuszp_status>(stream.status);
  const cuszp_kv_slot& slot = call.slots[move.slot];
  const cuszp_status place = cuszp_kv::check_place(stream, shape, cuszp_kv::slot_bytes(slot, call.page_bytes));
  if (place != CUSZP_OK) return place;
  if (!stream.stored_raw && !cuszp_kv::is_coded(plane, call.dtype)) return CUSZP_INVALID_ARGUMENT;
  unsigned char* to = scratch.stream.data();
  for_each_page(call, slot, stream.offset, stream.stored_bytes, [&](const unsigned char* from, uint64_t bytes) {
    std::memcpy(to, from, bytes);
    to += bytes;
  });
  if (with_checksum && checksum_of(scratch.stream.data(), stream.stored_bytes) != stream.checksum) {
    return CUSZP_CHECKSUM_MISMATCH;
  }
  if (stream.stored_raw) {
    copy_tokens_in(plane, move.block, 0, plane.tokens, element, scratch.stream.data());
    return CUSZP_OK;
  }
  const cuszp_status status = decode(plane, shape, call.dtype, stream.stored_bytes, scratch);
  if (status != CUSZP_OK) return status;
  copy_tokens_in(plane, move.block, 0, shape.kept, element, scratch.stream.data());
  const unsigned char* decoded = scratch.values.data();
  if (plane.layout == CUSZP_KV_LAYOUT_HDT) {
    transpose(decoded, shape.channels, plane.tokens - shape.kept, element, scratch.tokens.data());
    decoded = scratch.tokens.data();
  }
  copy_tokens_in(plane, move.block, shape.kept, plane.tokens, element, decoded);
  return CUSZP_OK;
}

}  // namespace
}  // namespace cuszp

extern "C" cuszp_status cuszp_kv_load(const cuszp_kv_call* call, const cuszp_kv_stream* streams, int with_checksum,
                                      unsigned threads, uint32_t* statuses) {
  using namespace cuszp;
  if (!is_sound(call)) return CUSZP_INVALID_ARGUMENT;
  const uint64_t count = uint64_t(call->move_count) * call->plane_count;
  if (count == 0) return CUSZP_OK;
  if (streams == nullptr || statuses == nullptr) return CUSZP_INVALID_ARGUMENT;
  const Split split = workers_of(*call, threads);
  std::vector<Scratch> scratch;
  try {
    scratch.reserve(split.parts());
    for (unsigned i = 0; i < split.parts(); ++i) {
      scratch.emplace_back(most_elements(*call), cuszp_kv::element_bytes(call->dtype));
    }
  } catch (const std::bad_alloc&) {
    return CUSZP_OUT_OF_MEMORY;
  }
  const DefaultFloatEnvironment environment;
  std::atomic<uint64_t> ticket{0};
  run_parts(split, [&](unsigned part) {
    for (uint64_t i = ticket++; i < count; i = ticket++) {
      statuses[i] = load_stream(*call, call->moves[i / call->plane_count], call->planes[i % call->plane_count],
                                streams[i], with_checksum != 0, scratch[part]);
    }
  });
  return CUSZP_OK;
}
