// Every table of kernels that this processor can run gives the bytes and values of the baseline, for any bits.
#include "check.h"
#include "cpu/kernels.h"

namespace {

void compare(const cuszp::Kernels& one, const cuszp::Kernels& other, uint64_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<uint32_t> bits(n);
  // Some blocks of any bits, some of small numbers, some of one value.
  for (uint64_t i = 0; i < n; ++i) {
    const unsigned kind = (static_cast<unsigned>(i / 32) + seed) % 3;
    bits[i] = kind == 0   ? static_cast<uint32_t>(generator())
              : kind == 1 ? 0x3f800000u + generator() % 0x4000000u
                          : 0x42424242u;
  }
  const unsigned char* const values = reinterpret_cast<const unsigned char*>(bits.data());
  for (int dtype : {CUSZP_F32, CUSZP_BF16, CUSZP_F16}) {
    const uint64_t count = dtype == CUSZP_F32 ? n : 2 * n, blocks = (count + 31) / 32;
    cuszp::Extremes one_range, other_range;
    one.scan[dtype](values, count, &one_range);
    other.scan[dtype](values, count, &other_range);
    CHECK(one_range.lowest == other_range.lowest && one_range.highest == other_range.highest);
    CHECK(one_range.non_finite == other_range.non_finite);
    for (int mode : kModes) {
      const float bound = std::ldexp(1.0f, static_cast<int>(generator() % 60) - 40);
      std::vector<uint8_t> metadata[2], records[2], decoded[2];
      for (int k = 0; k < 2; ++k) {
        const cuszp::Kernels& kernels = k == 0 ? one : other;
        metadata[k].resize(blocks);
        records[k].resize(128 * blocks);
        const uint64_t bytes = kernels.encode[dtype][mode]({values, count, bound}, 0, blocks, metadata[k].data(),
                                                           records[k].data(), records[k].size());
        records[k].resize(bytes);
        decoded[k].resize(4 * n);
        kernels.decode[dtype][mode]({metadata[0].data(), records[0].data() + records[0].size(), count, bound}, 0,
                                    blocks, records[0].data(), decoded[k].data());
      }
      CHECK(metadata[0] == metadata[1] && records[0] == records[1] && decoded[0] == decoded[1]);
    }
  }
}

}  // namespace

int main() {
  for (unsigned seed = 0; seed < 60; ++seed) compare(cuszp::baseline_kernels(), cuszp::kernels(), 1 + seed * 37, seed);
  compare(cuszp::baseline_kernels(), cuszp::kernels(), 100003, 7);
  return failures != 0;
}
