"""Owns the comparison of the compiled codec with the NumPy reference, over drawn values, bounds, modes and layouts."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import reference_cuszp as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kvbench import cuszp

SIZES = st.sampled_from([0, 1, 2, 31, 32, 33, 63, 65, 1000, 1023, 1025, 4097])
BOUNDS = st.sampled_from([1e-45, 1e-40, 1e-30, 1e-5, 1e-3, 0.01, 0.5, 1.0, 3.0, 1e6, 3.4e38])
DTYPES = st.sampled_from([np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)])
MODES = st.sampled_from(cuszp.MODES)
SETTINGS = settings(max_examples=150, deadline=None, derandomize=True)

# Multiples of the half quantum at which the quantiser changes its behaviour.
EDGES = [0.0, 0.5, 1.0, 1.5, 2.5, 2.0**22, 2.0**23, 2.0**23 + 1, 2.0**24, 2.0**24 + 2, 2.0**30, 2.0**31, 2.0**32, 1e30]


def random_values(seed: int, n: int, kind: str) -> NDArray[np.float32]:
    """Values of one kind: bits (any pattern), normal, blocky (many equal and zero blocks), edges of the quantiser."""
    rng = np.random.default_rng(seed)
    if kind == "bits":
        return rng.integers(0, 2**32, n, dtype=np.uint32).view(np.float32)
    if kind == "normal":
        return (rng.normal(size=n) * 10.0 ** rng.integers(-3, 3)).astype(np.float32)
    if kind == "blocky":
        return np.repeat(rng.integers(-3, 4, n) * rng.choice([0.0, 1.0, 300.0], n), 40)[:n].astype(np.float32)
    near = rng.choice(np.array([*EDGES, 0.49999997, 1e-45, 1e-39, np.inf, np.nan], np.float32), n)
    with np.errstate(invalid="ignore"):
        nudged = np.nextafter(near, rng.choice(np.array([-np.inf, np.inf], np.float32), n))
    return np.where(rng.random(n) < 0.5, near, nudged) * rng.choice(np.array([-1, 1], np.float32), n)


def same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return a.tobytes() == b.tobytes()


@SETTINGS
@given(st.integers(0, 2**32), SIZES, st.sampled_from(["bits", "normal", "blocky", "edges"]), BOUNDS, MODES)
def test_float32_streams(seed: int, n: int, kind: str, bound: float, mode: str) -> None:
    values = random_values(seed, n, kind)
    if kind == "edges":
        with np.errstate(over="ignore"):
            values = values * np.float32(min(2 * bound, 3e38))
    stream = cuszp.compress(values, bound, mode)
    assert stream == reference.encode(values, bound, mode)
    assert len(stream) <= cuszp.max_compressed_bytes(n)
    assert same_bits(cuszp.decompress(stream, n, bound, mode), reference.decode(stream, n, bound, mode))
    if mode == "plain":
        assert same_bits(cuszp.decompress(stream, n, bound, "outlier"), reference.decode(stream, n, bound, mode))


@SETTINGS
@given(st.integers(0, 2**32), SIZES, DTYPES, st.booleans(), BOUNDS, MODES)
def test_sixteen_bit_streams(seed: int, n: int, dtype: np.dtype, any_bits: bool, bound: float, mode: str) -> None:  # type: ignore[type-arg]
    wide = random_values(seed, n, "normal")
    values = wide.view(np.uint8)[: n * dtype.itemsize].view(dtype) if any_bits else wide.astype(dtype)
    with np.errstate(invalid="ignore"):
        widened = values.astype(np.float32)
    assert cuszp.compress(values, bound, mode) == reference.encode(widened, bound, mode)


@SETTINGS
@given(
    st.integers(0, 2**32), st.permutations(range(3)), st.tuples(*[st.sampled_from([-3, -1, 1, 2])] * 3), DTYPES, MODES
)
def test_layouts(seed: int, axes: list[int], steps: tuple[int, int, int], dtype: np.dtype, mode: str) -> None:  # type: ignore[type-arg]
    values = random_values(seed, 5 * 11 * 24, "normal").astype(dtype).reshape(5, 11, 24)
    view = values.transpose(axes)[:: steps[0], :: steps[1], :: steps[2]]
    expected = reference.encode(view.astype(np.float32).reshape(-1), 1e-2, mode)
    assert cuszp.compress(view, 1e-2, mode) == expected


@pytest.mark.parametrize("mode", cuszp.MODES)
def test_more_than_one_tile(mode: str) -> None:
    for n in (32767, 32768, 32769, 100_003):
        values = random_values(n, n, "normal")
        stream = cuszp.compress(values, 1e-2, mode)
        assert stream == reference.encode(values, 1e-2, mode)
        assert same_bits(cuszp.decompress(stream, n, 1e-2, mode), reference.decode(stream, n, 1e-2, mode))


@pytest.mark.parametrize("mode", cuszp.MODES)
def test_every_rate_and_every_first_value_length(mode: str) -> None:
    """Blocks whose largest residual has b bits, and whose first value has f, for all b and f from 0 to 31."""
    first, rest = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    q = np.zeros((1024, 32))
    q[:, 0] = np.where(first.reshape(-1) > 0, 2.0 ** (first.reshape(-1) - 1), 0)
    q[:, 1::3] = q[:, :1] + np.where(rest.reshape(-1) > 0, 2.0 ** (rest.reshape(-1) - 1), 0)[:, None]
    values = q.astype(np.float32).reshape(-1)
    stream = cuszp.compress(values, 0.5, mode)
    assert stream == reference.encode(values, 0.5, mode)
    assert same_bits(cuszp.decompress(stream, values.size, 0.5, mode), reference.decode(stream, values.size, 0.5, mode))


def test_the_residual_that_loses_its_value() -> None:
    """The step from 2^31 - 1 quanta to -1 is -2^31: it codes as a zero of negative sign."""
    values = np.array([np.inf, np.nan] + [0.0] * 30, np.float32)
    stream = cuszp.compress(values, 0.5)
    assert stream == reference.encode(values, 0.5, "plain")
    assert cuszp.decompress(stream, 32, 0.5)[1] == np.float32(2**31)
