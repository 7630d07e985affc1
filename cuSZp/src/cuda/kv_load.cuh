// The kernel that loads KV blocks: a thread block takes a whole stream at a time, a thread a record.
//
// The stored bytes come in whole lines of 128 by plain loads (asynchronous copies from mapped host memory halve the
// link), are decoded into an image of the block and leave for the cache in chunks of 16 bytes.
#ifndef CUSZP_CUDA_KV_LOAD_CUH
#define CUSZP_CUDA_KV_LOAD_CUH

#include <cstdint>

#include "dependent_launch.cuh"
#include "kv_large.cuh"
#include "kv_rows.cuh"
#include "kv_store.cuh"

namespace cuszp_gpu {

// Brings a stream's bytes to shared memory at `room`; returns the thread's part of the checksum. Bytes up to the
// alignment belong to the slot as well.
__device__ __forceinline__ uint32_t load_stream(const SlotPages& pages, uint32_t offset, uint32_t bytes, uint32_t room,
                                                bool checksum) {
  constexpr uint32_t kBatch = 4;
  const auto end = static_cast<int32_t>(cuszp_kv::round_up(bytes));
  const int32_t step = blockDim.x * 16;
  uint32_t sum = 0;
  for (int32_t base = static_cast<int32_t>(threadIdx.x * 16) - static_cast<int32_t>(offset % kLine); base < end;
       base += kBatch * step) {
    uint4 chunks[kBatch];
#pragma unroll
    for (uint32_t i = 0; i < kBatch; ++i) {
      const int32_t at = base + i * step;
      if (at >= 0 && at < end) chunks[i] = *reinterpret_cast<const uint4*>(pages.at(offset + at));
    }
#pragma unroll
    for (uint32_t i = 0; i < kBatch; ++i) {
      const int32_t at = base + i * step;
      if (at < 0 || at >= end) continue;
      store_shared_16(room + at, chunks[i]);
      if (!checksum) continue;
      if (at + 16 > static_cast<int32_t>(bytes)) {
        chunks[i] = keep_bytes(chunks[i], bytes - at);
      }
      sum += mix_chunk(chunks[i], at / 4, bytes);
    }
  }
  return sum;
}

// Decodes the thread's record into its row of the image. Lanes without a row come along with an empty record.
template <typename Element, int kMode, bool kAligned>
__device__ __forceinline__ void decode_kv_row(uint32_t record_at, const RecordShape& record,
                                              const Image<Element>& image, const KvJob& job,
                                              const KvStreamView<Element>& view) {
  const uint32_t index = threadIdx.x;
  const bool there = index < view.shape.blocks;
  auto decode = [&](auto&& make_writer) {
    decode_record_to<kMode, kAligned>(record_at, record, __reduce_max_sync(~0u, record.rate),
                                      Scale(job.plane.error_bound), make_writer, [] {});
  };
  if (view.by_rows) {  // rows past the image lie in its slack
    const float4* means = row_means(job, index, view.shape.channels);
    decode([&](auto one_step, const Scale& scale) {
      return CentredRowWriter<Element, decltype(one_step)::value>(
          image.address + view.shape.kept_bytes + index * kRowBytes<Element>,
          view.shape.kept_bytes / kRowBytes<Element> + index, scale, means);
    });
  } else if (view.by_pairs) {
    decode([&](auto one_step, const Scale& scale) {
      return PairWriter<Element, decltype(one_step)::value>(image, index, job, view.shape.channels, there,
                                                            scale.factor);
    });
  } else {
    decode([&](auto one_step, const Scale& scale) {
      return WalkWriter<Element, decltype(one_step)::value>{image, RowWalk(job.plane, view.shape, index),
                                                            job.plane.means, scale.factor};
    });
  }
}

// Block elements from shared memory; the kept tokens, or everything of a raw stream, from the stored bytes at `room`.
template <typename Element>
__device__ __forceinline__ void store_image(const Image<Element>& image, uint32_t room, const KvJob& job,
                                            const cuszp_kv::Shape& shape, const BlockElements& elements) {
  const uint32_t plain_bytes = job.stream.stored_raw ? shape.raw_bytes : shape.kept_bytes;
  if (elements.in_chunks()) {
    elements.for_each_chunk(0, shape.raw_bytes / 16, [&](uint32_t chunk, uint8_t* to) {
      const uint32_t byte = chunk * 16;
      const uint4 value = load_shared_16(byte < plain_bytes ? room + byte : image.at(byte));
      __stcs(reinterpret_cast<uint4*>(to), value);
    });
  } else {
    for (uint32_t byte = threadIdx.x; byte < shape.raw_bytes; byte += blockDim.x) {
      *elements.byte(byte) = static_cast<uint8_t>(load_shared_byte(byte < plain_bytes ? room + byte : image.at(byte)));
    }
  }
}

// A stream whose place has been checked and whose block fits into shared memory. The status, in all threads.
template <typename Element>
__device__ __forceinline__ uint32_t load_small(const KvLoadArguments& arguments, KvShared& shared, const KvJob& job,
                                               const KvStreamView<Element>& view, uint32_t room,
                                               const Image<Element>& image) {
  const uint32_t bytes = job.stream.stored_bytes;
  const SlotPages pages(arguments.call, job.slot, arguments.page_shift);
  const uint32_t sum = load_stream(pages, job.stream.offset, bytes, room, arguments.with_checksum);
  if (arguments.with_checksum) {
    if (cuszp_kv::finish_checksum(sum_checksums(shared, sum), bytes) != job.stream.checksum) {
      return CUSZP_CHECKSUM_MISMATCH;
    }
  } else {
    __syncthreads();
  }
  if (!job.stream.stored_raw) {
    const uint32_t header = view.shape.kept_bytes + view.shape.blocks;
    RecordShape record{0, 0, 0, 0};
    bool bad = false;
    if (threadIdx.x < view.shape.blocks) {
      record = parse_kv_metadata(job.plane.form, load_shared_byte(room + view.shape.kept_bytes + threadIdx.x), bad);
    }
    uint32_t payload;
    const uint32_t place = sum_block(record.bytes, shared.warp_bytes, bad, payload);
    if (bad) return CUSZP_BAD_METADATA;
    if (payload != bytes - header) return payload > bytes - header ? CUSZP_STREAM_TRUNCATED : CUSZP_STREAM_TOO_LONG;
    if (threadIdx.x / 32 * 32 < view.shape.blocks) {
      const uint32_t at = room + header + place;
      if (job.plane.form == CUSZP_KV_FORM_FIXED) {
        decode_kv_row<Element, kFixed, false>(at, record, image, job, view);
      } else if (job.plane.form == CUSZP_KV_FORM_PLAIN && header % 4 == 0) {
        decode_kv_row<Element, kPlain, true>(at, record, image, job, view);
      } else {
        decode_kv_row<Element, kOutlier, false>(at, record, image, job, view);
      }
    }
    __syncthreads();
  }
  store_image(image, room, job, view.shape, BlockElements(job, cuszp_kv::element_bytes(arguments.call.dtype)));
  return CUSZP_OK;
}

// What is wrong with a stream before its bytes are looked at.
template <typename Element>
__device__ __forceinline__ uint32_t check_kv_stream(const KvLoadArguments& arguments, const KvJob& job,
                                                    const KvStreamView<Element>& view) {
  if (!view.sound) return CUSZP_INVALID_ARGUMENT;
  if (job.stream.status != CUSZP_OK) return job.stream.status;
  if (view.shape.elements > arguments.most_elements) return CUSZP_TOO_LARGE;
  const uint32_t place =
      cuszp_kv::check_place(job.stream, view.shape, cuszp_kv::slot_bytes(job.slot, arguments.call.page_bytes));
  if (place != CUSZP_OK) return place;
  return job.stream.stored_raw || cuszp_kv::is_coded(job.plane, arguments.call.dtype) ? CUSZP_OK
                                                                                      : CUSZP_INVALID_ARGUMENT;
}

// kThreads: as in kv_store_kernel.
template <typename Element, uint32_t kThreads>
__global__ void __launch_bounds__(kThreads, 1) kv_load_kernel(const __grid_constant__ KvLoadArguments arguments) {
  extern __shared__ __align__(128) uint8_t memory[];
  auto& shared = *reinterpret_cast<KvShared*>(memory);
  const uint32_t room = shared_address(memory) + kKvSharedBytes;
  const uint32_t image_at = room + arguments.image_bytes + kKvSlack;
  const bool loads = threadIdx.x < 32;
  const uint64_t count = uint64_t(arguments.call.move_count) * arguments.call.plane_count;
  KvJobLoader loader(arguments.call, arguments.streams);
  wait_for_previous_kernel();
  if (threadIdx.x == 0) shared.checksum = 0;
  if (loads) {
    loader.begin(blockIdx.x);
    loader.find_slot();
    loader.finish(shared.jobs[0]);
  }
  __syncthreads();
  uint32_t turn = 0;
  for (uint64_t index = blockIdx.x; index < count; index += gridDim.x, ++turn) {
    if (loads) loader.begin(index + gridDim.x);
    const KvJob& job = shared.jobs[turn % 2];
    const KvStreamView<Element> view(arguments, job);
    const Image<Element> image{image_at, view.by_rows, view.shape.kept_bytes};
    uint32_t status = check_kv_stream(arguments, job, view);
    if (status == CUSZP_OK && view.small) {
      status = load_small(arguments, shared, job, view, room, image);
    } else if (status == CUSZP_OK) {
      status = load_large<Element>(arguments, shared, job, view.shape);
    }
    if (threadIdx.x == 0) arguments.statuses[index] = status;
    if (loads) {
      loader.find_slot();
      loader.prefetch_pages(arguments.page_shift);
      loader.finish(shared.jobs[(turn + 1) % 2]);
    }
    __syncthreads();
  }
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_KV_LOAD_CUH
