// Checks the KV-block calls against the host's: every stream's bytes, every element that comes back, nothing else
// touched; then the same on damaged slabs and tables.
//
// cuda_kv [--tiny] [--fuzz COUNT]: COUNT rounds of damage, default 300; --tiny is for the sanitizers.
#include "cuda_kv_cases.h"

using namespace cuszp_test;

namespace {

int failures = 0;
int comparisons = 0;

void expect(bool held, const std::string& what) {
  ++comparisons;
  if (!held && ++failures <= 40) std::printf("FAILED %s\n", what.c_str());
}

// The same fixture on both sides.
class Pair {
 public:
  Pair(const KvCase& c, const KvFixture& f)
      : c_(c),
        f_(f),
        cache_(f.values()),
        slab_(f.slab_bytes() + 16, KvFixture::kPoison),
        slab_at_(slab_.data() + (16 - reinterpret_cast<uintptr_t>(slab_.data()) % 16) % 16),
        device_cache_(f.values()),
        device_slab_(std::vector<uint8_t>(f.slab_bytes(), KvFixture::kPoison)),
        device_means_(f.means()),
        device_moves_(f.moves()),
        device_slots_(f.slots()),
        device_numbers_(f.numbers()),
        device_cursors_(std::vector<uint64_t>(c.moves, 0)),
        device_streams_(std::vector<cuszp_kv_stream>(f.streams())),
        device_statuses_(std::vector<uint32_t>(f.streams(), 99)),
        planes_(f.planes(cache_.data(), f.means().data())),
        device_planes_(f.planes(device_cache_.get(), device_means_.get())) {}

  cuszp_kv_call host_call() {
    return call(planes_.data(), f_.moves().data(), f_.slots().data(), f_.numbers().data(), slab_at_);
  }
  cuszp_kv_call device_call() {
    return call(device_planes_.get(), device_moves_.get(), device_slots_.get(), device_numbers_.get(),
                device_slab_.get());
  }

  void store() {
    streams.resize(f_.streams());
    cursors.assign(c_.moves, 0);
    const auto host = host_call(), device = device_call();
    expect(cuszp_kv_store(&host, cursors.data(), c_.checksum, 1, streams.data()) == CUSZP_OK,
           "host store " + c_.name());
    expect(cuszp_cuda_kv_store(&device, device_cursors_.get(), c_.checksum, CUSZP_CUDA_PAGES_ON_DEVICE, f_.elements(),
                               c_.most_blocks, device_streams_.get(), nullptr) == CUSZP_OK,
           "device store " + c_.name());
    CUDA_OK(cudaDeviceSynchronize());
  }

  // Streams one by one, as their places differ; all of a slot's bytes are somebody's or untouched.
  void compare_stored() {
    const auto device = device_streams_.read();
    const auto slab = device_slab_.read();
    const std::vector<uint8_t> host_slab(slab_at_, slab_at_ + f_.slab_bytes());
    expect(device_cursors_.read() == cursors, "cursors " + c_.name());
    size_t written = 0;
    for (size_t i = 0; i < device.size(); ++i) {
      const std::string what = "stream " + std::to_string(i) + " " + c_.name();
      const auto &d = device[i], &h = streams[i];
      expect(d.stored_bytes == h.stored_bytes && d.stored_raw == h.stored_raw && d.checksum == h.checksum &&
                 d.status == CUSZP_OK,
             what + ": " + std::to_string(d.status) + " " + std::to_string(d.stored_bytes) + " raw " +
                 std::to_string(d.stored_raw) + " for " + std::to_string(h.stored_bytes) + " raw " +
                 std::to_string(h.stored_raw));
      if (d.stored_bytes != h.stored_bytes || d.status != CUSZP_OK) continue;
      expect(f_.bytes_of(slab, i, d) == f_.bytes_of(host_slab, i, h), "bytes of " + what);
      written += (d.stored_bytes + 15) / 16 * 16;
    }
    const auto poison = static_cast<size_t>(std::count(slab.begin(), slab.end(), KvFixture::kPoison));
    expect(poison >= slab.size() - written, "store wrote past its streams " + c_.name());
  }

