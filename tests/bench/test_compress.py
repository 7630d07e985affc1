"""Checks the bench of `compress` and `sweep`: what it plans, what it times, and how it judges what came back."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from fake_bench import CALL_S, BoundlessShifting, LosslessShifting, Shifting, context
from numpy.typing import NDArray

from kvbench.bench import compress
from kvbench.bench.breakeven import Transfer
from kvbench.bench.context import Preparation
from kvbench.bench.outcome import Outcome
from kvbench.codecs.base import Codec
from kvbench.config import build_experiment
from kvbench.errors import UnavailableError
from kvbench.record.schema import METRIC_UNITS, Case, Link

NO_GPU = "no NVIDIA driver"


def prepared(**fields: object) -> Preparation:
    return compress.prepare(build_experiment("sweep", fields), NO_GPU)


def outcomes(**fields: object) -> list[tuple[Case, Outcome]]:
    shared = context()
    return [(case, compress.run(case, shared)) for case in prepared(**fields).plan.cases]


def known(value: float | None) -> float:
    assert value is not None
    return value


def saved(path: Path, values: NDArray[np.float32]) -> Path:
    np.save(path, values)
    return path


def test_a_case_has_every_number_and_only_known_ones() -> None:
    [(case, k), _] = outcomes(source="kv", tensor_size=4096)
    assert k.status == "ok"
    assert set(k.phases) == {"range", "encode_kernel", "decode_kernel", "encode_call", "decode_call"}
    assert set(k.metrics) <= set(METRIC_UNITS)
    assert {"ratio", "rmse", "psnr_db", "max_excess", "break_even_gbps", "effective_gbps"} < set(k.metrics)
    for name in ("scratch_bytes", "device_copy_gbps", "encode_floor_share", "decode_floor_share"):
        assert k.metrics[name] is None  # of a GPU
    for phase in k.phases.values():
        assert phase.work_bytes == case.raw_bytes == 4 * 4096
        assert phase.median_s == CALL_S
        assert len(phase.samples_s) == 2
        assert phase.cache == "warm"
        assert phase.chunk_bytes is None
    compressed = known(k.metrics["compressed_bytes"])
    assert k.metrics["ratio"] == case.raw_bytes / compressed
    assert k.metrics["bits_per_value"] == 8 * compressed / 4096
    assert known(k.metrics["stream_bytes"]) < compressed
    assert k.metrics["violations"] == 0
    link = Link(out_gbps=25.0, in_gbps=25.0, origin="assumed")
    expected = Transfer(case.raw_bytes, int(compressed), CALL_S, CALL_S).metrics(link)
    assert {name: k.metrics[name] for name in expected} == expected
    assert k.histogram is not None
    assert sum(k.histogram.counts) == 4096


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("layout", ["thd", "htd", "hdt"])
def test_every_dtype_and_layout_keeps_its_bound(dtype: str, layout: str) -> None:
    for case, outcome in outcomes(source="kv", tensor_size=32768, dtype=dtype, layout=layout, error_bound=1e-2):
        assert (outcome.status, outcome.reason) == ("ok", None)
        assert case.shape == {"thd": (32, 8, 128), "htd": (8, 32, 128), "hdt": (8, 128, 32)}[layout]
        assert (outcome.metrics["violations_after_cast"] is None) == (dtype == "float32")


def test_raw_has_no_bound_and_no_error() -> None:
    for case, outcome in outcomes(source="gaussian", tensor_size=1000, codec="raw", dtype=["float32", "bfloat16"]):
        assert outcome.status == "ok"
        assert case.bound is None
        assert outcome.metrics["ratio"] == 1.0
        for name in ("violations", "violations_after_cast", "effective_error_bound", "break_even_gbps", "psnr_db"):
            assert outcome.metrics[name] is None
        for name in ("max_abs_error", "mean_abs_error", "rmse"):
            assert outcome.metrics[name] == 0
        assert set(outcome.phases) == {"encode_call", "decode_call"}
        assert outcome.histogram is None


def quantised(values: NDArray[np.float32], bound: float) -> NDArray[np.float32]:
    """What the codec's arithmetic makes of non-negative values: single float32 operations, one after another."""
    eb = np.float32(bound)
    steps = np.trunc(values * (np.float32(0.5) / eb) + np.float32(0.5)).astype(np.float32)
    return steps * eb * np.float32(2)


