// KV blocks on the host: whatever the bytes and the table of streams, a load touches its own blocks and pages only.
#include <algorithm>

#include "check.h"
#include "cuszp/cuszp_kv.h"

namespace {

constexpr uint32_t kTokens = 12, kHeads = 2, kHeadSize = 20, kBlocks = 3, kPages = 8;
constexpr uint64_t kPage = 256, kElements = kTokens * kHeads * kHeadSize;

// Exactly as large as it has to be, so that a sanitizer sees every step outside.
struct Cache {
  std::vector<float> values = drawn_values(kElements * kBlocks, 5);
  std::vector<float> means = std::vector<float>(kHeads * kHeadSize, 0.3f);
  std::vector<uint8_t> memory = std::vector<uint8_t>(kBlocks * kPages * kPage + 15);
  std::vector<uint32_t> numbers;
  std::vector<cuszp_kv_slot> slots;
  std::vector<cuszp_kv_move> moves;
  cuszp_kv_plane plane = {};
  cuszp_kv_call call = {};

  Cache(uint32_t form, uint32_t layout, bool centred) {
    for (uint32_t i = 0; i < kBlocks * kPages; ++i) numbers.push_back(kBlocks * kPages - 1 - i);
    for (uint32_t i = 0; i < kBlocks; ++i) {
      slots.push_back({i * kPages, kPages});
      moves.push_back({kBlocks - 1 - i, i, i});
    }
    plane.values = values.data();
    plane.block_stride = kElements;
    plane.token_stride = kHeads * kHeadSize;
    plane.head_stride = kHeadSize;
    plane.means = centred ? means.data() : nullptr;
    plane.tokens = kTokens;
    plane.heads = kHeads;
    plane.head_size = kHeadSize;
    plane.form = form;
    plane.layout = layout;
    plane.error_bound = 0.05f;
    call = {&plane, moves.data(), slots.data(), numbers.data(), slab(), kPage, 1, kBlocks, kBlocks, CUSZP_KV_F32};
  }
  uint8_t* slab() { return memory.data() + (16 - reinterpret_cast<uintptr_t>(memory.data()) % 16) % 16; }
};

void check_damage(uint32_t form, uint32_t layout, bool centred) {
  Cache cache(form, layout, centred);
  const std::vector<float> before = cache.values;
  std::vector<uint64_t> cursors(kBlocks, 0);
  std::vector<cuszp_kv_stream> streams(kBlocks);
  std::vector<uint32_t> statuses(kBlocks);
  CHECK(cuszp_kv_store(&cache.call, cursors.data(), 1, 2, streams.data()) == CUSZP_OK);
  CHECK(cuszp_kv_load(&cache.call, streams.data(), 1, 2, statuses.data()) == CUSZP_OK);
  CHECK(std::count(statuses.begin(), statuses.end(), CUSZP_OK) == kBlocks);
  for (size_t i = 0; i < before.size(); ++i) CHECK(std::fabs(before[i] - cache.values[i]) <= 0.05001f);
  std::mt19937 random(form * 4 + layout * 2 + centred);
  const std::vector<uint8_t> stored(cache.slab(), cache.slab() + kBlocks * kPages * kPage);
  for (int round = 0; round < 3000; ++round) {
    std::copy(stored.begin(), stored.end(), cache.slab());
    for (uint32_t i = random() % 40; i > 0; --i) cache.slab()[random() % stored.size()] = uint8_t(random() % 160);
    auto damaged = streams;
    for (cuszp_kv_stream& stream : damaged) {
      if (random() % 2) stream.offset = random() % 5 ? random() % 160 * 16 : uint32_t(random());
      if (random() % 2) stream.stored_bytes = random() % 5 ? random() % 2200 : uint32_t(random());
      if (random() % 4 == 0) stream.stored_raw = random() % 3;
    }
    CHECK(cuszp_kv_load(&cache.call, damaged.data(), 0, 1, statuses.data()) == CUSZP_OK);
    for (uint32_t status : statuses) CHECK(status <= CUSZP_CHECKSUM_MISMATCH);
  }
}

}  // namespace

int main() {
  for (uint32_t form = 0; form < 3; ++form) {
    for (uint32_t layout = 0; layout < 2; ++layout) {
      check_damage(form, layout, false);
      check_damage(form, layout, true);
    }
  }
  return failures ? 1 : 0;
}
