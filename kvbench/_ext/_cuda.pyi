"""Types of the compiled CUDA module. Pointers and streams are integers, 0 is null; contracts in cuszp/cuszp_cuda.h and,
for copies of blocks, in ext/block_copy.h. Those raise RuntimeError with CUDA's words.

Calls enqueue work on `cuda_stream` of the current device and raise CodecError when that fails; what the data led to is
written to device memory (`status`, `stream_bytes`, `results`, `statuses`).

A batch item is 48 bytes, little-endian: values (pointer), n (u64), pages (pointer), capacity in bytes (u64),
error_bound (pointer to float32 or 0), limit (pointer to float32 or 0). A batch result is 16 bytes: stored_bytes (u64),
status (u32), stored_raw (u32). A range is 24 bytes: minimum, maximum, max_abs (float32), 4 unused, non_finite (u64).
"""

from kvbench._ext._cpu import CodecError as CodecError

MODES: dict[str, int]  # fixed 0, plain 1, outlier 2
DTYPES: dict[str, int]  # float32 0, bfloat16 1, float16 2
BOUND_KINDS: dict[str, int]  # abs 0, rel 1
BOUND_POLICIES: dict[str, int]  # compatible 0, strict 1
PAGES_HOMES: dict[str, int]  # device 0, host 1
ANSWERS_BYTES: int  # of pinned memory that the calls which wait use
ANSWER_AT: dict[str, int]  # offsets in it: range, stream_bytes (u64), status (u32)
RANGE_BYTES: int
BATCH_ITEM_BYTES: int
BATCH_RESULT_BYTES: int

def status_text(status: int) -> str: ...
def device_problem() -> str | None:
    """One line that says why the current device cannot be used, or None."""

def workspace_bytes(n: int) -> int: ...
def workspace_init(workspace: int, workspace_bytes: int, cuda_stream: int) -> None:
    """Zeroes a workspace, once before its first use."""

def compress(
    values: int,
    dtype: int,
    n: int,
    error_bound: float,
    error_bound_device: int,
    mode: int,
    stream: int,
    capacity: int,
    stream_bytes: int,
    status: int,
    workspace: int,
    workspace_bytes: int,
    cuda_stream: int,
) -> None: ...
def decompress(
    stream: int,
    stream_bytes: int,
    stream_bytes_device: int,
    n: int,
    error_bound: float,
    error_bound_device: int,
    mode: int,
    dtype: int,
    values: int,
    status: int,
    workspace: int,
    workspace_bytes: int,
    cuda_stream: int,
) -> None: ...
def measure_range(
    values: int, dtype: int, n: int, measured: int, workspace: int, workspace_bytes: int, cuda_stream: int
) -> None: ...
def effective_bound(measured: int, kind: int, value: float, policy: int, bound: int, cuda_stream: int) -> None: ...
def measure_range_and_wait(
    values: int, dtype: int, n: int, answers: int, workspace: int, workspace_bytes: int, cuda_stream: int
) -> tuple[float, float, float, int]:
    """As measure_range; waits for the stream and gives the range. These calls raise RuntimeError where CUDA fails."""

def compress_and_wait(
    values: int,
    dtype: int,
    n: int,
    error_bound: float,
    mode: int,
    stream: int,
    capacity: int,
    answers: int,
    workspace: int,
    workspace_bytes: int,
    cuda_stream: int,
) -> tuple[int, int]:
    """As compress with the host's bound; waits and gives stream_bytes and status."""

def measure_compress_and_wait(
    values: int,
    dtype: int,
    n: int,
    kind: int,
    value: float,
    policy: int,
    mode: int,
    stream: int,
    capacity: int,
    answers: int,
    bound: int,
    workspace: int,
    workspace_bytes: int,
    cuda_stream: int,
) -> tuple[float, float, float, int, int, int]:
    """measure_range, effective_bound into `bound` (float32) where the range enters it, compress with it; waits once.

    Gives the range, stream_bytes and status.
    """

def decompress_and_wait(
    stream: int,
    stream_bytes: int,
    n: int,
    error_bound: float,
    mode: int,
    dtype: int,
    values: int,
    answers: int,
    workspace: int,
    workspace_bytes: int,
    cuda_stream: int,
) -> int:
    """As decompress with the host's bound and length; waits and gives the status."""

def compress_batch(
    items: int,
    count: int,
    dtype: int,
    error_bound: float,
    mode: int,
    page_bytes: int,
    home: int,
    results: int,
    most_blocks: int,
    cuda_stream: int,
) -> None: ...
def decompress_batch(
    items: int,
    stored: int,
    count: int,
    dtype: int,
    error_bound: float,
    mode: int,
    page_bytes: int,
    statuses: int,
    most_blocks: int,
    cuda_stream: int,
) -> None: ...
def kv_store(
    planes: int,
    plane_count: int,
    moves: int,
    move_count: int,
    slots: int,
    slot_count: int,
    page_numbers: int,
    slab: int,
    page_bytes: int,
    dtype: int,
    cursors: int,
    with_checksum: bool,
    home: int,
    most_elements: int,
    most_blocks: int,
    streams: int,
    cuda_stream: int,
) -> None:
    """Contract in cuszp/cuszp_cuda_kv.h; the structures are those of `_cpu.KV_FIELDS`."""

def kv_load(
    planes: int,
    plane_count: int,
    moves: int,
    move_count: int,
    slots: int,
    slot_count: int,
    page_numbers: int,
    slab: int,
    page_bytes: int,
    dtype: int,
    streams: int,
    with_checksum: bool,
    most_elements: int,
    most_blocks: int,
    statuses: int,
    cuda_stream: int,
) -> None: ...
def mapped_pointer(host: int) -> int:
    """The address by which the current device reaches pinned host memory; RuntimeError where it cannot."""

def copy_blocks_by_kernel(
    destinations: int, sources: int, count: int, block_bytes: int, thread_blocks: int, cuda_stream: int
) -> None:
    """One kernel for `count` blocks of equal size; tables of addresses in memory the device can read."""

def copy_blocks_one_by_one(destinations: int, sources: int, sizes: int, count: int, cuda_stream: int) -> None:
    """One asynchronous copy a block; tables of addresses and of sizes (size_t) in host memory."""

def copy_blocks_in_one_batch(destinations: int, sources: int, sizes: int, count: int, cuda_stream: int) -> None:
    """The same by one call of cudaMemcpyBatchAsync; takes no null stream and no empty block."""

def batch_copy_problem() -> str | None:
    """Why `copy_blocks_in_one_batch` cannot be used here, or None."""
