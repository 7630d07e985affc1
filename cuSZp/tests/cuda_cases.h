// One comparison of the CUDA codec with the host library: a case, its input, both results, what was written where.
#ifndef CUSZP_TESTS_CUDA_CASES_H
#define CUSZP_TESTS_CUDA_CASES_H

#include <algorithm>

#include "cuda_support.h"

namespace cuszp_test {

inline int failures = 0;
inline int comparisons = 0;

inline void expect(bool held, const std::string& what) {
  ++comparisons;
  if (held) return;
  if (++failures <= 40) std::printf("FAILED %s\n", what.c_str());
}

constexpr uint8_t kPoison = 0xA5;
constexpr size_t kGuard = 64;

inline std::vector<float> make_values(const std::string& kind, size_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> out = cache_like(n, seed);
  if (kind == "zero") std::fill(out.begin(), out.end(), 0.0f);
  if (kind == "constant") std::fill(out.begin(), out.end(), 7.0f);
  if (kind == "bits") {
    for (float& value : out) {
      const uint32_t bits = static_cast<uint32_t>(random());
      std::memcpy(&value, &bits, 4);
    }
  }
  if (kind == "edge") {
    const float edges[] = {NAN,          INFINITY,      -INFINITY,      0.5f,   -0.5f,
                           1.5f,         8388608.0f,    -8388608.0f,    1e-40f, 16777216.0f,
                           -16777217.0f, 2147483648.0f, -2147483648.0f, -0.0f,  3e38f};
    for (size_t i = 0; i < n; ++i) {
      if (random() % 5 == 0) out[i] = edges[random() % 15] * (random() % 2 ? 0.02f : 1.0f);
    }
  }
  if (kind == "sparse") {
    for (float& value : out) {
      if (random() % 40) value = 0.0f;
    }
  }
  return out;
}

struct Case {
  std::string kind;
  size_t n;
  cuszp_dtype dtype;
  cuszp_mode mode;
  float bound;
  size_t input_offset;
  size_t stream_offset;
  std::string name() const {
    char line[160];
    std::snprintf(line, sizeof line, "%s n=%zu %s %s eb=%g input+%zu stream+%zu", kind.c_str(), n, dtype_name(dtype),
                  mode_name(mode), bound, input_offset, stream_offset);
    return line;
  }
};

struct HostResult {
  std::vector<uint8_t> stream;
  std::vector<uint8_t> decoded;
};

inline HostResult host_codec(const Case& c, const std::vector<uint8_t>& values) {
  HostResult out;
  out.stream.resize(cuszp_max_compressed_bytes(c.n));
  uint64_t bytes = 0;
  const auto status =
      cuszp_compress(values.data(), c.dtype, c.n, c.bound, c.mode, 0, out.stream.data(), out.stream.size(), &bytes);
  expect(status == CUSZP_OK, "host compress " + c.name());
  out.stream.resize(bytes);
  out.decoded.resize(c.n * element_bytes(c.dtype));
  const auto back = cuszp_decompress(out.stream.data(), bytes, c.n, c.bound, c.mode, c.dtype, 0, out.decoded.data());
  expect(back == CUSZP_OK, "host decompress " + c.name());
  return out;
}

inline bool guard_intact(const std::vector<uint8_t>& bytes, size_t from, size_t to) {
  return std::all_of(bytes.begin() + from, bytes.begin() + to, [](uint8_t b) { return b == kPoison; });
}

// Device compress and decompress with the workspace given, on `stream`; compares with the host.
inline void compare_case(const Case& c, const std::vector<uint8_t>& values, const HostResult& host,
                         DeviceBytes& workspace, cudaStream_t stream) {
  const size_t value_bytes = values.size();
  DeviceBytes input(c.input_offset + value_bytes + 16), packed(c.stream_offset + host.stream.size() + kGuard);
  DeviceBytes output(c.input_offset + value_bytes + kGuard), results(64);
  input.fill(0xff);
  packed.fill(kPoison);
  output.fill(kPoison);
  results.fill(0xff);
  input.upload(values.data(), value_bytes, c.input_offset);
  uint8_t* packed_at = packed.data() + c.stream_offset;
  auto* bytes = results.as<uint64_t>();
  auto* status = results.as<uint32_t>(16);
  CUDA_OK(cudaDeviceSynchronize());
  expect(cuszp_cuda_compress(input.data() + c.input_offset, c.dtype, c.n, c.bound, nullptr, c.mode, packed_at,
                             host.stream.size(), bytes, status, workspace.data(), workspace.size(), stream) == CUSZP_OK,
         "enqueue compress " + c.name());
  expect(cuszp_cuda_decompress(packed_at, host.stream.size(), bytes, c.n, c.bound, nullptr, c.mode, c.dtype,
                               output.data() + c.input_offset, status + 1, workspace.data(), workspace.size(),
                               stream) == CUSZP_OK,
         "enqueue decompress " + c.name());
  CUDA_OK(cudaStreamSynchronize(stream));
  const auto result = results.download();
  uint64_t device_bytes;
  uint32_t statuses[2];
  std::memcpy(&device_bytes, result.data(), 8);
  std::memcpy(statuses, result.data() + 16, 8);
  expect(statuses[0] == CUSZP_OK && device_bytes == host.stream.size(),
         "compress size " + c.name() + " status " + std::to_string(statuses[0]) + " bytes " +
             std::to_string(device_bytes) + " for " + std::to_string(host.stream.size()));
  const auto streams = packed.download();
  const auto differs = std::mismatch(host.stream.begin(), host.stream.end(), streams.begin() + c.stream_offset);
  expect(differs.first == host.stream.end(),
         "stream bytes " + c.name() + " at " + std::to_string(differs.first - host.stream.begin()));
  expect(guard_intact(streams, 0, c.stream_offset) &&
             guard_intact(streams, c.stream_offset + host.stream.size(), streams.size()),
         "compress wrote outside " + c.name());
  const auto decoded = output.download();
  expect(statuses[1] == CUSZP_OK, "decompress status " + c.name() + " " + std::to_string(statuses[1]));
  const auto wrong = std::mismatch(host.decoded.begin(), host.decoded.end(), decoded.begin() + c.input_offset);
  expect(wrong.first == host.decoded.end(),
         "decoded " + c.name() + " at byte " + std::to_string(wrong.first - host.decoded.begin()));
  expect(
      guard_intact(decoded, 0, c.input_offset) && guard_intact(decoded, c.input_offset + value_bytes, decoded.size()),
      "decompress wrote outside " + c.name());
}

inline void run_case(const Case& c, DeviceBytes& workspace, cudaStream_t stream) {
  const auto values = stored(make_values(c.kind, c.n, 17 + c.n), c.dtype);
  compare_case(c, values, host_codec(c, values), workspace, stream);
}

}  // namespace cuszp_test

#endif  // CUSZP_TESTS_CUDA_CASES_H