def test_c01_a_long_ramp_strict(tmp_path: Path) -> None:
    ramp = np.arange(1, 100_001, dtype=np.float32)
    path = saved(tmp_path / "ramp.npy", ramp)
    [(case, outcome)] = outcomes(input=path, mode="plain", bound_kind="abs", error_bound=1e-2)
    assert outcome.status == "ok"
    assert outcome.metrics["violations"] == 0
    assert known(outcome.metrics["max_abs_error"]) <= 1e-2
    # The values are too large against the bound for a float32 product, so they are kept as they are, and it shows.
    assert outcome.flags == ["stored_raw"]
    assert known(outcome.metrics["compressed_bytes"]) >= case.raw_bytes
    assert known(outcome.metrics["ratio"]) <= 1
    assert outcome.metrics["break_even_gbps"] is None


@pytest.mark.parametrize("offset", [0.0, 0.37])
def test_c01_a_long_ramp_compatible(tmp_path: Path, offset: float) -> None:
    ramp = np.arange(1, 100_001, dtype=np.float32) + np.float32(offset)
    path = saved(tmp_path / "ramp.npy", ramp)
    [(case, outcome)] = outcomes(
        input=path, mode="plain", bound_kind="abs", error_bound=1e-2, bound_policy="compatible"
    )
    error = np.abs(ramp.astype(np.float64) - quantised(ramp, 1e-2).astype(np.float64))
    assert outcome.metrics["violations"] == int((error > 1e-2).sum())
    assert outcome.metrics["max_abs_error"] == error.max() < 0.05  # nothing was zeroed
    assert known(outcome.metrics["ratio"]) == case.raw_bytes / known(outcome.metrics["compressed_bytes"])
    assert outcome.histogram is not None
    assert outcome.histogram.below + outcome.histogram.above == outcome.metrics["violations"]
    if not offset:  # whole numbers are whole numbers of quanta here, so they come back as they were
        assert (outcome.status, outcome.metrics["max_excess"], error.max()) == ("ok", None, 0)
        return
    assert outcome.metrics["max_excess"] == error.max() / 1e-2 > 1
    assert (outcome.status, outcome.reason_code) == ("invalid", "bound_exceeded")
    assert outcome.reason is not None
    assert f"{outcome.metrics['violations']} of 100000 values" in outcome.reason
    assert outcome.reason.endswith("; checked on the float32 values")


def test_c02_non_finite_values(tmp_path: Path) -> None:
    values = np.random.default_rng(2).standard_normal(4096).astype(np.float32)
    values[[10, 20, 30]] = [np.nan, np.inf, -np.inf]
    path = saved(tmp_path / "odd.npy", values)
    for _, outcome in outcomes(input=path, bound_policy=["strict", "compatible"], mode=["fixed", "plain", "outlier"]):
        assert outcome.metrics["non_finite_count"] == 3
        assert "non_finite" in outcome.flags
        assert outcome.status == "ok"
        json.dumps(outcome.metrics, allow_nan=False)


def test_c04_effective_bounds_of_a_range_of_100(tmp_path: Path) -> None:
    values = np.linspace(0, 100, 5000, dtype=np.float32)
    path = saved(tmp_path / "range.npy", values)
    plan = prepared(input=path, bound_kind=["rel", "abs"], error_bound=1e-3)
    assert any("fraction of max - min" in note for note in plan.notes)
    shared = context()
    found = {case.bound.kind: compress.run(case, shared) for case in plan.plan.cases if case.bound is not None}
    assert found["rel"].metrics["effective_error_bound"] == pytest.approx(0.1)
    assert found["abs"].metrics["effective_error_bound"] == 1e-3
    # The verdict is on the effective bound: the relative one leaves errors that the absolute one would not.
    assert 1e-3 < known(found["rel"].metrics["max_abs_error"]) <= 0.1
    assert known(found["abs"].metrics["max_abs_error"]) <= 1e-3
    assert [outcome.status for outcome in found.values()] == ["ok", "ok"]


def test_a_constant_tensor_is_exact(tmp_path: Path) -> None:
    path = saved(tmp_path / "constant.npy", np.full(500, 0.3, dtype=np.float32))
    [(_, outcome)] = outcomes(input=path)
    assert outcome.status == "ok"
    assert outcome.flags == ["constant"]
    assert outcome.metrics["effective_error_bound"] == 0.0
    assert outcome.metrics["max_abs_error"] == 0.0
    assert outcome.metrics["psnr_db"] is None
    assert outcome.histogram is None