  // Both sides read the device's slab with the same table of streams.
  void load(const std::vector<cuszp_kv_stream>& table) {
    const auto slab = device_slab_.read();
    std::copy(slab.begin(), slab.end(), slab_at_);
    device_streams_.upload(table.data(), table.size() * sizeof table[0]);
    device_cache_.fill(0x3c);
    std::fill(cache_.begin(), cache_.end(), 0x3c);
    statuses.assign(f_.streams(), 99);
    const auto host = host_call(), device = device_call();
    expect(cuszp_kv_load(&host, table.data(), c_.checksum, 1, statuses.data()) == CUSZP_OK, "host load " + c_.name());
    expect(cuszp_cuda_kv_load(&device, device_streams_.get(), c_.checksum, f_.elements(), c_.most_blocks,
                              device_statuses_.get(), nullptr) == CUSZP_OK,
           "device load " + c_.name());
    CUDA_OK(cudaDeviceSynchronize());
    auto found = device_cache_.read();
    const auto device_statuses = device_statuses_.read();
    for (size_t i = 0; i < statuses.size(); ++i) {
      const std::string what = "load of stream " + std::to_string(i) + " " + c_.name();
      expect(device_statuses[i] == statuses[i],
             what + ": status " + std::to_string(device_statuses[i]) + " for " + std::to_string(statuses[i]));
      const auto [first, last] = f_.extent(i);
      if (statuses[i] == CUSZP_OK) {
        const auto differs = std::mismatch(found.begin() + first, found.begin() + last, cache_.begin() + first);
        expect(differs.first == found.begin() + last,
               what + ": values, at byte " + std::to_string(differs.first - found.begin() - first));
      }
      std::fill(found.begin() + first, found.begin() + last, 0);
      std::fill(cache_.begin() + first, cache_.begin() + last, 0);
    }
    expect(found == cache_, "load wrote past its blocks " + c_.name());
  }

  std::vector<cuszp_kv_stream> stored() const { return device_streams_.read(); }

  std::vector<cuszp_kv_stream> damage(const std::vector<cuszp_kv_stream>& table, std::mt19937_64& random) {
    auto slab = device_slab_.read();
    const size_t changes = random() % 4 == 0 ? slab.size() / 32 : 1 + random() % 8;
    for (size_t i = 0; i < changes; ++i) {
      slab[random() % slab.size()] = static_cast<uint8_t>(random() % 3 ? random() % 40 : random());
    }
    device_slab_.upload(slab.data(), slab.size());
    auto out = table;
    for (cuszp_kv_stream& s : out) {
      if (random() % 2) continue;
      const uint64_t slot = f_.slot_pages() * c_.page_bytes;
      switch (random() % 6) {
        case 0:
          s.offset = static_cast<uint32_t>(random() % (slot + 64)) & ~15u;
          break;
        case 1:
          s.stored_bytes = static_cast<uint32_t>(random() % (slot + 64));
          break;
        case 2:
          s.stored_raw ^= 1;
          break;
        case 3:
          s.stored_bytes += static_cast<uint32_t>(random() % 9) - 4;
          break;
        case 4:
          s.status = static_cast<uint16_t>(random() % 12);
          break;
        default:
          s = {uint32_t(random()), uint32_t(random()), uint32_t(random()), uint16_t(random() % 2),
               uint16_t(random() % 3)};
      }
    }
    return out;
  }

  std::vector<cuszp_kv_stream> streams;
  std::vector<uint64_t> cursors;
  std::vector<uint32_t> statuses;

 private:
  cuszp_kv_call call(const cuszp_kv_plane* planes, const cuszp_kv_move* moves, const cuszp_kv_slot* slots,
                     const uint32_t* numbers, void* slab) {
    return {planes,
            moves,
            slots,
            numbers,
            slab,
            c_.page_bytes,
            KvFixture::kPlanes,
            c_.moves,
            c_.moves,
            static_cast<uint32_t>(c_.dtype)};
  }

