"""Types of the compiled CPU module. Pointers are integers; sizes are in elements unless named bytes."""

class CodecError(ValueError):
    """A status other than OK; args are (status code, text)."""

MODES: dict[str, int]  # fixed 0, plain 1, outlier 2
DTYPES: dict[str, int]  # float32 0, bfloat16 1, float16 2

def status_text(status: int) -> str: ...
def metadata_bytes(n: int) -> int: ...
def max_compressed_bytes(n: int) -> int: ...
def strict_error_bound(bound: float, max_abs: float) -> float: ...
def measure_range(values: int, dtype: int, n: int, threads: int) -> tuple[float, float, float, int]:
    """(minimum, maximum, largest magnitude, non-finite count); finite values only."""

def compress(
    values: int, dtype: int, n: int, error_bound: float, mode: int, threads: int, stream: int, capacity: int
) -> int:
    """Bytes written. Releases the GIL."""

def decompress(
    stream: int, stream_bytes: int, n: int, error_bound: float, mode: int, dtype: int, threads: int, values: int
) -> None:
    """Releases the GIL."""

def decompress_range(
    stream: int,
    stream_bytes: int,
    n: int,
    error_bound: float,
    mode: int,
    dtype: int,
    first: int,
    count: int,
    threads: int,
    values: int,
) -> None:
    """Releases the GIL."""

KV_FIELDS: dict[str, tuple[int, dict[str, tuple[int, int]]]]  # structure: (bytes, {member: (offset, bytes)})
KV_FORMS: dict[str, int]  # fixed, plain, outlier, raw
KV_LAYOUTS: dict[str, int]  # thd, hdt
KV_DTYPES: dict[str, int]  # those of DTYPES and uint8
KV_ALIGNMENT: int

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
    threads: int,
    streams: int,
) -> None:
    """Contract in cuszp/cuszp_kv.h. Releases the GIL."""

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
    threads: int,
    statuses: int,
) -> None:
    """Contract in cuszp/cuszp_kv.h. Releases the GIL."""
