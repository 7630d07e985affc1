// Any bytes give a status. Streams and values lie in buffers of their exact size, so that a sanitizer sees every
// access outside; refused streams leave the values alone.
#include <algorithm>

#include "check.h"

namespace {

uint64_t refused = 0, decoded = 0;

void decode_all_ways(const std::vector<uint8_t>& stream, uint64_t n) {
  for (cuszp_mode mode : kModes) {
    for (cuszp_dtype dtype : {CUSZP_F32, CUSZP_BF16, CUSZP_F16}) {
      std::vector<uint8_t> values(n * (dtype == CUSZP_F32 ? 4 : 2), 0xee);
      const cuszp_status status =
          cuszp_decompress(stream.data(), stream.size(), n, 0.25f, mode, dtype, 1, values.data());
      CHECK(status == CUSZP_OK || status == CUSZP_STREAM_TRUNCATED || status == CUSZP_STREAM_TOO_LONG ||
            status == CUSZP_BAD_METADATA || (n > 0 && stream.empty() && status == CUSZP_INVALID_ARGUMENT));
      if (status != CUSZP_OK) {
        CHECK(std::all_of(values.begin(), values.end(), [](uint8_t byte) { return byte == 0xee; }));
      }
      ++(status == CUSZP_OK ? decoded : refused);
    }
  }
}

// Random metadata followed by as many random bytes as it asks for, give or take a few.
std::vector<uint8_t> plausible_stream(std::mt19937& generator, uint64_t n, bool outlier) {
  std::vector<uint8_t> stream(cuszp_metadata_bytes(n), 0);
  uint64_t payload = 0;
  for (uint64_t block = 0; block < (n + 31) / 32; ++block) {
    const unsigned rate = generator() % 32, bytes = outlier && generator() % 2 != 0 ? generator() % 4 + 1 : 0;
    stream[block] = static_cast<uint8_t>(bytes != 0 ? 0x80 | (bytes - 1) << 5 | rate : rate);
    payload += stream[block] == 0 ? 0 : 4 + 4 * rate + bytes;
  }
  stream.resize(stream.size() + payload + (generator() % 4 == 0 ? generator() % 8 : 0));
  if (generator() % 8 == 0) stream.resize(stream.size() - std::min<uint64_t>(stream.size(), generator() % 8));
  if (stream.size() > cuszp_metadata_bytes(n)) {
    std::generate(stream.begin() + static_cast<ptrdiff_t>(cuszp_metadata_bytes(n)), stream.end(),
                  [&] { return static_cast<uint8_t>(generator()); });
  }
  return stream;
}

}  // namespace

int main() {
  std::mt19937 generator(11);
  for (int round = 0; round < 400; ++round) {
    const uint64_t n = generator() % 400;
    decode_all_ways(plausible_stream(generator, n, round % 2 == 0), n);

    std::vector<uint8_t> noise(generator() % 3000);
    for (uint8_t& byte : noise) byte = static_cast<uint8_t>(generator() % (round % 3 == 0 ? 256 : 33));
    decode_all_ways(noise, n);
  }
  const std::vector<uint8_t> whole = compress(drawn_values(100, 5), 0.25f, CUSZP_MODE_OUTLIER, 1);
  for (size_t size = 0; size <= whole.size(); ++size) {
    decode_all_ways(std::vector<uint8_t>(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)), 100);
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    std::vector<uint8_t> altered = whole;
    altered[i] ^= static_cast<uint8_t>(1 + generator() % 255);
    decode_all_ways(altered, 100);
  }
  CHECK(decoded > 500 && refused > 500);
  return failures != 0;
}
