// The kernel that stores KV blocks: a thread block takes a whole stream at a time, a thread a row of 32 values.
//
// The elements of the next block come into one buffer while the current one is encoded in the other. A stream's records
// are built where its elements were, once every thread has its row in registers; then the size is known, one atomic add
// takes the place, and whole lines of 128 bytes are stored, which is what the link wants.
#ifndef CUSZP_CUDA_KV_STORE_CUH
#define CUSZP_CUDA_KV_STORE_CUH

#include <cstdint>

#include "dependent_launch.cuh"
#include "kv_large.cuh"
#include "kv_rows.cuh"

namespace cuszp_gpu {

constexpr uint32_t kKvSlack = 33 * 128;  // bytes past a buffer: rows of lanes that have none, reads past the end
constexpr uint32_t kLine = 128;

// Begins to bring a block's elements into shared memory.
template <typename Element>
__device__ __forceinline__ void load_image(const Image<Element>& image, const KvStreamView<Element>& view,
                                           const BlockElements& elements) {
  if (elements.in_chunks()) {
    elements.for_each_chunk(0, view.shape.raw_bytes / 16, [&](uint32_t chunk, const uint8_t* source) {
      copy_async_16(image.at(chunk * 16), source);
    });
  } else {
    for (uint32_t byte = threadIdx.x; byte < view.shape.raw_bytes; byte += blockDim.x) {
      store_shared<uint8_t>(image.at(byte), *elements.byte(byte));
    }
  }
}

// A row but for its magnitudes, which are apart so that those in registers stay there.
struct KvRow {
  Residuals block;
  bool is_wide;
  bool exceeds;  // its limit
};

template <typename Element, int kMode>
__device__ __noinline__ KvRow read_wide_kv(Image<Element> image, const KvJob& job, cuszp_kv::Shape shape,
                                           uint32_t index, uint32_t valid, float reciprocal, WideMagnitudes& wide) {
  WalkSource<Element> source(image, job, shape, index);
  const bool limited = cuszp_kv::is_limited(job.plane);
  bool exceeds = false;
  Residuals block =
      read_residuals<kMode, false>(source, reciprocal, [&](uint32_t i, uint32_t magnitude, uint32_t quantum) {
        wide.words[i] = magnitude;
        const float decoded = __int2float_rn(static_cast<int32_t>(quantum));
        exceeds |= limited && i < valid &&
                   !keeps_limit(source.raw, decoded, job.plane.error_bound, source.mean, job.plane.limit);
      });
  if (valid < kBlockElements) drop_residuals_from(valid, block, [&] { return drop_words_from(valid, wide); });
  return {block, true, exceeds};
}

template <int kMode, bool kLimited, typename Source>
__device__ __forceinline__ void read_kv_row(Source&& source, uint32_t valid, float reciprocal,
                                            const cuszp_kv_plane& plane, PairedMagnitudes& paired, KvRow& row) {
  const float error_bound = plane.error_bound, limit = plane.limit;
  bool exceeds = false;
  row.block = read_paired<kMode>(source, reciprocal, paired, [&](uint32_t i, uint32_t quantum) {
    if (!kLimited) return;
    const float decoded = __fadd_rn(__uint_as_float(quantum), -kFloatBiasValue);
    exceeds |= i < valid && !keeps_limit(source.raw, decoded, error_bound, source.mean, limit);
  });
  row.exceeds = exceeds;
}

template <typename Element, int kMode, bool kLimited>
__device__ __forceinline__ void read_kv_row_of(const Image<Element>& image, const KvJob& job,
                                               const KvStreamView<Element>& view, uint32_t index, uint32_t valid,
                                               float reciprocal, PairedMagnitudes& paired, KvRow& row) {
  if (view.by_rows) {
    read_kv_row<kMode, kLimited>(RowSource<Element>(image, index, job, view.shape.channels), valid, reciprocal,
                                 job.plane, paired, row);
  } else if (view.by_pairs) {
    read_kv_row<kMode, kLimited>(PairSource<Element>(image, index, job, view.shape.channels), valid, reciprocal,
                                 job.plane, paired, row);
  } else {
    read_kv_row<kMode, kLimited>(WalkSource<Element>(image, job, view.shape, index), valid, reciprocal, job.plane,
                                 paired, row);
  }
}

// The thread's row and the shape of its record. kMode: fixed, or plain for both modes with differences.
template <typename Element, int kMode>
__device__ __forceinline__ RecordShape encode_kv_row(const Image<Element>& image, const KvJob& job,
                                                     const KvStreamView<Element>& view, PairedMagnitudes& paired,
                                                     WideMagnitudes& wide, KvRow& row) {
  const uint32_t index = min(threadIdx.x, view.shape.blocks - 1);
  const uint32_t first = threadIdx.x * kBlockElements;
  const uint32_t valid = min(view.shape.n > first ? view.shape.n - first : 0, kBlockElements);
  const float reciprocal = __fdiv_rn(0.5f, job.plane.error_bound);
  if (cuszp_kv::is_limited(job.plane)) {
    read_kv_row_of<Element, kMode, true>(image, job, view, index, valid, reciprocal, paired, row);
  } else {
    read_kv_row_of<Element, kMode, false>(image, job, view, index, valid, reciprocal, paired, row);
  }
  row.is_wide = __any_sync(~0u, valid > 0 && (row.block.first | row.block.rest_or) > 0xffffu);
  if (row.is_wide) {
    row = read_wide_kv<Element, kMode>(image, job, view.shape, index, valid, reciprocal, wide);
  } else if (valid < kBlockElements) {
    drop_residuals_from(valid, row.block, [&] { return drop_pairs_from(valid, paired); });
  }
  if (job.plane.form == CUSZP_KV_FORM_OUTLIER) return outlier_shape(row.block.first, row.block.rest_or);
  return plain_shape(row.block.first | row.block.rest_or);
}

// Stores the stream whose bytes read(byte) gives, 16 at a time; returns the thread's part of the checksum.
template <typename Read>
__device__ __forceinline__ uint32_t store_stream(const SlotPages& pages, uint32_t offset, uint32_t bytes, bool checksum,
                                                 Read&& read) {
  uint32_t sum = 0;
  const uint32_t end = static_cast<uint32_t>(cuszp_kv::round_up(bytes));
  for (uint32_t at = threadIdx.x * 16 - offset % kLine; static_cast<int32_t>(at) < static_cast<int32_t>(end);
       at += blockDim.x * 16) {
    if (static_cast<int32_t>(at) < 0) continue;
    uint4 chunk = read(at);
    if (at + 16 > bytes) chunk = keep_bytes(chunk, bytes - at);
    *reinterpret_cast<uint4*>(pages.at(offset + at)) = chunk;
    if (checksum) sum += mix_chunk(chunk, at / 4, bytes);
  }
  return sum;
}

// A stream that is in shared memory. begin_encoded() is called by warp 0 when its row is encoded.
template <typename Element, typename BeginEncoded>
__device__ __forceinline__ void store_small(const KvStoreArguments& arguments, KvShared& shared, const KvJob& job,
                                            const KvStreamView<Element>& view, const Image<Element>& image,
                                            cuszp_kv_stream* result, BeginEncoded&& begin_encoded) {
  const SlotPages pages(arguments.call, job.slot, arguments.page_shift);
  pages.prefetch(0, job.slot.page_count);
  KvRow row{};
  PairedMagnitudes paired;
  WideMagnitudes wide;
  RecordShape record{0, 0, 0, 0};
  bool raw = !view.coded;
  if (view.coded) {
    record = job.plane.form == CUSZP_KV_FORM_FIXED
                 ? encode_kv_row<Element, kFixed>(image, job, view, paired, wide, row)
                 : encode_kv_row<Element, kPlain>(image, job, view, paired, wide, row);
    raw = row.exceeds;
  }
  begin_encoded();
  uint32_t payload;
  const uint32_t place = sum_block(record.bytes, shared.warp_bytes, raw, payload);
  const uint32_t header = view.shape.kept_bytes + view.shape.blocks;
  raw = raw || header + payload >= view.shape.raw_bytes;
  const uint32_t bytes = raw ? view.shape.raw_bytes : header + payload;
  uint64_t taken = 0;
  if (threadIdx.x == 0) taken = take_place(arguments, job, bytes);  // looked at after the records: it takes its time
  if (!raw) {
    const SharedBytes sink{image.address};
    if (threadIdx.x < view.shape.blocks) sink.byte(view.shape.kept_bytes + threadIdx.x, record.meta);
    if (job.plane.form == CUSZP_KV_FORM_OUTLIER || header % 4 != 0) {
      write_record<kOutlier>(row.block, paired, wide, row.is_wide, record, header + place, sink);
    } else {
      write_record<kPlain>(row.block, paired, wide, row.is_wide, record, header + place, sink);
    }
  }
  if (threadIdx.x == 0) shared.place = taken;
  __syncthreads();
  const uint64_t offset = shared.place;
  const bool fits = place_fits(arguments, job, offset, bytes);
  if (fits) {
    const auto at = static_cast<uint32_t>(offset);
    const uint32_t sum = store_stream(pages, at, bytes, arguments.with_checksum, [&](uint32_t byte) {
      return load_shared_16(raw ? image.at(byte) : image.address + byte);
    });
    if (arguments.with_checksum) {
      const uint32_t warp_sum = __reduce_add_sync(~0u, sum);
      if (threadIdx.x % 32 == 0) atomicAdd(&shared.checksum, warp_sum);
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    const uint32_t checksum = fits && arguments.with_checksum ? cuszp_kv::finish_checksum(shared.checksum, bytes) : 0;
    shared.checksum = 0;
    write_stream(result, fits ? static_cast<uint32_t>(offset) : 0, bytes, checksum,
                 fits ? CUSZP_OK : CUSZP_OUTPUT_TOO_SMALL, raw);
  }
}

// kThreads: the most that a thread block has. 512 leave twice as many registers to a thread.
template <typename Element, uint32_t kThreads>
__global__ void __launch_bounds__(kThreads, 1) kv_store_kernel(const __grid_constant__ KvStoreArguments arguments) {
  extern __shared__ __align__(128) uint8_t memory[];
  auto& shared = *reinterpret_cast<KvShared*>(memory);
  const uint32_t images = shared_address(memory) + kKvSharedBytes;
  const bool loads = threadIdx.x < 32;
  const uint64_t count = uint64_t(arguments.call.move_count) * arguments.call.plane_count;
  KvJobLoader loader(arguments.call, nullptr);
  auto image_of = [&](uint32_t turn, const KvStreamView<Element>& view) {
    return Image<Element>{images + turn % 2 * (arguments.image_bytes + kKvSlack), view.by_rows, view.shape.kept_bytes};
  };
  auto begin_image = [&](uint32_t turn) {
    const KvJob& job = shared.jobs[turn % 3];
    const KvStreamView<Element> view(arguments, job);
    if (view.sound && view.small) {
      load_image(image_of(turn, view), view, BlockElements(job, cuszp_kv::element_bytes(arguments.call.dtype)));
    }
    copy_async_close_group();
    return view;
  };
  wait_for_previous_kernel();
  if (threadIdx.x == 0) shared.checksum = 0;
  if (loads) {
    KvJobLoader second(arguments.call, nullptr);
    loader.begin(blockIdx.x);
    second.begin(uint64_t(blockIdx.x) + gridDim.x);
    loader.find_slot();
    second.find_slot();
    loader.finish(shared.jobs[0]);
    second.finish(shared.jobs[1]);
  }
  __syncthreads();
  KvStreamView<Element> next = begin_image(0);  // no more thread blocks than streams are launched
  uint32_t turn = 0;
  for (uint64_t index = blockIdx.x; index < count; index += gridDim.x, ++turn) {
    const KvStreamView<Element> view = next;
    if (index + gridDim.x < count) {
      next = begin_image(turn + 1);
    } else {
      copy_async_close_group();
    }
    if (loads) loader.begin(index + 2 * uint64_t(gridDim.x));
    copy_async_wait_for_all_but_one_group();
    __syncthreads();
    const KvJob& job = shared.jobs[turn % 3];
    auto find_slot = [&] {
      if (loads) loader.find_slot();
    };
    if (!view.sound || view.shape.elements > arguments.most_elements) {
      find_slot();
      const uint32_t status = view.sound ? CUSZP_TOO_LARGE : CUSZP_INVALID_ARGUMENT;
      if (threadIdx.x == 0) write_stream(arguments.streams + index, 0, 0, 0, status, false);
    } else if (view.small) {
      store_small(arguments, shared, job, view, image_of(turn, view), arguments.streams + index, find_slot);
    } else {
      find_slot();
      store_large<Element>(arguments, shared, job, view.shape, view.coded, arguments.streams + index);
    }
    if (loads) loader.finish(shared.jobs[(turn + 2) % 3]);
    __syncthreads();
  }
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_KV_STORE_CUH
