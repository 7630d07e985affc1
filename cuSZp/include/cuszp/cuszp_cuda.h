/* The public CUDA interface of the codec library: asynchronous calls on device memory, beside cuszp.h on the host.
 *
 * Same bytes as the host functions. No call allocates, synchronises with the host or touches the default stream;
 * every call may be captured in a CUDA graph and replayed. The host return value says whether the work was
 * enqueued; what the data led to is written to device (or mapped host) memory when the stream gets there. On cards of
 * compute capability 9.0 and newer a call's kernel may be launched while the kernel before it in the stream still runs
 * (programmatic dependent launch); it reads and writes no memory before that one has ended.
 *
 * "device" memory below means memory the current device can address: device memory or mapped pinned host memory.
 * Calls use the current device; `cuda_stream` is a cudaStream_t of that device, null = the legacy default stream.
 */
#ifndef CUSZP_CUSZP_CUDA_H
#define CUSZP_CUSZP_CUDA_H

#include "cuszp/cuszp.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One line that says why the current device cannot be used (no driver, no device, no kernel image for it), or null
 * when it can. The text belongs to the library, one a host thread, until the thread's next call. */
const char* cuszp_cuda_device_problem(void);

/* Bytes of workspace that compress, decompress and measure_range of up to n elements need. */
uint64_t cuszp_cuda_workspace_bytes(uint64_t n);

/* Zeroes a workspace; once before its first use, and again if a call on it was ever cut off (device error).
 * Every call finds it zero and leaves it zero. One workspace serves one call at a time: calls that may run
 * at the same time, on several streams, need one each.
 * workspace: device, `workspace_bytes` bytes, 16-byte aligned, owned by the caller, not null. */
cuszp_status cuszp_cuda_workspace_init(void* workspace, uint64_t workspace_bytes, void* cuda_stream);

/* values: device, n elements of dtype, any alignment (16-byte aligned is fast), only read; null only with n = 0.
 * error_bound: used when error_bound_device is null; absolute, finite, > 0.
 * error_bound_device: null, or device, one float read when the kernel runs; not finite or not > 0 gives
 *   status CUSZP_INVALID_ARGUMENT and 0 bytes.
 * stream: device, `capacity` bytes, any alignment (4-byte aligned is fast), overlaps nothing else; not null if n > 0.
 *   When the stream would be longer than `capacity`, what fits is written.
 * stream_bytes: device, 8-byte aligned, not null; gets the length the stream has or would have.
 * status: device, 4-byte aligned, not null; gets a cuszp_status. */
cuszp_status cuszp_cuda_compress(const void* values, cuszp_dtype dtype, uint64_t n, float error_bound,
                                 const float* error_bound_device, cuszp_mode mode, uint8_t* stream, uint64_t capacity,
                                 uint64_t* stream_bytes, uint32_t* status, void* workspace, uint64_t workspace_bytes,
                                 void* cuda_stream);

/* Total: any bytes lead to a status, never to an access outside stream[0, stream_bytes) and values[0, n).
 * stream: device, any alignment (4-byte aligned is fast), only read; null only with n = 0.
 * stream_bytes: length, or the memory's size when stream_bytes_device is given.
 * stream_bytes_device: null, or device, 8-byte aligned: the length, read when the kernel runs; more than
 *   `stream_bytes` gives CUSZP_STREAM_TRUNCATED.
 * values: device, n elements of dtype, any alignment (16-byte aligned is fast), overlaps nothing else; what it holds
 *   after a status other than CUSZP_OK is unspecified. A 16-bit dtype rounds the float32 value to nearest even.
 * error_bound, error_bound_device, status, workspace, cuda_stream: as above. */
cuszp_status cuszp_cuda_decompress(const uint8_t* stream, uint64_t stream_bytes, const uint64_t* stream_bytes_device,
                                   uint64_t n, float error_bound, const float* error_bound_device, cuszp_mode mode,
                                   cuszp_dtype dtype, void* values, uint32_t* status, void* workspace,
                                   uint64_t workspace_bytes, void* cuda_stream);

/* As cuszp_measure_range, on the device.
 * values: device, n elements of dtype, any alignment (16-byte aligned is fast), only read; null only with n = 0.
 * range: device, 8-byte aligned, not null.
 * workspace: as above, of any size that cuszp_cuda_workspace_bytes gives. */
cuszp_status cuszp_cuda_measure_range(const void* values, cuszp_dtype dtype, uint64_t n, cuszp_range* range,
                                      void* workspace, uint64_t workspace_bytes, void* cuda_stream);

