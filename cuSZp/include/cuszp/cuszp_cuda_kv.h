/* KV blocks to slots and back on the device: cuszp_kv.h, asynchronous. Same bytes a stream; streams of a slot take
 * their places in any order. No call allocates, synchronises with the host or touches the default stream; every call
 * may be captured in a CUDA graph. "device" memory as in cuszp_cuda.h: whatever the current device can address.
 */
#ifndef CUSZP_CUSZP_CUDA_KV_H
#define CUSZP_CUSZP_CUDA_KV_H

#include "cuszp/cuszp_cuda.h"
#include "cuszp/cuszp_kv.h"

#ifdef __cplusplus
extern "C" {
#endif

/* call: read now; the tables it points to (device, 8-byte aligned, page numbers 4-byte) are read when
 * the kernel runs. Each table read over the link adds its latency to a stream: tables of many streams belong on the
 * device.
 * cursors, with_checksum, streams: as in cuszp_kv_store; cursors in the device's own memory, streams 16-byte aligned.
 * home: where the slab is: on the host fewer thread blocks are used by default, as the link is what limits.
 * most_elements: of the largest block of any plane, or more; it sets the launch. Blocks of more than 32768 elements, or
 * of more than 128 KiB, take a slow way; a block with more elements than said gets CUSZP_TOO_LARGE.
 * most_blocks: thread blocks to use at most; 0 = what fills the device, or for a store to the host the link. A block of
 * 16384 elements is the work of 512 threads: 32 to 96 such thread blocks fill a PCIe link outward, 64 to 128 inward,
 * and leave the rest of the device alone. */
cuszp_status cuszp_cuda_kv_store(const cuszp_kv_call* call, uint64_t* cursors, int with_checksum,
                                 cuszp_cuda_pages_home home, uint32_t most_elements, uint32_t most_blocks,
                                 cuszp_kv_stream* streams, void* cuda_stream);

/* The inverse; total as cuszp_kv_load is. streams: 16-byte aligned. statuses: 4-byte aligned. */
cuszp_status cuszp_cuda_kv_load(const cuszp_kv_call* call, const cuszp_kv_stream* streams, int with_checksum,
                                uint32_t most_elements, uint32_t most_blocks, uint32_t* statuses, void* cuda_stream);

#ifdef __cplusplus
}
#endif

#endif /* CUSZP_CUSZP_CUDA_KV_H */
