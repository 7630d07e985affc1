// A paged cache on host and device with one slab each, for checks of the KV-block calls: the same tables, the same
// values.
#ifndef CUSZP_TESTS_CUDA_KV_CASES_H
#define CUSZP_TESTS_CUDA_KV_CASES_H

#include <algorithm>

#include "cuda_support.h"
#include "cuszp/cuszp_cuda_kv.h"

namespace cuszp_test {

struct KvCase {
  cuszp_kv_dtype dtype;
  uint32_t form, layout;
  uint32_t tokens, heads, head_size;
  uint32_t keep_first;
  bool means;
  float error_bound, limit;
  uint64_t page_bytes;
  int strides;  // 0 token-major, 1 head-major, 2 token-major one element off the alignment
  bool checksum;
  uint32_t most_blocks;
  uint32_t moves;
  std::string name() const {
    char line[240];
    std::snprintf(line, sizeof line,
                  "dtype %d form %u layout %u [%u, %u, %u] keep %u means %d eb %g limit %g page %llu strides %d "
                  "checksum %d blocks %u",
                  dtype, form, layout, tokens, heads, head_size, keep_first, means, error_bound, limit,
                  static_cast<unsigned long long>(page_bytes), strides, checksum, most_blocks);
    return line;
  }
};

class KvFixture {
 public:
  static constexpr uint32_t kPlanes = 3;
  static constexpr uint8_t kPoison = 0xA5;

  KvFixture(const KvCase& c, std::mt19937_64& random) : c_(c) {
    element_ = c.dtype == CUSZP_KV_F32 ? 4 : c.dtype == CUSZP_KV_U8 ? 1 : 2;
    block_elements_ = size_t(c.tokens) * c.heads * c.head_size;
    block_stride_ = block_elements_ + (c.strides == 2 ? 5 : 64);
    plane_elements_ = (block_stride_ * (c.moves + 1) + 64 + 127) / 128 * 128;
    const size_t stream_room = (block_elements_ * element_ + 15) / 16 * 16;
    slot_pages_ = (kPlanes * stream_room + c.page_bytes - 1) / c.page_bytes;
    make_values(random);
    numbers_.resize(slot_pages_ * c.moves + 2);  // two pages of the slab belong to nobody
    for (size_t i = 0; i < numbers_.size(); ++i) numbers_[i] = i;
    std::shuffle(numbers_.begin(), numbers_.end(), random);
    for (uint32_t i = 0; i < c.moves; ++i) {
      moves_.push_back({int64_t(c.moves - 1 - i), i, i % 2 ? 0 : c.keep_first});
      slots_.push_back({i * slot_pages_, slot_pages_});
    }
    for (size_t i = 0; i < size_t(c.heads) * c.head_size; ++i) means_.push_back(0.01f * float(random() % 400) - 2.0f);
  }

  size_t streams() const { return size_t(c_.moves) * kPlanes; }
  size_t slab_bytes() const { return numbers_.size() * c_.page_bytes; }
  uint32_t slot_pages() const { return slot_pages_; }
  size_t block_bytes() const { return block_elements_ * element_; }
  uint32_t elements() const { return static_cast<uint32_t>(block_elements_); }
  const std::vector<uint8_t>& values() const { return values_; }
  const std::vector<cuszp_kv_move>& moves() const { return moves_; }
  const std::vector<cuszp_kv_slot>& slots() const { return slots_; }
  std::vector<cuszp_kv_slot>& slots() { return slots_; }
  const std::vector<uint32_t>& numbers() const { return numbers_; }
  const std::vector<float>& means() const { return means_; }

  // Plane 0 as the case says, plane 1 in the other layout and without limit, plane 2 raw.
  std::vector<cuszp_kv_plane> planes(void* cache, const float* means) const {
    std::vector<cuszp_kv_plane> out;
    const bool by_head = c_.strides == 1;
    for (uint32_t p = 0; p < kPlanes; ++p) {
      cuszp_kv_plane plane{};
      plane.values = static_cast<uint8_t*>(cache) + (p * plane_elements_ + lead()) * element_;
      plane.block_stride = block_stride_;
      plane.token_stride = by_head ? c_.head_size : c_.heads * c_.head_size;
      plane.head_stride = by_head ? c_.tokens * c_.head_size : c_.head_size;
      plane.tokens = c_.tokens;
      plane.heads = c_.heads;
      plane.head_size = c_.head_size;
      plane.means = c_.means ? means : nullptr;
      plane.form = p == 2 ? CUSZP_KV_FORM_RAW : c_.form;
      plane.layout = p == 1 ? 1 - c_.layout : c_.layout;
      plane.error_bound = c_.error_bound;
      plane.limit = p == 1 ? 0.0f : c_.limit;
      out.push_back(plane);
    }
    return out;
  }

  // Bytes [first, last) of the cache that belong to the block of stream i, and nothing else.
  std::pair<size_t, size_t> extent(size_t stream) const {
    const size_t plane = stream % kPlanes;
    const size_t first = plane * plane_elements_ + lead() + moves_[stream / kPlanes].block * block_stride_;
    return {first * element_, (first + block_elements_) * element_};
  }

  // The bytes of a stream in a slab.
  std::vector<uint8_t> bytes_of(const std::vector<uint8_t>& slab, size_t stream, const cuszp_kv_stream& at) const {
    std::vector<uint8_t> out;
    const cuszp_kv_slot& slot = slots_[moves_[stream / kPlanes].slot];
    for (uint64_t i = at.offset; i < uint64_t(at.offset) + at.stored_bytes; ++i) {
      out.push_back(slab[numbers_[slot.first_page + i / c_.page_bytes] * c_.page_bytes + i % c_.page_bytes]);
    }
    return out;
  }

 private:
  size_t lead() const { return c_.strides == 2 ? 1 : 32; }

  void make_values(std::mt19937_64& random) {
    const size_t n = plane_elements_ * kPlanes;
    if (c_.dtype == CUSZP_KV_U8) {
      values_.resize(n);
      for (uint8_t& v : values_) v = static_cast<uint8_t>(random());
      return;
    }
    auto wide = cache_like(n, random());
    const size_t rows = std::max<size_t>(1, n / 4000);
    for (size_t i = 0; i < rows; ++i) wide[random() % n] *= 1e4f;  // some rows need more than 16 planes
    if (random() % 3 == 0) wide[random() % n] = NAN;
    if (random() % 4 == 0) std::fill(wide.begin(), wide.begin() + n / 8, 0.0f);
    values_ = stored(wide, static_cast<cuszp_dtype>(c_.dtype));
  }

  KvCase c_;
  size_t element_, block_elements_, block_stride_, plane_elements_;
  uint32_t slot_pages_;
  std::vector<uint8_t> values_;
  std::vector<uint32_t> numbers_;
  std::vector<cuszp_kv_move> moves_;
  std::vector<cuszp_kv_slot> slots_;
  std::vector<float> means_;
};

// A vector on the device.
template <typename T>
struct OnDevice : DeviceBytes {
  explicit OnDevice(const std::vector<T>& from) : DeviceBytes(from.size() * sizeof(T)) {
    if (!from.empty()) upload(from.data(), from.size() * sizeof(T));
  }
  T* get() const { return as<T>(); }
  std::vector<T> read() const {
    std::vector<T> out(size() / sizeof(T));
    CUDA_OK(cudaMemcpy(out.data(), data(), size(), cudaMemcpyDeviceToHost));
    return out;
  }
};

}  // namespace cuszp_test

#endif  // CUSZP_TESTS_CUDA_KV_CASES_H
