// The prefix sum over tiles that runs through one launch: tickets, published tile sizes, look-back, clean-up.
//
// A workspace is zero before a launch and zero again after it, so a captured graph can be replayed without a memset.
// A thread block's first tile is the one of its own index, the others come by ticket. Nobody depends on a block that
// has not started: a tile's size is published by whoever claims the tile, its own block when it starts, or a block that
// has waited for it long enough; the latter computes the size alone and leaves the records to the late block.
#ifndef CUSZP_CUDA_SCAN_STATE_CUH
#define CUSZP_CUDA_SCAN_STATE_CUH

#include <cstdint>

namespace cuszp_gpu {

constexpr uint32_t kGroupTiles = 32;
constexpr uint32_t kPublished = 0x80000000u;  // in a tile's word, beside its size
constexpr uint32_t kClaimed = 1;              // a tile's word: somebody works on it
constexpr uint32_t kPatientPolls = 64;        // of some 0.7 us, before a tile without a claim is taken over
constexpr uint32_t kGroupCountShift = 26;     // a group's word is count << 26 | sum of sizes

struct ScanHeader {
  uint32_t ticket;
  uint32_t finished;
  uint32_t bad_metadata;
  uint32_t reserved;
  unsigned long long payload_bytes;
  unsigned long long reserved_bytes[5];
};
static_assert(sizeof(ScanHeader) == 64, "the words start at a 64-byte boundary");

struct ScanState {
  ScanHeader* header;
  uint32_t* tile_words;
  uint32_t* group_words;
  uint32_t tiles;
};

__host__ __device__ constexpr uint64_t scan_state_bytes(uint64_t tiles) {
  return sizeof(ScanHeader) + 4 * (tiles + (tiles + kGroupTiles - 1) / kGroupTiles);
}

__host__ __device__ inline ScanState scan_state(void* workspace, uint32_t tiles) {
  auto* words = reinterpret_cast<uint32_t*>(static_cast<char*>(workspace) + sizeof(ScanHeader));
  return {static_cast<ScanHeader*>(workspace), words, words + tiles, tiles};
}

__device__ __forceinline__ uint32_t load_relaxed(const uint32_t* word) {
  uint32_t value;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
  return value;
}

__device__ __forceinline__ void store_relaxed(uint32_t* word, uint32_t value) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}

