// Checks the batch calls against the host library, and the batch decoder on damaged streams.
//
// cuda_batch [--small]
#include <algorithm>

#include "cuda_support.h"

using namespace cuszp_test;

namespace {

int failures = 0;
int comparisons = 0;

void expect(bool held, const std::string& what) {
  ++comparisons;
  if (!held && ++failures <= 40) std::printf("FAILED %s\n", what.c_str());
}

constexpr uint8_t kPoison = 0xA5;
constexpr uint64_t kGuard = 512;

uint64_t round_up(uint64_t value, uint64_t to) {
  return (value + to - 1) / to * to;
}

struct Stream {
  std::vector<uint8_t> values;
  size_t n;
  float bound;
  float limit;  // negative: none
  uint64_t capacity;
  std::vector<uint8_t> stored;  // what compress must leave
  bool raw;
  cuszp_status status;
  std::vector<uint8_t> decoded;
};

// The host's stream without the metadata padding, or the raw values, by the rules of the interface.
void expect_of_host(Stream& s, cuszp_dtype dtype, cuszp_mode mode) {
  std::vector<uint8_t> stream(cuszp_max_compressed_bytes(s.n));
  std::vector<float> wide(s.n);
  uint64_t bytes = 0;
  s.raw = !(s.bound > 0.0f);
  s.decoded.resize(s.values.size());
  if (!s.raw) {
    cuszp_compress(s.values.data(), dtype, s.n, s.bound, mode, 1, stream.data(), stream.size(), &bytes);
    cuszp_decompress(stream.data(), bytes, s.n, s.bound, mode, dtype, 1, s.decoded.data());
    cuszp_decompress(stream.data(), bytes, s.n, s.bound, mode, CUSZP_F32, 1, wide.data());
    const size_t blocks = (s.n + 31) / 32;
    s.stored.assign(stream.begin(), stream.begin() + blocks);
    s.stored.insert(s.stored.end(), stream.begin() + cuszp_metadata_bytes(s.n), stream.begin() + bytes);
  }
  for (size_t i = 0; i < s.n && s.limit >= 0.0f && !s.raw; ++i) {
    float value;
    if (dtype == CUSZP_F32) {
      std::memcpy(&value, &s.values[4 * i], 4);
    } else if (dtype == CUSZP_BF16) {
      __nv_bfloat16 half;
      std::memcpy(&half, &s.values[2 * i], 2);
      value = __bfloat162float(half);
    } else {
      __half half;
      std::memcpy(&half, &s.values[2 * i], 2);
      value = __half2float(half);
    }
    s.raw = !(std::fabs(double(value) - double(wide[i])) <= double(s.limit));
  }
  if (s.stored.size() >= s.values.size() || s.stored.size() > s.capacity) s.raw = true;
  s.raw = s.raw && s.n > 0;
  if (s.raw) s.stored = s.decoded = s.values;
  s.status = s.stored.size() <= s.capacity ? CUSZP_OK : CUSZP_OUTPUT_TOO_SMALL;
}

std::vector<Stream> make_streams(cuszp_dtype dtype, cuszp_mode mode, size_t count, std::mt19937_64& random) {
  std::vector<Stream> streams(count);
  for (size_t i = 0; i < count; ++i) {
    Stream& s = streams[i];
    const size_t sizes[] = {0, 1, 33, 127, 4096, 16384, 16384, 5000 + random() % 9000};
    s.n = sizes[random() % 8];
    std::vector<float> values = cache_like(s.n, i);
    if (s.n && i % 7 == 3) values[random() % s.n] = NAN;
    s.values = stored(values, dtype);
    s.bound = i % 11 == 5 ? 1e-7f : i % 13 == 6 ? 0.0f : 0.07f;
    s.limit = i % 3 == 0 ? (i % 2 ? 0.0701f : 0.05f) : -1.0f;
    s.capacity = i % 17 == 8 ? s.values.size() / 3 : s.values.size() + s.n / 8 + 64;
    expect_of_host(s, dtype, mode);
  }
  return streams;
}

// Everything the device needs for a batch; slots are cut into pages of page_bytes, scattered, or are contiguous.
class DeviceBatch {
 public:
  DeviceBatch(const std::vector<Stream>& streams, uint64_t page_bytes, size_t value_offset, cuszp_dtype dtype,
              std::mt19937_64& random)
      : streams_(streams),
        slot_bytes_(slot_bytes_of(streams, page_bytes)),
        page_bytes_(page_bytes ? page_bytes : slot_bytes_),
        stride_(value_stride_of(streams, value_offset)),
        slots_(slot_bytes_ * streams.size()),
        input_(stride_ * streams.size()),
        output_(stride_ * streams.size()),
        table_(slots_.size() / page_bytes_ * 8),
        items_(2 * streams.size() * sizeof(cuszp_cuda_batch_item)),
        numbers_(streams.size() * 8),
        results_(streams.size() * sizeof(cuszp_cuda_batch_result)),
        statuses_(streams.size() * 4) {
    input_.fill(0xff);
    order_.resize(slots_.size() / page_bytes_);
    for (size_t i = 0; i < order_.size(); ++i) order_[i] = i;
    std::shuffle(order_.begin(), order_.end(), random);
    std::vector<uint8_t*> table;
    for (size_t page : order_) table.push_back(slots_.data() + page * page_bytes_);
    table_.upload(table.data(), table.size() * 8);
    std::vector<cuszp_cuda_batch_item> items(2 * streams.size());
    std::vector<float> numbers(2 * streams.size());
    const size_t pages_a_slot = slot_bytes_ / page_bytes_;
    for (size_t i = 0; i < streams.size(); ++i) {
      const Stream& s = streams[i];
      numbers[2 * i] = s.bound;
      numbers[2 * i + 1] = s.limit;
      auto* pages =
          page_bytes ? table_.as<void* const>(i * pages_a_slot * 8) : reinterpret_cast<void* const*>(table[i]);
      uint8_t* at = input_.data() + i * stride_ + value_offset;
      items[i] = {
          at, s.n, pages, s.capacity, numbers_.as<float>(8 * i), s.limit < 0 ? nullptr : numbers_.as<float>(8 * i + 4)};
      items[streams.size() + i] = items[i];
      items[streams.size() + i].values = output_.data() + i * stride_ + value_offset;
      if (!s.values.empty()) CUDA_OK(cudaMemcpy(at, s.values.data(), s.values.size(), cudaMemcpyHostToDevice));
    }
    items_.upload(items.data(), items.size() * sizeof items[0]);
    numbers_.upload(numbers.data(), numbers.size() * 4);
    dtype_ = dtype;
    value_offset_ = value_offset;
    paged_ = page_bytes != 0;
    // Device memory serves both ways of storing.
    home_ = value_offset == 2 ? CUSZP_CUDA_PAGES_ON_HOST : CUSZP_CUDA_PAGES_ON_DEVICE;
  }

