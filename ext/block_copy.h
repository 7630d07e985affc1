// Copies of many scattered blocks, out of or into memory that one CUDA device can address: three ways of doing it.
//
// No call allocates, synchronises with the host or uses another stream than the one given. Each returns 0 or the
// number of a cudaError_t; `error_text` has words for it. Calls use the current device; `cuda_stream` is a cudaStream_t
// of that device. Tables and blocks belong to the caller, who keeps them until the stream has done the work, unless
// said otherwise. Blocks may not overlap: in which order they are copied is not defined.
#ifndef KVBENCH_EXT_BLOCK_COPY_H
#define KVBENCH_EXT_BLOCK_COPY_H

#include <cstddef>
#include <cstdint>

namespace kvbench::block_copy {

// Words for a returned number. Static text, never null.
const char* error_text(int error);

// The address by which the current device reaches pinned host memory.
// host: pinned (page-locked and mapped) host memory, not null.
// device_pointer: host, not null; gets the address.
int device_pointer(void* host, void** device_pointer);

// One kernel reads blocks and writes them elsewhere. With device memory on both sides it gathers or scatters within the
// device; with mapped host memory on one side the kernel itself moves the bytes over the bus.
// destinations, sources: tables in memory the device can address, `count` addresses each, 8-byte aligned, read when the
//   kernel runs; null only with count = 0. Blocks: memory the device can address, `block_bytes` bytes each, any
//   alignment; where both ends of a block are 16-byte aligned it moves by 16 bytes a thread, else by single bytes.
// thread_blocks: size of the grid, 1 to 2^31 - 1; how much of the device the copy may take.
// count * block_bytes may exceed 2^32. count = 0 or block_bytes = 0 does nothing.
int copy_by_kernel(void* const* destinations, const void* const* sources, uint64_t count, uint64_t block_bytes,
                   uint32_t thread_blocks, void* cuda_stream);

// One asynchronous copy a block, enqueued by a loop on the host.
// destinations, sources, sizes: host, `count` entries each, read during the call alone; null only with count = 0.
// Blocks: host or device memory. Pageable host memory makes the call wait, as for any asynchronous copy.
// After an error the copies before the one that failed may have been enqueued: wait for the stream before their memory
// is freed.
int copy_one_by_one(void* const* destinations, const void* const* sources, const size_t* sizes, uint64_t count,
                    void* cuda_stream);

// One call of cudaMemcpyBatchAsync for all blocks. Arguments as of copy_one_by_one; no block may be empty, and
// `cuda_stream` not null: the call takes no legacy default stream.
int copy_in_one_batch(void* const* destinations, const void* const* sources, const size_t* sizes, uint64_t count,
                      void* cuda_stream);

// Why copy_in_one_batch cannot be used here (built with, or running on, a CUDA before 12.8), or null when it can.
// Static text.
const char* batch_problem();

}  // namespace kvbench::block_copy

#endif
