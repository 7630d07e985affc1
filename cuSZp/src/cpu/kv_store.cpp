// cuszp_kv_store: streams are encoded on several threads and take their places one after the other.
#include <atomic>
#include <cmath>
#include <new>
#include <thread>
#include <vector>

#include "cpu/float_environment.h"
#include "cpu/kernels.h"
#include "cpu/kv_block.h"

namespace cuszp {
namespace {

using cuszp_kv::Shape;

struct Scratch {
  std::vector<unsigned char> tokens;  // the block in (token, head, channel) order
  std::vector<unsigned char> values;  // the coded elements in codec order
  std::vector<float> centred;         // less their means; later the decoded values
  std::vector<unsigned char> stream;  // the stored form

  Scratch(uint32_t elements, uint32_t element)
      : tokens(size_t(elements) * element),
        values(tokens.size()),
        centred(elements),
        stream(tokens.size() + CUSZP_KV_ALIGNMENT) {}
};

// Whether the exact difference is at most `limit`: what is rounded off decides where the rounded one equals it.
inline bool is_within(float x, float decoded, float limit) {
  const float difference = x - decoded;
  const float part = difference - x;
  const float rest = (x - (difference - part)) + (-decoded - part);
  const float outward = difference < 0.0f ? -rest : rest;
  return std::fabs(difference) < limit || (std::fabs(difference) == limit && outward <= 0.0f);
}

template <class Element>
void centre(const cuszp_kv_plane& plane, const Shape& shape, Scratch& scratch) {
  for_each_mean(plane, shape, [&](uint32_t i, float mean) {
    typename Element::Storage value;
    std::memcpy(&value, &scratch.values[i * sizeof value], sizeof value);
    scratch.centred[i] = Element::widen(value) - mean;
  });
}

template <class Element>
bool keeps_limit(const cuszp_kv_plane& plane, const Shape& shape, const Scratch& scratch) {
  bool keeps = true;
  for_each_mean(plane, shape, [&](uint32_t i, float mean) {
    typename Element::Storage value;
    std::memcpy(&value, &scratch.values[i * sizeof value], sizeof value);
    keeps = keeps && is_within(Element::widen(value), scratch.centred[i] + mean, plane.limit);
  });
  return keeps;
}

// Bytes of the coded form now in scratch.stream, or 0 where the block has to be stored raw.
uint32_t encode(const cuszp_kv_plane& plane, const Shape& shape, uint32_t dtype, Scratch& scratch) {
  const uint32_t header = shape.kept_bytes + shape.blocks;
  if (!cuszp_kv::is_coded(plane, dtype) || header >= shape.raw_bytes) return 0;
  const unsigned char* const coded = scratch.tokens.data() + shape.kept_bytes;
  if (plane.layout == CUSZP_KV_LAYOUT_HDT) {
    transpose(coded, plane.tokens - shape.kept, shape.channels, cuszp_kv::element_bytes(dtype), scratch.values.data());
  } else {
    std::memcpy(scratch.values.data(), coded, shape.raw_bytes - shape.kept_bytes);
  }
  EncodeJob job = {scratch.values.data(), shape.n, plane.error_bound};
  uint32_t seen = dtype;
  if (plane.means != nullptr) {
    for_dtype(dtype, [&](auto element) { centre<decltype(element)>(plane, shape, scratch); });
    job.values = reinterpret_cast<const unsigned char*>(scratch.centred.data());
    seen = CUSZP_F32;
  }
  unsigned char* const metadata = scratch.stream.data() + shape.kept_bytes;
  const uint64_t room = shape.raw_bytes - 1 - header;
  const uint64_t payload =
      kernels().encode[seen][plane.form](job, 0, shape.blocks, metadata, metadata + shape.blocks, room);
  if (payload > room) return 0;
  if (cuszp_kv::is_limited(plane)) {
    const DecodeJob back = {metadata, metadata + shape.blocks + payload, shape.n, plane.error_bound};
    kernels().decode[CUSZP_F32][plane.form](back, 0, shape.blocks, metadata + shape.blocks,
                                            reinterpret_cast<unsigned char*>(scratch.centred.data()));
    bool keeps = true;
    for_dtype(dtype, [&](auto element) { keeps = keeps_limit<decltype(element)>(plane, shape, scratch); });
    if (!keeps) return 0;
  }
  std::memcpy(scratch.stream.data(), scratch.tokens.data(), shape.kept_bytes);
  return header + static_cast<uint32_t>(payload);
}

// The stored form of one block, without its place; its bytes are in scratch.stream.
cuszp_kv_stream make_stream(const cuszp_kv_call& call, const cuszp_kv_move& move, const cuszp_kv_plane& plane,
                            bool with_checksum, Scratch& scratch) {
  const Shape shape = cuszp_kv::shape_of(plane, move.keep_first, call.dtype);
  if (shape.elements == 0 || move.slot >= call.slot_count) return {0, 0, 0, CUSZP_INVALID_ARGUMENT, 0};
  copy_tokens_out(plane, move.block, 0, plane.tokens, cuszp_kv::element_bytes(call.dtype), scratch.tokens.data());
  cuszp_kv_stream stream = {0, encode(plane, shape, call.dtype, scratch), 0, CUSZP_OK, 0};
  if (stream.stored_bytes == 0) {
    stream.stored_bytes = shape.raw_bytes;
    stream.stored_raw = 1;
    std::memcpy(scratch.stream.data(), scratch.tokens.data(), shape.raw_bytes);
  }
  std::memset(scratch.stream.data() + stream.stored_bytes, 0,
              cuszp_kv::round_up(stream.stored_bytes) - stream.stored_bytes);
  if (with_checksum) stream.checksum = checksum_of(scratch.stream.data(), stream.stored_bytes);
  return stream;
}

void place(const cuszp_kv_call& call, const cuszp_kv_move& move, uint64_t* cursors, cuszp_kv_stream& stream) {
  if (stream.status != CUSZP_OK) return;
  const uint64_t offset = cursors[move.slot];
  cursors[move.slot] += cuszp_kv::round_up(stream.stored_bytes);
  if (cursors[move.slot] > cuszp_kv::slot_bytes(call.slots[move.slot], call.page_bytes)) {
    stream.status = CUSZP_OUTPUT_TOO_SMALL;
  } else {
    stream.offset = static_cast<uint32_t>(offset);
  }
}

void store_streams(const cuszp_kv_call& call, uint64_t* cursors, bool with_checksum, Scratch& scratch,
                   std::atomic<uint64_t>& ticket, std::atomic<uint64_t>& turn, cuszp_kv_stream* streams) {
  const uint64_t count = uint64_t(call.move_count) * call.plane_count;
  for (uint64_t i = ticket++; i < count; i = ticket++) {
    const cuszp_kv_move& move = call.moves[i / call.plane_count];
    cuszp_kv_stream stream = make_stream(call, move, call.planes[i % call.plane_count], with_checksum, scratch);
    while (turn.load(std::memory_order_acquire) != i) std::this_thread::yield();
    place(call, move, cursors, stream);
    turn.store(i + 1, std::memory_order_release);
    streams[i] = stream;
    if (stream.status != CUSZP_OK) continue;
    const unsigned char* from = scratch.stream.data();
    for_each_page(call, call.slots[move.slot], stream.offset, cuszp_kv::round_up(stream.stored_bytes),
                  [&](unsigned char* to, uint64_t bytes) {
                    std::memcpy(to, from, bytes);
                    from += bytes;
                  });
  }
}

}  // namespace
}  // namespace cuszp

extern "C" uint64_t cuszp_kv_block_elements(const cuszp_kv_plane* plane) {
  return plane == nullptr ? 0 : cuszp_kv::elements_of(*plane);
}

extern "C" cuszp_status cuszp_kv_store(const cuszp_kv_call* call, uint64_t* cursors, int with_checksum,
                                       unsigned threads, cuszp_kv_stream* streams) {
  using namespace cuszp;
  if (!is_sound(call)) return CUSZP_INVALID_ARGUMENT;
  if (uint64_t(call->move_count) * call->plane_count == 0) return CUSZP_OK;
  if (cursors == nullptr || streams == nullptr) return CUSZP_INVALID_ARGUMENT;
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
  std::atomic<uint64_t> ticket{0}, turn{0};
  run_parts(split, [&](unsigned part) {
    store_streams(*call, cursors, with_checksum != 0, scratch[part], ticket, turn, streams);
  });
  return CUSZP_OK;
}
