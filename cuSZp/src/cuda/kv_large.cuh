// KV blocks that do not fit into shared memory, or whose rows are more than threads: a slow way, straight from and to
// global memory, two passes over the values and bytes for words.
#ifndef CUSZP_CUDA_KV_LARGE_CUH
#define CUSZP_CUDA_KV_LARGE_CUH

#include <cstdint>

#include "kv_rows.cuh"

namespace cuszp_gpu {

// What the threads of a thread block share, both ways.
struct KvShared {
  KvJob jobs[3];  // of the current stream, the next and the one after
  uint32_t warp_bytes[32];
  uint64_t place;
  uint32_t checksum;
};

constexpr uint32_t kKvSharedBytes = (sizeof(KvShared) + 127) & ~127u;

// One thread: takes the stream's place in its slot.
__device__ __forceinline__ uint64_t take_place(const KvStoreArguments& arguments, const KvJob& job, uint32_t bytes) {
  return atomicAdd(reinterpret_cast<unsigned long long*>(arguments.cursors + job.move.slot), cuszp_kv::round_up(bytes));
}

__device__ __forceinline__ bool place_fits(const KvStoreArguments& arguments, const KvJob& job, uint64_t offset,
                                           uint32_t bytes) {
  return offset + cuszp_kv::round_up(bytes) <= cuszp_kv::slot_bytes(job.slot, arguments.call.page_bytes);
}

__device__ __forceinline__ void write_stream(cuszp_kv_stream* at, uint32_t offset, uint32_t bytes, uint32_t checksum,
                                             uint32_t status, bool raw) {
  *reinterpret_cast<uint4*>(at) = make_uint4(offset, bytes, checksum, status | (raw ? 1u << 16 : 0));
}

// Record bytes that go to a slot's pages.
struct PageSink {
  const SlotPages& pages;
  uint32_t offset;
  __device__ __forceinline__ void byte(uint32_t at, uint32_t value) const {
    *pages.at(offset + at) = static_cast<uint8_t>(value);
  }
  __device__ __forceinline__ void word(uint32_t at, uint32_t value) const {
    for (uint32_t i = 0; i < 4; ++i) byte(at + i, value >> (8 * i));
  }
};

// Values of a row, less their means, from global memory; as WalkSource.
template <typename Element>
struct FarSource {
  const BlockElements& elements;
  RowWalk walk;
  uint32_t kept_bytes;
  const float* all_means;
  float raw = 0.0f, mean = 0.0f;
  __device__ __forceinline__ float operator()(uint32_t i) {
    raw = mean = 0.0f;
    if (i >= walk.valid) return 0.0f;
    raw = load_element<Element>(elements.byte(kept_bytes + walk.element() * Element::kBytes));
    mean = all_means ? all_means[walk.channel()] : 0.0f;
    walk.advance();
    return __fsub_rn(raw, mean);
  }
};

template <typename Element, int kMode>
__device__ __noinline__ RecordShape encode_far_row(const BlockElements& elements, const KvJob& job,
                                                   const cuszp_kv::Shape& shape, uint32_t index, Residuals& block,
                                                   WideMagnitudes& wide, bool& exceeds) {
  FarSource<Element> source{elements, RowWalk(job.plane, shape, min(index, shape.blocks)), shape.kept_bytes,
                            job.plane.means};
  const bool limited = cuszp_kv::is_limited(job.plane);
  block = read_residuals<kMode, false>(
      source, __fdiv_rn(0.5f, job.plane.error_bound), [&](uint32_t i, uint32_t magnitude, uint32_t quantum) {
        wide.words[i] = magnitude;
        const float decoded = __int2float_rn(static_cast<int32_t>(quantum));
        exceeds |= limited && i < source.walk.valid &&
                   !keeps_limit(source.raw, decoded, job.plane.error_bound, source.mean, job.plane.limit);
      });
  const uint32_t valid = source.walk.valid;
  if (valid < kBlockElements) drop_residuals_from(valid, block, [&] { return drop_words_from(valid, wide); });
  if (job.plane.form == CUSZP_KV_FORM_OUTLIER) return outlier_shape(block.first, block.rest_or);
  return plain_shape(block.first | block.rest_or);
}

// One pass over the rows: visit(index, place of its record, shape, block, magnitudes) where kWrite; gives the sum of
// the records' bytes. `exceeds` is the same in all threads afterwards.
template <typename Element, typename Visit>
__device__ __forceinline__ uint64_t for_each_far_row(KvShared& shared, const BlockElements& elements, const KvJob& job,
                                                     const cuszp_kv::Shape& shape, bool& exceeds, Visit&& visit) {
  uint64_t before = 0;
  for (uint32_t first = 0; first < shape.blocks; first += blockDim.x) {
    const uint32_t index = first + threadIdx.x;
    Residuals block;
    WideMagnitudes wide;
    const RecordShape record = job.plane.form == CUSZP_KV_FORM_FIXED
                                   ? encode_far_row<Element, kFixed>(elements, job, shape, index, block, wide, exceeds)
                                   : encode_far_row<Element, kPlain>(elements, job, shape, index, block, wide, exceeds);
    uint32_t total;
    const uint32_t place = sum_block(record.bytes, shared.warp_bytes, exceeds, total);
    visit(index, before + place, record, block, wide);
    before += total;
    __syncthreads();
  }
  return before;
}

// The thread's part of the checksum of bytes that are stored; after a barrier.
__device__ __forceinline__ uint32_t sum_stored(const SlotPages& pages, uint32_t offset, uint32_t bytes) {
  uint32_t sum = 0;
  for (uint32_t at = threadIdx.x * 4; at < bytes; at += blockDim.x * 4) {
    uint32_t word = *reinterpret_cast<const volatile uint32_t*>(pages.at(offset + at));
    if (bytes - at < 4) word &= ~0u >> (32 - 8 * (bytes - at));
    sum += cuszp_kv::mix(word, at / 4);
  }
  return sum;
}

// All threads; the sum of the stream's checksum parts, in all of them.
__device__ __forceinline__ uint32_t sum_checksums(KvShared& shared, uint32_t sum) {
  const uint32_t warp_sum = __reduce_add_sync(~0u, sum);
  if (threadIdx.x % 32 == 0) atomicAdd(&shared.checksum, warp_sum);
  __syncthreads();
  const uint32_t whole = shared.checksum;
  __syncthreads();
  if (threadIdx.x == 0) shared.checksum = 0;
  return whole;
}

template <typename Element>
__device__ __noinline__ void store_large(const KvStoreArguments& arguments, KvShared& shared, const KvJob& job,
                                         cuszp_kv::Shape shape, bool coded, cuszp_kv_stream* result) {
  const BlockElements elements(job, cuszp_kv::element_bytes(arguments.call.dtype));
  const uint32_t header = shape.kept_bytes + shape.blocks;
  bool raw = !coded;
  uint64_t payload = 0;
  if (coded) {
    payload =
        for_each_far_row<Element>(shared, elements, job, shape, raw,
                                  [](uint32_t, uint64_t, const RecordShape&, const Residuals&, WideMagnitudes&) {});
    raw = raw || header + payload >= shape.raw_bytes;
  }
  const uint32_t bytes = raw ? shape.raw_bytes : header + static_cast<uint32_t>(payload);
  if (threadIdx.x == 0) shared.place = take_place(arguments, job, bytes);
  __syncthreads();
  const bool fits = place_fits(arguments, job, shared.place, bytes);
  const auto offset = static_cast<uint32_t>(shared.place);
  uint32_t checksum = 0;
  if (fits) {
    const SlotPages pages(arguments.call, job.slot, arguments.page_shift);
    const uint32_t plain_bytes = raw ? shape.raw_bytes : shape.kept_bytes;
    for (uint32_t at = threadIdx.x; at < plain_bytes; at += blockDim.x) *pages.at(offset + at) = *elements.byte(at);
    if (threadIdx.x < cuszp_kv::round_up(bytes) - bytes) *pages.at(offset + bytes + threadIdx.x) = 0;
    if (!raw) {
      const PageSink sink{pages, offset};
      bool ignored = false;
      for_each_far_row<Element>(
          shared, elements, job, shape, ignored,
          [&](uint32_t index, uint64_t place, const RecordShape& record, const Residuals& block, WideMagnitudes& wide) {
            if (index < shape.blocks) sink.byte(shape.kept_bytes + index, record.meta);
            write_wide<kOutlier>(wide, block.signs, block.first, record, __reduce_max_sync(~0u, record.rate),
                                 header + static_cast<uint32_t>(place), sink);
          });
    }
    __syncthreads();
    if (arguments.with_checksum) {
      checksum = cuszp_kv::finish_checksum(sum_checksums(shared, sum_stored(pages, offset, bytes)), bytes);
    }
  }
  if (threadIdx.x == 0) {
    write_stream(result, fits ? offset : 0, bytes, checksum, fits ? CUSZP_OK : CUSZP_OUTPUT_TOO_SMALL, raw);
  }
}

// The record at byte `at` of the slot, decoded into the thread's row in global memory.
template <typename Element>
__device__ __noinline__ void decode_far_row(const SlotPages& pages, uint32_t at, const RecordShape& record,
                                            const BlockElements& elements, const KvJob& job,
                                            const cuszp_kv::Shape& shape, uint32_t index) {
  auto word = [&](uint32_t byte) {
    uint32_t out = 0;
    for (uint32_t i = 0; i < 4; ++i) out = out << 8 | *pages.at(at + byte + i);  // element 0 in the top bit
    return out;
  };
  const uint32_t head = record.outlier_bytes;
  const uint32_t signs = record.bytes ? word(head) : 0;
  uint32_t first = 0;
  for (uint32_t i = 0; i < head; ++i) first |= static_cast<uint32_t>(*pages.at(at + i)) << (8 * i);
  WideMagnitudes wide{};
  for (uint32_t plane = 0; plane < record.rate; ++plane) {
    const uint32_t bits = word(head + 4 + 4 * plane);
    for (uint32_t i = 0; i < kBlockElements; ++i) wide.words[i] |= (bits >> (31 - i) & 1) << plane;
  }
  if (head) wide.words[0] = first & 0x7fffffffu;
  uint32_t quantum = 0;
  RowWalk walk(job.plane, shape, index);
  for (uint32_t i = 0; i < walk.valid; ++i) {
    const uint32_t residual = signs >> (31 - i) & 1 ? 0u - wide.words[i] : wide.words[i];
    quantum = job.plane.form == CUSZP_KV_FORM_FIXED ? residual : quantum + residual;
    const float mean = job.plane.means ? job.plane.means[walk.channel()] : 0.0f;
    float values[kElementsPerChunk<Element>] = {};
    values[0] = __fadd_rn(2.0f * __fmul_rn(__int2float_rn(static_cast<int32_t>(quantum)), job.plane.error_bound), mean);
    const uint32_t bits = narrow_chunk<Element>(values).x;
    uint8_t* to = elements.byte(shape.kept_bytes + walk.element() * Element::kBytes);
    for (uint32_t b = 0; b < Element::kBytes; ++b) to[b] = static_cast<uint8_t>(bits >> (8 * b));
    walk.advance();
  }
}

__device__ __forceinline__ RecordShape parse_kv_metadata(uint32_t form, uint32_t meta, bool& bad) {
  return form == CUSZP_KV_FORM_OUTLIER ? parse_metadata<kOutlier>(meta, bad) : parse_metadata<kPlain>(meta, bad);
}

// One pass over the records; visit(index, place, record). Gives the sum of their bytes.
template <typename Visit>
__device__ __forceinline__ uint64_t for_each_record(KvShared& shared, const SlotPages& pages, uint32_t metadata_at,
                                                    uint32_t form, const cuszp_kv::Shape& shape, bool& bad,
                                                    Visit&& visit) {
  uint64_t before = 0;
  for (uint32_t first = 0; first < shape.blocks; first += blockDim.x) {
    const uint32_t index = first + threadIdx.x;
    RecordShape record{0, 0, 0, 0};
    if (index < shape.blocks) record = parse_kv_metadata(form, *pages.at(metadata_at + index), bad);
    uint32_t total;
    const uint32_t place = sum_block(record.bytes, shared.warp_bytes, bad, total);
    if (index < shape.blocks) visit(index, before + place, record);
    before += total;
    __syncthreads();
  }
  return before;
}

// A stream whose place has been checked. The status, in all threads.
template <typename Element>
__device__ __noinline__ uint32_t load_large(const KvLoadArguments& arguments, KvShared& shared, const KvJob& job,
                                            cuszp_kv::Shape shape) {
  const SlotPages pages(arguments.call, job.slot, arguments.page_shift);
  const BlockElements elements(job, cuszp_kv::element_bytes(arguments.call.dtype));
  const uint32_t offset = job.stream.offset, bytes = job.stream.stored_bytes;
  if (arguments.with_checksum) {
    const uint32_t sum = sum_checksums(shared, sum_stored(pages, offset, bytes));
    if (cuszp_kv::finish_checksum(sum, bytes) != job.stream.checksum) return CUSZP_CHECKSUM_MISMATCH;
  }
  const uint32_t header = shape.kept_bytes + shape.blocks;
  const uint32_t plain_bytes = job.stream.stored_raw ? shape.raw_bytes : shape.kept_bytes;
  if (!job.stream.stored_raw) {
    bool bad = false;
    const uint32_t metadata_at = offset + shape.kept_bytes;
    const uint64_t payload = for_each_record(shared, pages, metadata_at, job.plane.form, shape, bad,
                                             [](uint32_t, uint64_t, const RecordShape&) {});
    if (bad) return CUSZP_BAD_METADATA;
    if (payload != bytes - header) return payload > bytes - header ? CUSZP_STREAM_TRUNCATED : CUSZP_STREAM_TOO_LONG;
    for_each_record(shared, pages, metadata_at, job.plane.form, shape, bad,
                    [&](uint32_t index, uint64_t place, const RecordShape& record) {
                      decode_far_row<Element>(pages, offset + header + static_cast<uint32_t>(place), record, elements,
                                              job, shape, index);
                    });
  }
  for (uint32_t at = threadIdx.x; at < plain_bytes; at += blockDim.x) *elements.byte(at) = *pages.at(offset + at);
  return CUSZP_OK;
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_KV_LARGE_CUH
