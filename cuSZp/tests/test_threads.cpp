// The bytes, the values and the range are the same for every number of threads.
#include "check.h"

int main() {
  const std::vector<float> values = drawn_values(700001, 3);
  const float bound = 0.003f;
  cuszp_range one_range = {}, many_range = {};
  CHECK(cuszp_measure_range(values.data(), CUSZP_F32, values.size(), 1, &one_range) == CUSZP_OK);
  for (cuszp_mode mode : kModes) {
    const std::vector<uint8_t> one = compress(values, bound, mode, 1);
    std::vector<float> expected(values.size());
    CHECK(cuszp_decompress(one.data(), one.size(), values.size(), bound, mode, CUSZP_F32, 1, expected.data()) ==
          CUSZP_OK);
    for (unsigned threads : {0u, 2u, 3u, 9u, 5000u}) {
      CHECK(compress(values, bound, mode, threads) == one);
      std::vector<float> decoded(values.size());
      CHECK(cuszp_decompress(one.data(), one.size(), values.size(), bound, mode, CUSZP_F32, threads, decoded.data()) ==
            CUSZP_OK);
      CHECK(decoded == expected);
      CHECK(cuszp_measure_range(values.data(), CUSZP_F32, values.size(), threads, &many_range) == CUSZP_OK);
      CHECK(many_range.minimum == one_range.minimum && many_range.maximum == one_range.maximum);
    }
  }
  return failures != 0;
}