typedef enum cuszp_cuda_bound_kind {
  CUSZP_CUDA_BOUND_ABS = 0, /* in the unit of the values */
  CUSZP_CUDA_BOUND_REL = 1  /* a fraction of maximum - minimum, subtracted in float32 */
} cuszp_cuda_bound_kind;

typedef enum cuszp_cuda_bound_policy {
  CUSZP_CUDA_BOUND_COMPATIBLE = 0, /* the bound asked for, as float32 */
  CUSZP_CUDA_BOUND_STRICT = 1      /* cuszp_strict_error_bound of it */
} cuszp_cuda_bound_policy;

/* Turns a measured range into the float32 bound to quantise with; 0 when no bound serves (a constant array under
 * REL, no strict bound, overflow), which compress answers with CUSZP_INVALID_ARGUMENT and a batch by storing raw.
 * Non-finite values do not enter: see range.non_finite.
 * range: device, 8-byte aligned, read when the kernel runs. value: finite, > 0. bound: device, 4-byte aligned. */
cuszp_status cuszp_cuda_effective_bound(const cuszp_range* range, cuszp_cuda_bound_kind kind, double value,
                                        cuszp_cuda_bound_policy policy, float* bound, void* cuda_stream);

/* One of many independent arrays and the place of its stored form.
 *
 * The stored form is the trimmed stream, ceil(n / 32) metadata bytes and the payload without the zero padding
 * between them, or the elements themselves ("raw"). */
typedef struct cuszp_cuda_batch_item {
  void* values;             /* device, n elements, any alignment (16-byte aligned is fast); compress only reads them */
  uint64_t n;               /* elements */
  void* const* pages;       /* device array of page pointers, in order; with page_bytes = 0 the memory itself. Pages and
                               memory: device, 16-byte aligned, owned by the caller */
  uint64_t capacity;        /* bytes that may be written; the pages cover it. Decompress ignores it */
  const float* error_bound; /* device: the bound to quantise with; null: the call's. Not finite or not > 0: raw */
  const float* limit;       /* device: largest |x - x'| allowed, checked for every value as float32; a stream that
                               breaks it (NaN and infinities do) is stored raw. Null: unchecked */
} cuszp_cuda_batch_item;

typedef struct cuszp_cuda_batch_result {
  uint64_t stored_bytes; /* stored, or what it would have taken */
  uint32_t status;     /* a cuszp_status: CUSZP_OK or CUSZP_OUTPUT_TOO_SMALL (then the pages' content is unspecified) */
  uint32_t stored_raw; /* 1: the elements themselves are stored */
} cuszp_cuda_batch_result;

/* Where the pages of a batch lie. The bytes are the same; records are stored in the way that suits the memory. */
typedef enum cuszp_cuda_pages_home {
  CUSZP_CUDA_PAGES_ON_DEVICE = 0,
  CUSZP_CUDA_PAGES_ON_HOST = 1 /* mapped pinned memory */
} cuszp_cuda_pages_home;

/* Compresses `count` arrays in one launch. An array is stored raw when its stream would not be smaller than its
 * elements, would not fit where they do, or breaks its limit.
 * items: device, 8-byte aligned, read when the kernel runs. results: device, 8-byte aligned, one an item.
 * error_bound: for items without one of their own; 0 when all have one.
 * page_bytes: 0, or a power of two of at least 256. most_blocks: thread blocks to use at most; 0 = what fills the
 * device. 16 to 64 fill a PCIe link and leave the rest of the device alone. */
cuszp_status cuszp_cuda_compress_batch(const cuszp_cuda_batch_item* items, uint64_t count, cuszp_dtype dtype,
                                       float error_bound, cuszp_mode mode, uint64_t page_bytes,
                                       cuszp_cuda_pages_home home, cuszp_cuda_batch_result* results,
                                       uint32_t most_blocks, void* cuda_stream);

/* The inverse. Total: any stored bytes and any `stored` lead to a status, never to an access outside the first
 * stored_bytes bytes of an item's pages and its values; pages must cover stored_bytes.
 * stored: device, 8-byte aligned, the results of compress; an item whose status there is not CUSZP_OK gets that
 * status and is left alone. statuses: device, 4-byte aligned, one an item. The rest as above. */
cuszp_status cuszp_cuda_decompress_batch(const cuszp_cuda_batch_item* items, const cuszp_cuda_batch_result* stored,
                                         uint64_t count, cuszp_dtype dtype, float error_bound, cuszp_mode mode,
                                         uint64_t page_bytes, uint32_t* statuses, uint32_t most_blocks,
                                         void* cuda_stream);

#ifdef __cplusplus
}
#endif

#endif /* CUSZP_CUSZP_CUDA_H */
