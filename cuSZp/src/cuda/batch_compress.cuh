// The compress kernel for many independent streams: each thread block takes whole streams, one after the other.
#ifndef CUSZP_CUDA_BATCH_COMPRESS_CUH
#define CUSZP_CUDA_BATCH_COMPRESS_CUH

#include <cstdint>

#include "compress_pipeline.cuh"
#include "decode_rows.cuh"
#include "dependent_launch.cuh"
#include "launch.h"
#include "line_writer.cuh"
#include "pages.cuh"

namespace cuszp_gpu {

// A tile of a batch also knows its stream.
template <uint32_t kWarps>
struct BatchSlot : TileSlot<kWarps> {
  cuszp_cuda_batch_item item;
  uint64_t index;  // of the stream in the batch
  float error_bound;
  float limit;        // what |x - x'| must not exceed; negative: unchecked
  uint32_t exceeded;  // a value of the tile broke the limit; zero between tiles
  bool first;         // of the stream's tiles
  bool last;
  bool store_raw;  // from the locator, in the stream's last tile
};

template <typename Element, typename Sizes>
struct BatchShared : CompressShared<Element, Sizes, BatchSlot<Sizes::kWarps>> {
  uint64_t gathered;  // the encoding warps, before they store what others have put in place

  // One thread, before a block-wide barrier.
  __device__ __forceinline__ void initialise() {
    CompressShared<Element, Sizes, BatchSlot<Sizes::kWarps>>::initialise();
    barrier_init(&gathered, Sizes::kWarps * kWarpArrivals);
  }
};

// For pages in host memory, which take whole lines at a time.
template <typename Element, typename Sizes>
struct HostBatchShared : BatchShared<Element, Sizes> {
  LineBuffers<Sizes::kWarps, Sizes::kSlots> lines;
};

// Whether every value of a row that exists is within `limit` of what a decoder will make of it.
template <typename Element>
__device__ __noinline__ bool row_keeps_limit(uint32_t row_address, uint32_t row, uint32_t valid, float reciprocal,
                                             float error_bound, float limit) {
  bool keeps = true;
  for (uint32_t i = 0; i < valid; ++i) {
    const uint32_t byte = i * Element::kBytes;
    const uint32_t word =
        load_shared_word(row_address + ((byte / 16) ^ swizzle<Element>(row)) * 16 + byte % 16 / 4 * 4);
    float values[kElementsPerChunk<Element>];
    widen_chunk<Element>(make_uint4(word >> (byte % 4 * 8), 0, 0, 0), values);
    const float decoded = 2.0f * __fmul_rn(__int2float_rn(quantise(values[0], reciprocal)), error_bound);
    const double error = fabs(static_cast<double>(values[0]) - static_cast<double>(decoded));
    keeps = keeps && error <= static_cast<double>(limit);
  }
  return keeps;
}

template <typename Element, typename Sizes>
struct BatchTarget {
  using Shared = BatchShared<Element, Sizes>;
  Shared& shared;
  uint32_t page_shift;
  bool on_host;  // `shared` is then a HostBatchShared
  uint32_t warp;
  uint32_t gatherings = 0;  // of the encoding warps, so far
  LineWriter<Sizes::kWarps, Sizes::kSlots> line_writer = {};

  __device__ __forceinline__ void gather() {
    barrier_arrive(&shared.gathered);
    barrier_wait(&shared.gathered, gatherings++ & 1);
  }
  __device__ __forceinline__ auto& lines() const { return static_cast<HostBatchShared<Element, Sizes>&>(shared).lines; }

  template <typename Slot>
  __device__ __forceinline__ void inspect(Slot& slot, uint32_t row_address, uint32_t row) const {
    if (slot.limit < 0.0f) return;
    const uint32_t first = row * kBlockElements;
    const uint32_t valid = slot.valid_elements > first ? min(slot.valid_elements - first, kBlockElements) : 0;
    if (!row_keeps_limit<Element>(row_address, row, valid, slot.reciprocal, slot.error_bound, slot.limit)) {
      atomicOr(&slot.exceeded, 1u);
    }
  }
  template <typename Slot>
  __device__ __forceinline__ void publish(const Slot&, uint32_t) const {}

