// Streams worked out by hand, byte for byte.
#include <string>

#include "check.h"

namespace {

std::string hex(const uint8_t* bytes, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    char pair[3];
    std::snprintf(pair, sizeof pair, "%02x", bytes[i]);
    text += pair;
  }
  return text;
}

void expect(const std::vector<float>& values, cuszp_mode mode, const std::string& metadata,
            const std::string& payload) {
  const std::vector<uint8_t> stream = compress(values, 0.01f, mode, 1);
  const size_t header = values.empty() ? 0 : 1024;
  CHECK(stream.size() == header + payload.size() / 2);
  CHECK(hex(stream.data(), metadata.size() / 2) == metadata);
  for (size_t i = metadata.size() / 2; i < header; ++i) CHECK(stream[i] == 0);
  CHECK(hex(stream.data() + header, stream.size() - header) == payload);

  std::vector<float> decoded(values.size());
  CHECK(cuszp_decompress(stream.data(), stream.size(), values.size(), 0.01f, mode, CUSZP_F32, 1, decoded.data()) ==
        CUSZP_OK);
  for (size_t i = 0; i < values.size(); ++i) CHECK(std::fabs(decoded[i] - values[i]) <= 0.01001f);
}

}  // namespace

int main() {
  const std::vector<float> five = {0.05f, 0.07f, 0.07f, -0.03f, 0.0f};
  expect(five, CUSZP_MODE_FIXED, "03", "10000000800000009000000060000000");
  expect(five, CUSZP_MODE_PLAIN, "03", "10000000c00000009800000010000000");
  expect(five, CUSZP_MODE_OUTLIER, "03", "10000000c00000009800000010000000");

  const std::vector<float> constant(40, 7.0f);
  const std::string sevens = "00000000000000008000000080000000800000008000000000000000800000000000000080000000";
  expect(constant, CUSZP_MODE_OUTLIER, "a0a0", "5e01000000005e0100000000");
  expect(constant, CUSZP_MODE_PLAIN, "0909", sevens + sevens);

  expect({10.0f, 10.02f, 10.0f, 10.02f}, CUSZP_MODE_OUTLIER, "a1", "f4012000000070000000");
  expect({}, CUSZP_MODE_PLAIN, "", "");
  return failures != 0;
}