__device__ __forceinline__ void add_relaxed(uint32_t* word, uint32_t value) {
  asm volatile("red.relaxed.gpu.global.add.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}

// One thread, once a tile. `bytes` < 2^21. Words that no look-back reads are not written: every write has been seen by
// a look-back, and so is over, when the workspace is cleared.
__device__ __forceinline__ void publish_tile(const ScanState& state, uint32_t tile, uint32_t bytes) {
  const uint32_t group = tile / kGroupTiles;
  if (tile != state.tiles - 1 && tile % kGroupTiles != kGroupTiles - 1) {
    store_relaxed(state.tile_words + tile, kPublished | bytes);
  }
  if (group != (state.tiles - 1) / kGroupTiles) {
    add_relaxed(state.group_words + group, 1u << kGroupCountShift | bytes);
  }
}

// One thread; true once a tile: the caller is then the one who publishes its size.
__device__ __forceinline__ bool claim_tile(const ScanState& state, uint32_t tile) {
  return atomicCAS(state.tile_words + tile, 0u, kClaimed) == 0u;
}

// Publishes the sizes of tiles of a group that no block has claimed; only first tiles of blocks can be among them.
// size_of(tile) is computed by the whole warp.
template <typename SizeOf>
__device__ __noinline__ void take_over_tiles(ScanState state, uint32_t group, SizeOf size_of) {
  const uint32_t mine = group * kGroupTiles + threadIdx.x % 32;
  const bool orphan = mine < state.tiles && mine < gridDim.x && load_relaxed(state.tile_words + mine) == 0;
  for (uint32_t left = __ballot_sync(~0u, orphan); left != 0; left &= left - 1) {
    const uint32_t lane = __ffs(static_cast<int>(left)) - 1;
    const uint32_t tile = group * kGroupTiles + lane;
    const bool won = threadIdx.x % 32 == lane && claim_tile(state, tile);
    if (!__any_sync(~0u, won)) continue;
    const uint32_t bytes = size_of(tile);
    if (won) publish_tile(state, tile, bytes);
  }
}

// The running prefix of one warp whose tiles come in ascending order.
template <typename SizeOf>
class LookBack {
 public:
  // rest_ns: a pause between polls where blocks have several tiles, so that hundreds of warps do not slow down the
  // words that they poll.
  __device__ __forceinline__ LookBack(const ScanState& state, const SizeOf& size_of, uint32_t rest_ns)
      : state_(state), size_of_(size_of), rest_ns_(state.tiles > gridDim.x ? rest_ns : 0) {}

  // Payload bytes of all tiles before `tile`; called by a whole warp, waits for what is not yet published.
  __device__ __forceinline__ uint64_t before(uint32_t tile) {
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t group = tile / kGroupTiles;
    const uint32_t in_group = tile % kGroupTiles;
    const uint32_t* tile_word = state_.tile_words + group * kGroupTiles + lane;
    uint32_t own = lane < in_group ? load_relaxed(tile_word) : kPublished;
    for (; group_ < group; group_ += 32) {
      const uint32_t* group_word = state_.group_words + group_ + lane;
      uint32_t word = group_ + lane < group ? load_relaxed(group_word) : kGroupTiles << kGroupCountShift;
      auto incomplete = [&] { return word >> kGroupCountShift != kGroupTiles; };
      for (uint32_t polls = 1, waiting; (waiting = __ballot_sync(~0u, incomplete())) != 0; ++polls) {
        rest();
        if (incomplete()) word = load_relaxed(group_word);
        if (!(own & kPublished)) own = load_relaxed(tile_word);
        if (polls % kPatientPolls == 0) {
          take_over_tiles(state_, group_ + __ffs(static_cast<int>(waiting)) - 1, size_of_);
        }
      }
      before_group_ += __reduce_add_sync(~0u, word & ((1u << kGroupCountShift) - 1));
    }
    group_ = group;
    for (uint32_t polls = 1; __any_sync(~0u, !(own & kPublished)); ++polls) {
      rest();
      if (!(own & kPublished)) own = load_relaxed(tile_word);
      if (polls % kPatientPolls == 0) take_over_tiles(state_, group, size_of_);
    }
    return before_group_ + __reduce_add_sync(~0u, own & ~kPublished);
  }

 private:
  __device__ __forceinline__ void rest() const {
    if (rest_ns_ > 0) __nanosleep(rest_ns_);
  }

  const ScanState state_;
  const SizeOf size_of_;
  const uint32_t rest_ns_;
  uint32_t group_ = 0;
  uint64_t before_group_ = 0;
};

// As LookBack::before, in one round trip where nothing has to be waited for, for launches of one tile a block and
// kMostTilesAtOnce tiles at most.
constexpr uint32_t kMostTilesAtOnce = 32 * kGroupTiles;
template <typename SizeOf>
__device__ __forceinline__ uint32_t bytes_before_block(const ScanState& state, const SizeOf& size_of) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t group = blockIdx.x / kGroupTiles;
  const uint32_t* tile_word = state.tile_words + group * kGroupTiles + lane;
  const uint32_t* group_word = state.group_words + lane;
  uint32_t tile = lane < blockIdx.x % kGroupTiles ? 0 : kPublished;
  uint32_t sum = lane < group ? 0 : kGroupTiles << kGroupCountShift;
  for (;;) {
    uint32_t waiting = 0;
#pragma unroll 1
    for (uint32_t polls = 0; polls < kPatientPolls; ++polls) {  // apart from the call, which would cost it registers
      if (!(tile & kPublished)) tile = load_relaxed(tile_word);
      if (sum >> kGroupCountShift != kGroupTiles) sum = load_relaxed(group_word);
      waiting = __ballot_sync(~0u, sum >> kGroupCountShift != kGroupTiles);
      if (waiting == 0 && __all_sync(~0u, tile & kPublished)) {
        return __reduce_add_sync(~0u, (tile & ~kPublished) + (sum & ((1u << kGroupCountShift) - 1)));
      }
    }
    take_over_tiles(state, waiting ? __ffs(static_cast<int>(waiting)) - 1 : group, size_of);
  }
}

// The tile after the last one the block took; lane 0 only. Blocks that can have no second tile ask no memory.
__device__ __forceinline__ uint32_t next_tile(const ScanState& state) {
  if (gridDim.x >= state.tiles) return state.tiles;
  return gridDim.x + atomicAdd(&state.header->ticket, 1u);
}

// Announces that the thread block has made its last look-back; called by a whole warp, once a block. The order of
// announcements comes back in lane 0, and is not waited for here.
__device__ __forceinline__ uint32_t announce_finish(const ScanState& state) {
  return threadIdx.x % 32 == 0 ? atomicAdd(&state.header->finished, 1u) : 0;
}

__device__ __forceinline__ bool finished_last(uint32_t order) {
  return __shfl_sync(~0u, order, 0) == gridDim.x - 1;
}

// Called by one warp when no other thread block uses the workspace any more.
__device__ __forceinline__ void clear_scan_state(const ScanState& state) {
  const uint32_t lane = threadIdx.x % 32;
  const uint64_t words = scan_state_bytes(state.tiles) / 4;
  auto* first = reinterpret_cast<uint32_t*>(state.header);
  auto* chunks = reinterpret_cast<uint4*>(first);
  for (uint64_t i = lane; i < words / 4; i += 32) chunks[i] = make_uint4(0, 0, 0, 0);
  if (lane < words % 4) first[words / 4 * 4 + lane] = 0;
}

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_SCAN_STATE_CUH