  void compress(cuszp_mode mode, cudaStream_t stream, uint32_t most_blocks) {
    slots_.fill(kPoison);
    results_.fill(0xff);
    CUDA_OK(cudaDeviceSynchronize());
    expect(cuszp_cuda_compress_batch(items_.as<cuszp_cuda_batch_item>(), streams_.size(), dtype_, 0.0f, mode,
                                     paged_ ? page_bytes_ : 0, home_, results_.as<cuszp_cuda_batch_result>(),
                                     most_blocks, stream) == CUSZP_OK,
           "enqueue batch compress");
    CUDA_OK(cudaStreamSynchronize(stream));
  }

  void decompress(cuszp_mode mode, cudaStream_t stream) {
    output_.fill(kPoison);
    statuses_.fill(0xff);
    CUDA_OK(cudaDeviceSynchronize());
    expect(cuszp_cuda_decompress_batch(items_.as<cuszp_cuda_batch_item>() + streams_.size(),
                                       results_.as<cuszp_cuda_batch_result>(), streams_.size(), dtype_, 0.0f, mode,
                                       paged_ ? page_bytes_ : 0, statuses_.as<uint32_t>(), 0, stream) == CUSZP_OK,
           "enqueue batch decompress");
    CUDA_OK(cudaStreamSynchronize(stream));
  }

  // Slot i, its pages put in order.
  std::vector<uint8_t> slot(const std::vector<uint8_t>& slots, size_t i) const {
    std::vector<uint8_t> out;
    const size_t pages = slot_bytes_ / page_bytes_;
    for (size_t p = 0; p < pages; ++p) {
      const auto from = slots.begin() + order_[i * pages + p] * page_bytes_;
      out.insert(out.end(), from, from + page_bytes_);
    }
    return out;
  }

  void verify(const std::string& name) const {
    const auto slots = slots_.download(), output = output_.download();
    const auto results = results_.download(), statuses = statuses_.download();
    for (size_t i = 0; i < streams_.size(); ++i) {
      const Stream& s = streams_[i];
      cuszp_cuda_batch_result result;
      uint32_t status;
      std::memcpy(&result, &results[i * sizeof result], sizeof result);
      std::memcpy(&status, &statuses[4 * i], 4);
      const std::string what = name + " item " + std::to_string(i) + " n=" + std::to_string(s.n);
      expect(result.status == uint32_t(s.status) && result.stored_bytes == s.stored.size() &&
                 result.stored_raw == uint32_t(s.raw),
             what + " result " + std::to_string(result.status) + " " + std::to_string(result.stored_bytes) + " " +
                 std::to_string(result.stored_raw) + " for " + std::to_string(s.stored.size()) + " " +
                 std::to_string(s.raw));
      expect(status == uint32_t(s.status), what + " status " + std::to_string(status));
      const auto got = slot(slots, i);
      const uint64_t reach = s.raw || s.status != CUSZP_OK ? std::max<uint64_t>(s.capacity, 0) : s.stored.size();
      expect(std::all_of(got.begin() + std::min<uint64_t>(reach, got.size()), got.end(),
                         [](uint8_t b) { return b == kPoison; }),
             what + " wrote past its bytes");
      if (s.status != CUSZP_OK) continue;
      expect(std::equal(s.stored.begin(), s.stored.end(), got.begin()), what + " bytes");
      const auto at = output.begin() + i * stride_ + value_offset_;
      expect(std::equal(s.decoded.begin(), s.decoded.end(), at), what + " values");
      expect(std::all_of(at + s.decoded.size(), output.begin() + (i + 1) * stride_,
                         [](uint8_t b) { return b == kPoison; }),
             what + " wrote past its values");
    }
  }