def run_with(monkeypatch: pytest.MonkeyPatch, codec: Codec, bound_kind: str = "rel") -> Outcome:
    monkeypatch.setattr(compress.codecs, "make", lambda name, params: codec)
    [case, _] = prepared(source="gaussian", tensor_size=1000, bound_kind=bound_kind).plan.cases
    if "bound" not in codec.axes:
        case = case.model_copy(update={"bound": None})
    return compress.run(case, context())


def test_a_strict_codec_that_breaks_its_bound_fails_and_keeps_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run_with(monkeypatch, Shifting(shift=2.0))
    assert (outcome.status, outcome.reason_code) == ("failed", "bound_broken")
    assert outcome.metrics["violations"] == 1000
    assert outcome.metrics["max_excess"] == pytest.approx(2.0, rel=1e-5)
    assert outcome.phases["encode_call"].median_s == CALL_S
    assert outcome.reason is not None
    assert "1000 of 1000 values break the bound rel 0.01" in outcome.reason


def test_the_policy_of_the_codec_tells_invalid_from_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run_with(monkeypatch, Shifting(shift=2.0, bound_policy="compatible"))
    assert (outcome.status, outcome.reason_code) == ("invalid", "bound_exceeded")


def test_a_value_lost_to_infinity_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run_with(monkeypatch, Shifting(shift=math.inf))
    assert outcome.status == "failed"
    assert outcome.metrics["max_abs_error"] is None
    assert outcome.reason is not None
    assert "a finite value came back non-finite" in outcome.reason


def test_a_lossless_codec_that_is_not_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run_with(monkeypatch, LosslessShifting(shift=0.5))
    assert (outcome.status, outcome.reason_code) == ("failed", "not_lossless")
    assert outcome.metrics["violations"] is None
    assert run_with(monkeypatch, LosslessShifting(shift=0.0)).status == "ok"


def test_without_a_bound_a_value_lost_to_infinity_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run_with(monkeypatch, BoundlessShifting(shift=math.inf))
    assert (outcome.status, outcome.reason_code) == ("failed", "non_finite_changed")
    assert outcome.reason == "1000 of 1000 values became or stopped being NaN or infinite"
    assert run_with(monkeypatch, BoundlessShifting(shift=0.5)).status == "ok"


def test_only_the_stages_a_codec_names_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run_with(monkeypatch, Shifting())
    assert list(outcome.phases) == ["range", "encode_kernel", "encode_call", "decode_call"]


def test_an_unresolved_time_leaves_the_speeds_undefined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress.codecs, "make", lambda name, params: Shifting())
    monkeypatch.setattr("fake_bench.CALL_S", 0.0)
    monkeypatch.setattr("kvbench.measure.sampling.MAX_CALLS_PER_SAMPLE", 4)
    [case, _] = prepared(source="gaussian", tensor_size=1000).plan.cases
    outcome = compress.run(case, context())
    assert outcome.phases["encode_call"].flags[0] == "unresolved"
    for name in ("effective_gbps", "effective_out_gbps", "break_even_gbps", "break_even_in_gbps"):
        assert outcome.metrics[name] is None
    assert outcome.status == "ok"


def test_threads_reach_the_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, object]] = []
    make = compress.codecs.make

    def recorded(name: str, params: dict[str, object]) -> Codec:
        seen.append(params)
        return make(name, params)

    monkeypatch.setattr(compress.codecs, "make", recorded)
    outcomes(source="constant", tensor_size=1000, threads=1, codec=["cuszp", "raw"])
    assert seen[0] == {"mode": "plain", "bound_policy": "strict", "threads": 1}
    assert seen[-1] == {}


def test_notes_name_the_device_and_the_link() -> None:
    notes = prepared(source="constant", tensor_size=1000, device_id=1).notes
    assert f"device: cpu (cuda: unavailable: {NO_GPU})" in notes
    assert "--device-id 1 is ignored: the device is the CPU" in notes
    assert any("assumed 25 GB/s" in note for note in notes)


def test_c12_a_gpu_that_is_not_there_is_one_line() -> None:
    with pytest.raises(UnavailableError, match=f"cuda: unavailable: {NO_GPU}") as error:
        prepared(source="constant", tensor_size=1000, device="cuda")
    assert "\n" not in str(error.value)
