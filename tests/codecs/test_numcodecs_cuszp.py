"""Owns the tests of `cuszp` under numcodecs and zarr."""

from __future__ import annotations

import json
import pickle

import ml_dtypes
import numcodecs
import numpy as np
import pytest

from kvbench.codecs import frame
from kvbench.codecs.numcodecs_cuszp import CuszpNumcodec
from kvbench.errors import UsageError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def _values(*shape: int, dtype: object = np.float32) -> np.ndarray:
    return np.random.default_rng(4).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, BFLOAT16], ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (40, 3, 64)], ids=str)
def test_round_trip(dtype, shape):
    values = _values(*shape, dtype=dtype)
    if values.size > 5:
        values[0, 1, 2:4] = [np.nan, -np.inf]
    codec = CuszpNumcodec(error_bound=0.05, bound_kind="abs")
    encoded = codec.encode(values)
    decoded = codec.decode(encoded)
    assert decoded.dtype == values.dtype
    assert decoded.shape == values.shape
    left, right = values.astype(np.float64), decoded.astype(np.float64)
    finite = np.isfinite(left)
    assert np.array_equal(left[~finite], right[~finite], equal_nan=True)
    half_ulp = 0.0 if dtype is np.float32 else np.abs(left[finite]) * float(ml_dtypes.finfo(dtype).eps)
    assert np.all(np.abs(left[finite] - right[finite]) <= 0.05 + half_ulp)
    assert frame.from_bytes(encoded).nbytes() == len(encoded)


def test_config_round_trip():
    config = {"id": "cuszp", "error_bound": 1e-3, "bound_kind": "std", "mode": "fixed", "bound_policy": "compatible"}
    codec = numcodecs.get_codec(dict(config))
    assert isinstance(codec, CuszpNumcodec)
    assert json.loads(json.dumps(codec.get_config())) == config
    assert numcodecs.get_codec(codec.get_config()) == codec
    assert pickle.loads(pickle.dumps(codec)) == codec
    assert "mode='fixed'" in repr(codec)


def test_found_by_its_entry_point():
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="numcodecs.codecs", name="cuszp")
    assert entry.load() is CuszpNumcodec


def test_decoding_needs_no_parameters_and_fills_out():
    values = _values(3000)
    encoded = CuszpNumcodec(error_bound=1e-4, mode="outlier").encode(values)
    out = np.empty(3000, np.float32)
    assert CuszpNumcodec().decode(encoded, out=out) is out
    assert np.max(np.abs(out - values)) <= 1e-4 * np.ptp(values)
    for other in (bytearray(encoded), memoryview(encoded), np.frombuffer(encoded, np.uint8)):
        assert np.array_equal(CuszpNumcodec().decode(other), out)


def test_memory_in_other_orders_and_read_only():
    values = _values(33, 65)
    codec = CuszpNumcodec()
    expected = codec.decode(codec.encode(values.copy()))
    values.flags.writeable = False
    assert np.array_equal(codec.decode(codec.encode(values)), expected)
    assert np.array_equal(codec.decode(codec.encode(np.repeat(values, 2, axis=1)[:, ::2])), expected)
    fortran = codec.decode(codec.encode(np.asfortranarray(values)))
    assert fortran.shape == (33 * 65,)
    assert np.max(np.abs(fortran.reshape(33, 65, order="F") - values)) <= 1e-2 * np.ptp(values)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros(4), "not dtype.'float64'"),
        (b"bytes", "not dtype.'uint8'|not dtype"),
        (np.zeros(4, ">f4"), "native byte order"),
        (np.zeros(4, np.uint16), "not dtype.'uint16'"),
    ],
)
def test_arrays_it_does_not_take(bad, message):
    with pytest.raises(UsageError, match=message):
        CuszpNumcodec().encode(bad)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"error_bound": -1.0}, "error bound -1.0"),
        ({"error_bound": 0}, "'cuszp', error_bound: error bound 0.0 is not a finite number above 0"),
        ({"error_bound": True}, "'cuszp', error_bound: error bound True is not a number"),
        ({"error_bound": "x"}, "'cuszp', error_bound: .*got 'x'"),
        ({"bound_kind": "percent"}, "'cuszp', bound_kind: .*got 'percent'"),
        ({"mode": "fast"}, "mode: .*got 'fast'"),
        ({"bound_policy": "loose"}, "bound_policy: .*got 'loose'"),
    ],
)
def test_bad_parameters(params, message):
    for make in (lambda: CuszpNumcodec(**params), lambda: numcodecs.get_codec({"id": "cuszp", **params})):
        with pytest.raises(UsageError, match=message):
            make()


def test_an_unknown_key_of_a_configuration_is_named():
    with pytest.raises(UsageError, match="no parameter 'level'; it takes: error_bound, bound_kind, mode, bound_policy"):
        numcodecs.get_codec({"id": "cuszp", "level": 3})


@pytest.mark.parametrize("value", [[1], 3, None, "text"], ids=str)
def test_what_is_no_array_and_no_bytes_is_refused(value):
    with pytest.raises(UsageError, match=f"takes arrays, not a {type(value).__name__}"):
        CuszpNumcodec().encode(value)
    with pytest.raises(UsageError, match=f"bytes of a frame, not a {type(value).__name__}"):
        CuszpNumcodec().decode(value)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("place", ["compressors", "filters"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_zarr(tmp_path, order, place, dtype):
    zarr = pytest.importorskip("zarr")
    values = _values(70, 50, dtype=dtype)
    codec = CuszpNumcodec(error_bound=0.01, bound_kind="abs")
    others = {"filters": None} if place == "compressors" else {"compressors": None}
    array = zarr.create_array(
        tmp_path / "cache.zarr",
        shape=values.shape,
        chunks=(32, 50),
        dtype=dtype,
        zarr_format=2,
        order=order,
        **{place: codec if place == "compressors" else [codec]},
        **others,
    )
    array[:] = values
    read = zarr.open_array(tmp_path / "cache.zarr", mode="r")
    half_ulp = 0.0 if dtype == "float32" else np.abs(values) * 2.0**-11
    assert np.all(np.abs(read[:].astype(np.float64) - values) <= 0.01 + half_ulp)
    assert (tmp_path / "cache.zarr" / "0.0").read_bytes().startswith(b"\x8fCZP")