  // Overwrites bytes of the stored forms and their lengths, so that decompress meets nonsense.
  void damage(std::mt19937_64& random) {
    auto slots = slots_.download();
    auto results = results_.download();
    for (size_t i = 0; i < slots.size() / 64; ++i) slots[random() % slots.size()] = static_cast<uint8_t>(random() % 64);
    for (size_t i = 0; i < streams_.size(); ++i) {
      auto* result = reinterpret_cast<cuszp_cuda_batch_result*>(&results[i * sizeof(cuszp_cuda_batch_result)]);
      if (random() % 4 == 0) result->stored_bytes = random() % (slot_bytes_ + 1);
      if (random() % 8 == 0) result->stored_raw ^= 1;
      result->stored_bytes = std::min<uint64_t>(result->stored_bytes, slot_bytes_);
    }
    slots_.upload(slots.data(), slots.size());
    results_.upload(results.data(), results.size());
  }

  // Every item has a status and nothing was written past any item's values.
  void verify_guards() const {
    const auto output = output_.download(), statuses = statuses_.download();
    for (size_t i = 0; i < streams_.size(); ++i) {
      uint32_t status;
      std::memcpy(&status, &statuses[4 * i], 4);
      expect(status <= CUSZP_CUDA_ERROR, "damaged item has a status");
      const auto at = output.begin() + i * stride_ + value_offset_;
      expect(std::all_of(at + streams_[i].values.size(), output.begin() + (i + 1) * stride_,
                         [](uint8_t b) { return b == kPoison; }),
             "damaged item wrote past its values");
    }
  }

 private:
  static uint64_t slot_bytes_of(const std::vector<Stream>& streams, uint64_t page_bytes) {
    uint64_t most = 0;
    for (const Stream& s : streams) most = std::max(most, std::max<uint64_t>(s.capacity, s.stored.size()));
    return round_up(most + kGuard, page_bytes ? page_bytes : 256);
  }
  static uint64_t value_stride_of(const std::vector<Stream>& streams, size_t offset) {
    size_t most = 0;
    for (const Stream& s : streams) most = std::max(most, s.values.size());
    return round_up(most + offset + kGuard, 256);
  }

  const std::vector<Stream>& streams_;
  uint64_t slot_bytes_, page_bytes_, stride_;
  DeviceBytes slots_, input_, output_, table_, items_, numbers_, results_, statuses_;
  std::vector<size_t> order_;
  cuszp_dtype dtype_ = CUSZP_F32;
  size_t value_offset_ = 0;
  bool paged_ = false;
  cuszp_cuda_pages_home home_ = CUSZP_CUDA_PAGES_ON_DEVICE;
};

void check(bool small) {
  std::mt19937_64 random(7);
  cudaStream_t stream;
  CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  for (cuszp_dtype dtype : {CUSZP_F32, CUSZP_BF16, CUSZP_F16}) {
    for (cuszp_mode mode : {CUSZP_MODE_FIXED, CUSZP_MODE_PLAIN, CUSZP_MODE_OUTLIER}) {
      const auto streams = make_streams(dtype, mode, small ? 20 : 150, random);
      if (small && dtype == CUSZP_F16) continue;
      for (uint64_t page_bytes : {uint64_t(0), uint64_t(256), uint64_t(4096)}) {
        for (size_t offset : {size_t(0), size_t(2), size_t(16)}) {
          if (small && offset == 16) continue;
          const std::string name = std::string(dtype_name(dtype)) + " " + mode_name(mode) + " pages " +
                                   std::to_string(page_bytes) + " values+" + std::to_string(offset);
          DeviceBatch batch(streams, page_bytes, offset, dtype, random);
          batch.compress(mode, stream, offset == 16 ? 3 : 0);
          batch.decompress(mode, stream);
          batch.verify(name);
          batch.damage(random);
          batch.decompress(mode, stream);
          batch.verify_guards();
        }
      }
    }
  }
  CUDA_OK(cudaStreamDestroy(stream));
}

}  // namespace

int main(int argc, char** argv) {
  if (const char* problem = cuszp_cuda_device_problem()) {
    std::printf("%s\n", problem);
    return 77;
  }
  const std::string what = argc > 1 ? argv[1] : "";
  check(what == "--small");
  std::printf("cuda_batch: %d comparisons, %d failed\n", comparisons, failures);
  return failures ? 1 : 0;
}
