// Codes four values with the installed library.
#include <cuszp/cuszp.h>

#include <vector>

int main() {
  const float values[] = {1.0f, 2.0f, 3.0f, 4.0f};
  std::vector<uint8_t> stream(cuszp_max_compressed_bytes(4));
  uint64_t bytes = 0;
  return cuszp_compress(values, CUSZP_F32, 4, 0.01f, CUSZP_MODE_PLAIN, 1, stream.data(), stream.size(), &bytes);
}
