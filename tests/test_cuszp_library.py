"""Owns the tests of the compiled module `_cpu`: damaged streams, ranges, threads, limits, the strict bound."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest
import reference_cuszp as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kvbench import _ext, cuszp

if TYPE_CHECKING:
    from kvbench._ext import _cpu
else:
    _cpu = _ext.cpu()

FLOAT32, BFLOAT16, FLOAT16 = (_cpu.DTYPES[name] for name in ("float32", "bfloat16", "float16"))
ELEMENTS = {FLOAT32: np.dtype(np.float32), BFLOAT16: np.dtype(ml_dtypes.bfloat16), FLOAT16: np.dtype(np.float16)}
SETTINGS = settings(max_examples=200, deadline=None, derandomize=True)
FAST = settings(max_examples=1000, deadline=None, derandomize=True)


def compress(values: NDArray[np.float32], bound: float, mode: str, threads: int, capacity: int) -> bytes:
    """Codes into a guarded buffer; nothing past the stream may change."""
    buffer = np.full(capacity + 64, 0xA5, np.uint8)
    address, number = values.ctypes.data, _cpu.MODES[mode]
    size = _cpu.compress(address, FLOAT32, values.size, bound, number, threads, buffer.ctypes.data, capacity)
    assert (buffer[size:] == 0xA5).all()
    return buffer[:size].tobytes()


def decompress(
    stream: bytes, n: int, bound: float, mode: str, first: int, count: int, dtype: int = FLOAT32, threads: int = 1
) -> NDArray[np.generic]:
    """Decodes into a guarded buffer; what lies past the values must not change, nor anything when it raises."""
    element = ELEMENTS[dtype]
    data, guarded = np.frombuffer(stream, np.uint8), np.full(count * element.itemsize + 64, 0xA5, np.uint8)
    try:
        _cpu.decompress_range(
            data.ctypes.data, data.size, n, bound, _cpu.MODES[mode], dtype, first, count, threads, guarded.ctypes.data
        )
    except _cpu.CodecError:
        assert (guarded == 0xA5).all()
        raise
    assert (guarded[count * element.itemsize :] == 0xA5).all()
    return guarded[: count * element.itemsize].view(element)


def kv_like(n: int, seed: int = 1) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=n) * np.where(np.arange(n) % 50 == 3, 15, 1)).astype(np.float32)


@pytest.mark.parametrize("mode", cuszp.MODES)
def test_the_bytes_do_not_depend_on_the_threads(mode: str) -> None:
    values = kv_like(700_001)
    values[100_000:300_000] = 0
    one = compress(values, 0.01, mode, 1, cuszp.max_compressed_bytes(values.size))
    for threads in (2, 3, 8, 255, 100_000):
        assert compress(values, 0.01, mode, threads, cuszp.max_compressed_bytes(values.size)) == one
        assert compress(values, 0.01, mode, threads, len(one)) == one
        for first, count in ((0, values.size), (32 * 5000, 400_000)):
            many = decompress(one, values.size, 0.01, mode, first, count, threads=threads)
            assert many.tobytes() == decompress(one, values.size, 0.01, mode, first, count).tobytes()


@SETTINGS
@given(st.integers(0, 2000), st.sampled_from(cuszp.MODES), st.integers(1, 3), st.data())
def test_a_small_buffer_is_refused_and_left_alone_past_its_end(
    n: int, mode: str, threads: int, data: st.DataObject
) -> None:
    values = kv_like(n)
    size = len(cuszp.compress(values, 0.01, mode))
    assert len(compress(values, 0.01, mode, threads, size)) == size
    if size:
        capacity = data.draw(st.integers(0, size - 1))
        buffer = np.full(capacity + 64, 0xA5, np.uint8)
        with pytest.raises(_cpu.CodecError, match="too small"):
            _cpu.compress(values.ctypes.data, FLOAT32, n, 0.01, _cpu.MODES[mode], threads, buffer.ctypes.data, capacity)
        assert (buffer[capacity:] == 0xA5).all()


@FAST
@given(st.integers(0, 300), st.sampled_from(cuszp.MODES), st.integers(1, 2000), st.data())
def test_damaged_streams_are_refused_or_decoded(n: int, mode: str, other_n: int, data: st.DataObject) -> None:
    stream = bytearray(cuszp.compress(kv_like(n), 0.01, mode))
    for position, value in data.draw(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4)):
        if stream:
            # Half of the changes fall on the metadata that counts.
            stream[position % (len(stream) if position % 2 else -(-n // 32))] = value
    cut = data.draw(st.sampled_from([0, 0, 0, 1, 4, len(stream) // 2]))
    damaged = bytes(stream[: len(stream) - cut]) + data.draw(st.sampled_from([b"", b"", b"\1", b"\0" * 8]))
    for count in (n, other_n):
        try:
            expected = reference.decode(damaged, count, 0.01, mode)
        except reference.BadStreamError:
            with pytest.raises(_cpu.CodecError):
                decompress(damaged, count, 0.01, mode, 0, count)
        else:
            assert decompress(damaged, count, 0.01, mode, 0, count).tobytes() == expected.tobytes()


@SETTINGS
@given(st.binary(max_size=1400), st.integers(1, 1000), st.sampled_from(cuszp.MODES))
def test_random_bytes_are_refused_or_decoded(tail: bytes, n: int, mode: str) -> None:
    for stream in (tail, tail[: -(-n // 32)].ljust(1024, b"\0") + tail):
        try:
            expected = reference.decode(stream, n, 0.5, mode)
        except reference.BadStreamError:
            with pytest.raises(_cpu.CodecError):
                decompress(stream, n, 0.5, mode, 0, n)
        else:
            assert decompress(stream, n, 0.5, mode, 0, n).tobytes() == expected.tobytes()


def test_the_status_of_each_fault() -> None:
    values = kv_like(100)
    stream = cuszp.compress(values, 0.01, "outlier")
    cases = {
        stream[:-1]: 4,
        stream[:1000]: 4,
        stream + b"\0": 5,
        b"\x20" + stream[1:]: 6,  # bits 5 or 6 without bit 7
        stream[:500] + b"\1" + stream[501:]: 6,  # past the last block
    }
    for damaged, code in cases.items():
        with pytest.raises(_cpu.CodecError) as refusal:
            decompress(damaged, 100, 0.01, "outlier", 0, 100)
        assert refusal.value.args[0] == code
    with pytest.raises(_cpu.CodecError) as refusal:
        decompress(b"\x81" + stream[1:], 100, 0.01, "plain", 0, 100)
    assert refusal.value.args[0] == 6
    assert isinstance(refusal.value, ValueError)


@pytest.mark.parametrize("dtype", ELEMENTS)
@pytest.mark.parametrize("mode", cuszp.MODES)
def test_a_range_is_a_slice(mode: str, dtype: int) -> None:
    n = 5003
    stream = cuszp.compress(kv_like(n), 0.01, mode)
    whole = decompress(stream, n, 0.01, mode, 0, n, dtype)
    for first, count in ((0, 0), (0, 1), (32, 33), (4992, 11), (5000 // 32 * 32, 3), (64, n - 64)):
        piece = decompress(stream, n, 0.01, mode, first, count, dtype)
        assert piece.tobytes() == whole[first : first + count].tobytes()
    for first, count in ((1, 5), (32, n), (5024, 0), (2**63, 2**63)):
        with pytest.raises(_cpu.CodecError, match="invalid argument"):
            _cpu.decompress_range(0, 0, n, 0.01, 1, dtype, first, count, 1, 0)


@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT16])
def test_narrow_outputs_round_to_nearest_even(dtype: int) -> None:
    """Every exponent, halfway cases included, against NumPy's own rounding; NaN cannot come out of a decoder."""
    q = np.concatenate([np.arange(0, 70_000, 7), 2 ** np.arange(31), 2 ** np.arange(31) - 1, 3 * 2 ** np.arange(29)])
    values = np.concatenate([q, -q]).astype(np.float32)
    for bound in (0.5, 2.0**-26, 2.0**-140, 2.0**-30 * 1.2345, 1e30, 3e38):
        with np.errstate(over="ignore"):
            scaled = values * np.float32(bound) * np.float32(2)
        stream = cuszp.compress(scaled, bound, "fixed")
        wide = cuszp.decompress(stream, values.size, bound, "fixed")
        with np.errstate(over="ignore"):
            expected = wide.astype(ELEMENTS[dtype])
        assert decompress(stream, values.size, bound, "fixed", 0, values.size, dtype).tobytes() == expected.tobytes()