  template <typename Slot>
  __device__ __forceinline__ void put_metadata(const Slot& slot, uint32_t row, uint8_t meta) const {
    (on_host ? lines().metadata[&slot - shared.slots] : slot.metadata)[row] = meta;
  }
  template <typename Slot>
  __device__ __forceinline__ void store(const Slot& slot, uint64_t offset, uint32_t source, uint32_t bytes) {
    const Pages pages{slot.item.pages, page_shift};
    if (on_host) {
      const auto slot_index = static_cast<uint32_t>(&slot - shared.slots);
      line_writer.store(lines(), slot, slot_index, pages, warp, source, [this] { gather(); });
    } else {
      const auto writable = static_cast<uint32_t>(min(what_is_left(slot.item.capacity, offset), uint64_t(bytes)));
      copy_shared_to_pages(pages, offset, source, writable);
    }
    if (slot.store_raw) {
      gather();  // every encoding warp comes here once for this tile, after it has stored all earlier ones
      copy_global_to_pages(pages, static_cast<const uint8_t*>(slot.item.values), slot.item.n * Element::kBytes,
                           warp * 32 + threadIdx.x % 32, 32 * Sizes::kWarps);
    }
  }
};

// Warp 0: fills input buffers with the tiles of the block's streams.
template <typename Element, typename Sizes>
__device__ __forceinline__ void load_batch(BatchShared<Element, Sizes>& shared,
                                           const BatchCompressArguments& arguments) {
  constexpr uint32_t kElements = Sizes::kRows * kBlockElements;
  const uint32_t lane = threadIdx.x % 32;
  StageCursor<Sizes::kSlots> at;
  StageCursor<Sizes::kInputs> input;
  uint32_t round = 0;
  auto wait_for_room = [&] {
    if (round >= Sizes::kInputs) barrier_wait(&shared.consumed[input.stage], input.parity ^ 1);
    if (round >= Sizes::kSlots) barrier_wait(&shared.freed[at.stage], at.parity ^ 1);
  };
  auto hand_over = [&] {
    if (lane == 0) barrier_arrive(&shared.loaded[at.stage]);
    barrier_arrive_after_copies(&shared.loaded[at.stage]);
    at.advance();
    input.advance();
    ++round;
  };
  for (uint64_t index = blockIdx.x; index < arguments.count; index += gridDim.x) {
    const cuszp_cuda_batch_item item = arguments.items[index];
    const float error_bound = item.error_bound ? *item.error_bound : arguments.error_bound;
    const bool usable = bound_is_usable(error_bound);
    const float reciprocal = usable ? __fdiv_rn(0.5f, error_bound) : 0.0f;
    const float limit = item.limit ? *item.limit : -1.0f;
    const uint64_t blocks = data_blocks(item.n);
    const uint64_t tiles = max(blocks / Sizes::kRows + (blocks % Sizes::kRows != 0), uint64_t(1));
    for (uint64_t tile = 0; tile < tiles; ++tile) {
      wait_for_room();
      const auto valid = static_cast<uint32_t>(min(what_is_left(item.n, tile * kElements), uint64_t(kElements)));
      load_tile<Element, Sizes::kRows>(shared_address(shared.rows[input.stage]),
                                       static_cast<const uint8_t*>(item.values) + tile * kElements * Element::kBytes,
                                       valid * Element::kBytes);
      __syncwarp();  // plain stores of the unaligned path are released by lane 0's arrival
      if (lane == 0) {
        auto& slot = shared.slots[at.stage];
        const uint64_t metadata_at = tile * Sizes::kRows;
        const uint64_t room = min(blocks, item.capacity);
        slot.metadata_bytes = static_cast<uint32_t>(min(what_is_left(room, metadata_at), uint64_t(Sizes::kRows)));
        slot.metadata = slot.metadata_bytes ? Pages{item.pages, arguments.page_shift}.at(metadata_at) : nullptr;
        slot.valid_elements = valid;
        slot.reciprocal = reciprocal;
        slot.item = item;
        slot.index = index;
        slot.error_bound = error_bound;
        slot.limit = usable ? limit : -1.0f;
        slot.exceeded = usable ? 0u : 1u;
        slot.first = tile == 0;
        slot.last = tile == tiles - 1;
        slot.store_raw = false;
      }
      hand_over();
    }
  }
  wait_for_room();
  if (lane == 0) shared.slots[at.stage].valid_elements = kNoMoreTiles;
  hand_over();
}

// Warp 1: places tiles one after the other and says what became of a stream.
template <typename Element, typename Sizes>
__device__ __forceinline__ void locate_batch(BatchShared<Element, Sizes>& shared,
                                             const BatchCompressArguments& arguments) {
  const uint32_t lane = threadIdx.x % 32;
  uint64_t offset = 0;
  bool exceeded = false;
  for (StageCursor<Sizes::kSlots> at;; at.advance()) {
    auto& slot = shared.slots[at.stage];
    barrier_wait(&shared.loaded[at.stage], at.parity);
    if (slot.valid_elements == kNoMoreTiles) return;
    if (slot.first) {
      offset = data_blocks(slot.item.n);
      exceeded = false;
    }
    barrier_wait(&shared.sized[at.stage], at.parity);
    exceeded |= slot.exceeded != 0;
    offset = place_warps(slot, offset);
    if (slot.last && lane == 0) {
      const uint64_t raw_bytes = slot.item.n * Element::kBytes;
      const bool raw = raw_bytes > 0 && (exceeded || offset >= raw_bytes || offset > slot.item.capacity);
      const uint64_t stored = raw ? raw_bytes : offset;
      const bool fits = stored <= slot.item.capacity;
      slot.store_raw = raw && fits;
      arguments.results[slot.index] = {stored, uint32_t(fits ? CUSZP_OK : CUSZP_OUTPUT_TOO_SMALL), raw ? 1u : 0u};
    }
    __syncwarp();
    barrier_arrive(&shared.placed[at.stage]);
  }
}

template <typename Element, int kMode, typename Sizes, uint32_t kBlocksPerSm>
__global__ void __launch_bounds__(Sizes::kThreads, kBlocksPerSm)
    batch_compress_kernel(const __grid_constant__ BatchCompressArguments arguments) {
  extern __shared__ __align__(128) uint8_t shared_bytes[];
  auto& shared = *reinterpret_cast<BatchShared<Element, Sizes>*>(shared_bytes);
  const uint32_t warp = threadIdx.x / 32;
  if (threadIdx.x == 0) shared.initialise();
  wait_for_previous_kernel();
  __syncthreads();
  if (warp == 0) {
    load_batch<Element, Sizes>(shared, arguments);
  } else if (warp == 1) {
    locate_batch<Element, Sizes>(shared, arguments);
  } else {
    using Target = BatchTarget<Element, Sizes>;
    Target target{shared, arguments.page_shift, arguments.pages_on_host, warp - kServiceWarps};
    Encoder<Element, kMode, Sizes, BatchSlot<Sizes::kWarps>, Target>(shared, warp - kServiceWarps, target).run();
  }
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_BATCH_COMPRESS_CUH
