/* The public interface of the codec library on the host: sizes, error bounds, compress, decompress.
 *
 * A stream is metadata || payload in the cuSZp v3 one-dimensional format; it carries no header, so the caller
 * keeps n, the error bound, the mode and the element type. bfloat16 and float16 inputs give the stream of the
 * values widened to float32. No function allocates device memory, throws across this border or keeps state.
 */
#ifndef CUSZP_CUSZP_H
#define CUSZP_CUSZP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  CUSZP_BLOCK_ELEMENTS = 32,   /* elements coded together; blocks are independent */
  CUSZP_TILE_BLOCKS = 1024,    /* metadata is padded with zero bytes to a multiple of this */
  CUSZP_MAX_RECORD_BYTES = 128 /* 4 sign bytes and 31 planes of 4 bytes */
};

typedef enum cuszp_mode {
  CUSZP_MODE_FIXED = 0,  /* quantised values as they are */
  CUSZP_MODE_PLAIN = 1,  /* first differences within a block */
  CUSZP_MODE_OUTLIER = 2 /* as plain, the first value of a block kept apart where that is shorter */
} cuszp_mode;

typedef enum cuszp_dtype { CUSZP_F32 = 0, CUSZP_BF16 = 1, CUSZP_F16 = 2 } cuszp_dtype;

typedef enum cuszp_status {
  CUSZP_OK = 0,
  CUSZP_INVALID_ARGUMENT = 1, /* null pointer with n > 0, unknown mode or dtype, bound not finite and positive */
  CUSZP_TOO_LARGE = 2,        /* a size does not fit 64 bits or the device's limits */
  CUSZP_OUTPUT_TOO_SMALL = 3, /* capacity is below what this input needs; *stream_bytes then says how much */
  CUSZP_STREAM_TRUNCATED = 4, /* shorter than its metadata, or than the payload the metadata asks for */
  CUSZP_STREAM_TOO_LONG = 5,  /* bytes left over after the payload */
  CUSZP_BAD_METADATA = 6,     /* a byte above 31 without the outlier flag, or not 0 past the last block */
  CUSZP_OUT_OF_MEMORY = 7,
  CUSZP_CUDA_ERROR = 8,
  CUSZP_CHECKSUM_MISMATCH = 9 /* stored bytes are not those that were stored */
} cuszp_status;

/* A short English phrase for a status; never null. */
const char* cuszp_status_text(cuszp_status status);

/* Metadata bytes of a stream of n elements, padding included: 1024 * ceil(n / 32768). */
uint64_t cuszp_metadata_bytes(uint64_t n);

/* The most bytes a stream of n elements can take: metadata + 128 * ceil(n / 32). Saturates at UINT64_MAX. */
uint64_t cuszp_max_compressed_bytes(uint64_t n);

/* Finite values only: smallest, largest and largest magnitude as float32; count of NaN and infinities.
 * With no finite value minimum, maximum and max_abs are 0. */
typedef struct cuszp_range {
  float minimum;
  float maximum;
  float max_abs;
  uint64_t non_finite;
} cuszp_range;

/* values: n elements of dtype, any alignment; threads >= 1, 0 = all cores. */
cuszp_status cuszp_measure_range(const void* values, cuszp_dtype dtype, uint64_t n, unsigned threads,
                                 cuszp_range* range);

/* The largest float32 bound eb' the quantiser may use so that every finite |x| <= max_abs comes back within
 * `bound` exactly: eb' <= (min(bound, FLT_MAX - max_abs) - 2^-22 max_abs) / (1 + 2^-23) and max_abs < 2^24 eb', with
 * eb' <= 2^125 and 0.5 / eb' finite. Returns 0 when there is none. (FLT_MAX - max_abs keeps x' finite.) */
float cuszp_strict_error_bound(double bound, float max_abs);

/* values: n elements of dtype, any alignment, not modified. stream: `capacity` bytes owned by the caller, may not
 * overlap values; nothing past *stream_bytes is written. error_bound: absolute, finite, > 0.
 * The bytes do not depend on `threads` (0 = all cores). n = 0 gives an empty stream. */
cuszp_status cuszp_compress(const void* values, cuszp_dtype dtype, uint64_t n, float error_bound, cuszp_mode mode,
                            unsigned threads, uint8_t* stream, uint64_t capacity, uint64_t* stream_bytes);

/* Total: any bytes give a status, never an access outside `stream[0, stream_bytes)` and `values[0, n)`.
 * values: n elements of dtype, any alignment; written only when the whole metadata has been found valid.
 * A 16-bit dtype rounds the float32 value to nearest even. */
cuszp_status cuszp_decompress(const uint8_t* stream, uint64_t stream_bytes, uint64_t n, float error_bound,
                              cuszp_mode mode, cuszp_dtype dtype, unsigned threads, void* values);

/* As cuszp_decompress, for elements [first, first + count) only; `first` must be a multiple of 32.
 * values receives count elements. The whole metadata is still checked. */
cuszp_status cuszp_decompress_range(const uint8_t* stream, uint64_t stream_bytes, uint64_t n, float error_bound,
                                    cuszp_mode mode, cuszp_dtype dtype, uint64_t first, uint64_t count,
                                    unsigned threads, void* values);

#ifdef __cplusplus
}
#endif

#endif /* CUSZP_CUSZP_H */
