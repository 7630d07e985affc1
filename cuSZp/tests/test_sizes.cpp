// Every small size, mode and element type: round trip, exact capacity, statuses, ranges, largest stream.
#include <algorithm>

#include "check.h"

namespace {

void round_trips(uint64_t n, cuszp_mode mode) {
  const float bound = 0.01f;
  const std::vector<float> values = drawn_values(n, static_cast<unsigned>(n) + 1);
  const std::vector<uint8_t> stream = compress(values, bound, mode, 1);
  CHECK(stream.size() <= cuszp_max_compressed_bytes(n));

  std::vector<float> decoded(n + 1, -1.0f);
  CHECK(cuszp_decompress(stream.data(), stream.size(), n, bound, mode, CUSZP_F32, 1, decoded.data()) == CUSZP_OK);
  for (uint64_t i = 0; i < n; ++i) CHECK(std::fabs(decoded[i] - values[i]) <= bound * 1.001f);
  CHECK(decoded[n] == -1.0f);

  std::vector<uint8_t> exact(stream.size() + 1, 0x5a);
  uint64_t bytes = 0;
  CHECK(cuszp_compress(values.data(), CUSZP_F32, n, bound, mode, 1, exact.data(), stream.size(), &bytes) == CUSZP_OK);
  CHECK(bytes == stream.size() && std::equal(stream.begin(), stream.end(), exact.begin()) && exact[bytes] == 0x5a);
  if (n == 0) return;

  CHECK(cuszp_compress(values.data(), CUSZP_F32, n, bound, mode, 1, exact.data(), stream.size() - 1, &bytes) ==
        CUSZP_OUTPUT_TOO_SMALL);
  CHECK(bytes == stream.size());
  CHECK(cuszp_compress(values.data(), CUSZP_F32, n, bound, mode, 1, exact.data(), 0, &bytes) == CUSZP_OUTPUT_TOO_SMALL);
  CHECK(bytes == stream.size());

  const uint64_t first = (n - 1) / 32 * 32;
  std::vector<float> tail(n - first);
  CHECK(cuszp_decompress_range(stream.data(), stream.size(), n, bound, mode, CUSZP_F32, first, n - first, 1,
                               tail.data()) == CUSZP_OK);
  CHECK(std::equal(tail.begin(), tail.end(), decoded.begin() + static_cast<ptrdiff_t>(first)));
}

// Whole numbers are exact in all three types, so the streams and the values that come back are the same.
void sixteen_bits(uint64_t n, cuszp_mode mode) {
  std::vector<float> values(n);
  std::vector<uint16_t> bfloat16(n), float16(n);
  for (uint64_t i = 0; i < n; ++i) {
    const unsigned power = static_cast<unsigned>(i * i % 7);
    values[i] = (i % 2 == 0 ? 1.0f : -1.0f) * static_cast<float>(1u << power);
    bfloat16[i] = static_cast<uint16_t>((i % 2) << 15 | (127 + power) << 7);
    float16[i] = static_cast<uint16_t>((i % 2) << 15 | (15 + power) << 10);
  }
  const std::vector<uint8_t> stream = compress(values, 0.5f, mode, 1);
  const std::vector<uint16_t>* const narrow[] = {&bfloat16, &float16};
  const cuszp_dtype dtypes[] = {CUSZP_BF16, CUSZP_F16};
  for (int d = 0; d < 2; ++d) {
    std::vector<uint8_t> other(stream.size());
    uint64_t bytes = 0;
    CHECK(cuszp_compress(narrow[d]->data(), dtypes[d], n, 0.5f, mode, 1, other.data(), other.size(), &bytes) ==
          CUSZP_OK);
    CHECK(other == stream);
    std::vector<uint16_t> decoded(n);
    CHECK(cuszp_decompress(stream.data(), stream.size(), n, 0.5f, mode, dtypes[d], 1, decoded.data()) == CUSZP_OK);
    CHECK(decoded == *narrow[d]);
  }
}

void largest_stream() {
  std::vector<float> values(77, 1e30f);
  for (size_t i = 1; i < values.size(); i += 2) values[i] = 0.0f;
  CHECK(compress(values, 0.5f, CUSZP_MODE_FIXED, 1).size() == cuszp_max_compressed_bytes(values.size()));
  CHECK(cuszp_max_compressed_bytes(UINT64_MAX) == UINT64_MAX);
}

}  // namespace

int main() {
  for (cuszp_mode mode : kModes) {
    for (uint64_t n = 0; n <= 100; ++n) {
      round_trips(n, mode);
      sixteen_bits(n, mode);
    }
    for (uint64_t n : {1023, 1024, 1025, 32767, 32768, 32769}) round_trips(n, mode);
  }
  largest_stream();
  return failures != 0;
}
