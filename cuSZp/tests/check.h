// What the tests share: a check that counts its failures, and drawn values.
#ifndef CUSZP_TESTS_CHECK_H
#define CUSZP_TESTS_CHECK_H

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "cuszp/cuszp.h"

inline int failures = 0;

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      ++failures;                                                          \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                      \
  } while (false)

constexpr cuszp_mode kModes[] = {CUSZP_MODE_FIXED, CUSZP_MODE_PLAIN, CUSZP_MODE_OUTLIER};

// Normal values, every fiftieth ten times larger, with a run of zeros in the middle third.
inline std::vector<float> drawn_values(uint64_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (uint64_t i = 0; i < n; ++i) {
    const bool silent = i > n / 3 && i < 2 * (n / 3);
    values[i] = silent ? 0.0f : normal(generator) * (i % 50 == 7 ? 10.0f : 1.0f);
  }
  return values;
}

inline std::vector<uint8_t> compress(const std::vector<float>& values, float bound, cuszp_mode mode, unsigned threads) {
  std::vector<uint8_t> stream(cuszp_max_compressed_bytes(values.size()));
  uint64_t bytes = 0;
  CHECK(cuszp_compress(values.data(), CUSZP_F32, values.size(), bound, mode, threads, stream.data(), stream.size(),
                       &bytes) == CUSZP_OK);
  stream.resize(bytes);
  return stream;
}

#endif