  KvCase c_;
  const KvFixture& f_;
  std::vector<uint8_t> cache_, slab_;
  uint8_t* slab_at_;
  OnDevice<uint8_t> device_cache_, device_slab_;
  OnDevice<float> device_means_;
  OnDevice<cuszp_kv_move> device_moves_;
  OnDevice<cuszp_kv_slot> device_slots_;
  OnDevice<uint32_t> device_numbers_;
  OnDevice<uint64_t> device_cursors_;
  OnDevice<cuszp_kv_stream> device_streams_;
  OnDevice<uint32_t> device_statuses_;
  std::vector<cuszp_kv_plane> planes_;
  OnDevice<cuszp_kv_plane> device_planes_;
};

void check(const KvCase& c, std::mt19937_64& random, int damages) {
  const KvFixture fixture(c, random);
  Pair pair(c, fixture);
  pair.store();
  pair.compare_stored();
  const auto table = pair.stored();
  pair.load(table);
  for (size_t i = 0; i < table.size(); ++i) expect(pair.statuses[i] == CUSZP_OK, "comes back " + c.name());
  for (int i = 0; i < damages; ++i) pair.load(pair.damage(table, random));
}

// Slots too small for their streams: what fits is right, what does not says so.
void check_small_slots(std::mt19937_64& random) {
  const KvCase c{CUSZP_KV_BF16, CUSZP_KV_FORM_PLAIN, 1, 16, 4, 64, 0, false, 0.05f, 0.0f, 256, 0, true, 0, 9};
  KvFixture fixture(c, random);
  for (auto& slot : fixture.slots()) slot.page_count = fixture.slot_pages() * 2 / 5;
  Pair pair(c, fixture);
  pair.store();
  const auto device = pair.stored();
  int left_out = 0;
  for (size_t i = 0; i < device.size(); ++i) {
    const bool fits = device[i].status == CUSZP_OK;
    left_out += !fits;
    expect(device[i].stored_bytes == pair.streams[i].stored_bytes, "size of what did not fit");
    expect(fits || (device[i].status == CUSZP_OUTPUT_TOO_SMALL && device[i].offset == 0), "status of what did not fit");
    expect(!fits || device[i].offset + device[i].stored_bytes <= fixture.slots()[0].page_count * 256,
           "place that fits");
  }
  expect(left_out > 0, "some did not fit");
  pair.load(device);
}

KvCase random_case(std::mt19937_64& random, bool tiny) {
  struct Block {
    uint32_t tokens, heads, head_size;
  };
  const Block blocks[] = {{16, 8, 128}, {16, 3, 64}, {16, 2, 24}, {16, 5, 7},  {7, 1, 33},   {32, 4, 64},
                          {1, 1, 1},    {16, 1, 18}, {12, 6, 40}, {20, 8, 64}, {16, 8, 256}, {64, 8, 128}};
  const Block& block = blocks[random() % (tiny ? 10 : 12)];
  const float bounds[] = {0.07f, 0.07f, 0.5f, 1e-3f, 1e-6f, 0.0f};
  KvCase c{};
  c.dtype = static_cast<cuszp_kv_dtype>(random() % 13 == 0 ? 3 : random() % 3);
  c.form = random() % 3;
  c.layout = random() % 2;
  c.tokens = block.tokens;
  c.heads = block.heads;
  c.head_size = block.head_size;
  c.keep_first = random() % 2 ? random() % 6 : 0;
  c.means = random() % 2;
  c.error_bound = bounds[random() % 6];
  c.limit = random() % 2 ? c.error_bound * (random() % 2 ? 1.001f : 0.999f) : 0.0f;
  c.page_bytes = random() % 2 ? 256 : 4096;
  c.strides = random() % 3;
  c.checksum = random() % 2;
  c.most_blocks = random() % 3 ? 0 : 1 + random() % 3;
  c.moves = tiny ? 3 : 1 + random() % 12;
  return c;
}

}  // namespace

int main(int argc, char** argv) {
  if (const char* problem = cuszp_cuda_device_problem()) {
    std::printf("%s\n", problem);
    return 77;
  }
  bool tiny = false;
  int rounds = 300;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--tiny") tiny = true;
    if (std::string(argv[i]) == "--fuzz" && i + 1 < argc) rounds = std::atoi(argv[i + 1]);
  }
  if (tiny) rounds = 24;
  std::mt19937_64 random(11);
  for (int dtype = 0; dtype < 3; ++dtype) {  // the shapes that are fast, in every form
    for (uint32_t form = 0; form < 3; ++form) {
      for (uint32_t layout = 0; layout < 2; ++layout) {
        if (tiny && (dtype == 2 || form == 1)) continue;
        check({static_cast<cuszp_kv_dtype>(dtype), form, layout, 16, 8, tiny ? 32u : 128u, 0, layout == 1, 0.07f,
               form == 0 ? 0.0701f : 0.0f, 4096, 0, form == 2, 0, tiny ? 2u : 20u},
              random, tiny ? 1 : 4);
      }
    }
  }
  check_small_slots(random);
  for (int i = 0; i < rounds; ++i) check(random_case(random, tiny), random, tiny ? 1 : 4);
  std::printf("cuda_kv: %d comparisons, %d failed\n", comparisons, failures);
  return failures ? 1 : 0;
}
