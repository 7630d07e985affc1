/* The header is C: every function called from C99, with the statuses of wrong arguments. */
#include <stdio.h>
#include <string.h>

#include "cuszp/cuszp.h"

static int failures = 0;

static void check(int condition, const char* what) {
  if (!condition) {
    ++failures;
    fprintf(stderr, "failed: %s\n", what);
  }
}

int main(void) {
  float values[40], decoded[40], tail[8];
  uint8_t stream[4096];
  uint64_t bytes = 0;
  cuszp_range range;
  for (int i = 0; i < 40; ++i) values[i] = (float)i - 20.0f;

  check(cuszp_metadata_bytes(40) == CUSZP_TILE_BLOCKS, "metadata bytes");
  check(cuszp_max_compressed_bytes(40) == 1024 + 2 * CUSZP_MAX_RECORD_BYTES, "largest stream");
  check(cuszp_measure_range(values, CUSZP_F32, 40, 1, &range) == CUSZP_OK, "range status");
  check(range.minimum == -20.0f && range.maximum == 19.0f && range.max_abs == 20.0f && range.non_finite == 0, "range");
  check(cuszp_strict_error_bound(0.5, range.max_abs) > 0.49f, "strict bound");
  check(cuszp_strict_error_bound(0.5, range.max_abs) < 0.5f, "strict bound is below");

  check(cuszp_compress(values, CUSZP_F32, 40, 0.5f, CUSZP_MODE_PLAIN, 1, stream, sizeof stream, &bytes) == CUSZP_OK,
        "compress");
  check(cuszp_decompress(stream, bytes, 40, 0.5f, CUSZP_MODE_PLAIN, CUSZP_F32, 1, decoded) == CUSZP_OK, "decompress");
  check(memcmp(values, decoded, sizeof values) == 0, "whole numbers come back");
  check(cuszp_decompress_range(stream, bytes, 40, 0.5f, CUSZP_MODE_PLAIN, CUSZP_F32, 32, 8, 1, tail) == CUSZP_OK,
        "decompress a range");
  check(memcmp(values + 32, tail, sizeof tail) == 0, "the range comes back");

  check(cuszp_compress(values, CUSZP_F32, 40, 0.0f, CUSZP_MODE_PLAIN, 1, stream, sizeof stream, &bytes) ==
            CUSZP_INVALID_ARGUMENT,
        "a bound of 0");
  check(cuszp_compress(values, CUSZP_F32, 40, 0.5f, (cuszp_mode)7, 1, stream, sizeof stream, &bytes) ==
            CUSZP_INVALID_ARGUMENT,
        "an unknown mode");
  check(cuszp_compress(NULL, CUSZP_F32, 40, 0.5f, CUSZP_MODE_PLAIN, 1, stream, sizeof stream, &bytes) ==
            CUSZP_INVALID_ARGUMENT,
        "no values");
  check(cuszp_compress(values, CUSZP_F32, UINT64_MAX, 0.5f, CUSZP_MODE_PLAIN, 1, stream, sizeof stream, &bytes) ==
            CUSZP_TOO_LARGE,
        "too many values");
  for (int status = CUSZP_OK; status <= CUSZP_CUDA_ERROR + 1; ++status) {
    check(strlen(cuszp_status_text((cuszp_status)status)) > 0, "a text for every status");
  }
  return failures != 0;
}