def test_the_largest_stream_is_reached() -> None:
    values = np.tile(np.array([3e38, -1.0], np.float32), 50)
    stream = cuszp.compress(values, 1e-30, "fixed")
    assert len(stream) == cuszp.max_compressed_bytes(values.size)


def test_sizes_that_do_not_fit() -> None:
    assert _cpu.max_compressed_bytes(2**64 - 1) == 2**64 - 1
    assert _cpu.metadata_bytes(2**64 - 1) == 2**59
    byte = ctypes.c_uint8()
    with pytest.raises(_cpu.CodecError, match="too many"):
        _cpu.compress(ctypes.addressof(byte), FLOAT32, 2**63, 0.1, 0, 1, ctypes.addressof(byte), 1)
    with pytest.raises(_cpu.CodecError, match="shorter"):
        _cpu.decompress(ctypes.addressof(byte), 1, 2**40, 0.1, 0, FLOAT32, 1, ctypes.addressof(byte))


@pytest.mark.parametrize(
    ("mode", "dtype", "bound"), [(3, 0, 1.0), (-1, 0, 1.0), (0, 3, 1.0), (0, 0, 0.0), (0, 0, np.nan)]
)
def test_invalid_arguments(mode: int, dtype: int, bound: float) -> None:
    with pytest.raises(_cpu.CodecError) as refusal:
        _cpu.compress(0, dtype, 0, bound, mode, 1, 0, 0)
    assert refusal.value.args == (1, "invalid argument")
    with pytest.raises(_cpu.CodecError, match="invalid"):
        _cpu.decompress(0, 0, 0, bound, mode, dtype, 1, 0)
    with pytest.raises(_cpu.CodecError, match="invalid"):
        _cpu.compress(0, 0, 1, 1.0, 0, 1, 0, 0)


@pytest.mark.slow
def test_more_than_2_to_the_31_elements() -> None:
    """The untouched middle of the input is one page of zeros to the system, and only the tail is decoded."""
    n = 2**31 + 100_037
    values = np.zeros(n, np.float16)
    values[:50], values[-1000:] = 3, np.arange(1000)
    stream = np.empty(_cpu.metadata_bytes(n) + 40 * 128, np.uint8)
    size = _cpu.compress(values.ctypes.data, FLOAT16, n, 0.25, 1, 2, stream.ctypes.data, stream.size)
    first = (n - 1000) // 32 * 32
    tail = np.empty(n - first, np.float16)
    _cpu.decompress_range(stream.ctypes.data, size, n, 0.25, 1, FLOAT16, first, tail.size, 2, tail.ctypes.data)
    np.testing.assert_array_equal(tail, values[first:])
