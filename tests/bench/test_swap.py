"""The bench of `swap` on a CPU: which cases there are, what they measure, and that faults fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kvbench.bench import swap, swap_soak
from kvbench.bench.context import BenchContext
from kvbench.bench.swap_cache import cache_of, require_right, wrong_values
from kvbench.bench.swap_cases import block_shape
from kvbench.config import build_experiment
from kvbench.errors import CaseFailed, UsageError
from kvbench.measure.sampling import StopRule
from kvbench.swap.planes import Plane

RULE = StopRule(iterations=2)
SMALL = {"device": "cpu", "blocks": ["8"], "block_bytes": ["2048"], "planes": "4", "beside": ["nothing"]}


def planned(**fields):
    return swap.prepare(build_experiment("swap", {**SMALL, **fields}), "no GPU")


def outcomes(**fields):
    context = BenchContext(rule=RULE)
    return [(case, swap.run(case, context)) for case in planned(**fields).plan.cases]


def test_the_grid_has_each_cell_once():
    cases = planned(error_bound=["1e-2", "1e-3"], blocks=["8", "16"]).plan.cases
    assert len({case.id for case in cases}) == len(cases) == 2 * 2 * (1 + 2 * 3)
    assert {case.codec for case in cases if case.path == "raw"} == {"raw"}
    assert {case.planes for case in cases} == {4}


def test_work_beside_needs_a_gpu():
    plan = planned(beside=["nothing", "gemm"]).plan
    assert {case.beside for case in plan.cases} == {"nothing"}
    assert {skip.reason_code for skip in plan.skipped} == {"no_gpu"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_every_cell_is_measured_and_looked_at(dtype):
    for case, outcome in outcomes(dtype=[dtype]):
        assert outcome.status == "ok"
        metrics, wall = outcome.metrics, outcome.phases[f"{case.direction}_wall"]
        assert wall.work_bytes == case.raw_bytes
        assert outcome.phases[case.direction].samples_s
        took = next(flag for flag in outcome.flags if flag.startswith("took_"))
        if case.path == "raw":
            assert metrics["ratio"] == 1
            assert metrics["max_abs_error"] == 0
        elif case.path != "auto":
            assert took == f"took_{case.path}"
            assert metrics["ratio"] > 1.5
            assert metrics["max_abs_error"] > 0
        assert metrics["checked_blocks"] == 8
        assert metrics["paged_ratio"] <= metrics["ratio"]


def test_values_that_come_back_wrong_fail_the_case(monkeypatch):
    def zeros(planes, source, target, bounds):
        for plane in planes:
            plane.values[target] = 0
        return require_right(planes, source, target, bounds)

    monkeypatch.setattr(swap, "require_right", zeros)
    with pytest.raises(CaseFailed, match="values came back wrong"):
        outcomes(path=["raw"])


@pytest.mark.parametrize(("bound", "wrong"), [(None, 1), (0.5, 0), (0.001, 1)])
def test_wrong_values_are_counted(bound, wrong):
    values = torch.arange(64.0).view(4, 1, 1, 16).clone()
    values[2] = values[0]
    values[2, 0, 0, 3] += 0.25
    found, largest = wrong_values(Plane(values), np.array([0, 1]), np.array([2, 1]), bound)
    assert found == wrong
    assert largest == (0 if bound is None else 0.25)


def test_rounding_of_16_bit_values_is_allowed_and_nan_is_compared():
    values = torch.full((2, 1, 1, 16), 256.0).bfloat16()
    values[1, 0, 0, 0] = 258.0
    values[:, 0, 0, 1] = float("nan")
    values[1, 0, 0, 2] = float("nan")
    assert wrong_values(Plane(values), np.array([0]), np.array([1]), 0.5) == (2, 2.0)


@pytest.mark.parametrize(
    ("block_bytes", "dtype", "shape"),
    [
        (32768, "bfloat16", (16, 8, 128)),
        (2048, "bfloat16", (1, 8, 128)),
        (1024, "float32", (2, 1, 128)),
        (32, "bfloat16", (1, 1, 16)),
    ],
)
def test_shapes_of_blocks(block_bytes, dtype, shape):
    assert block_shape(block_bytes, dtype) == shape


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"block_bytes": ["30"]}, "--block-bytes 30: blocks of bfloat16 are whole tokens"),
        ({"codec": ["lossless"]}, "--codec lossless: the swap engine moves blocks as cuszp or raw"),
        ({"soak": "many"}, "soak 'many' is no amount of traffic"),
        ({"soak": "-3s"}, "soak '-3s' is no amount of traffic"),
        ({"path": ["quick"]}, "quick"),
        ({"layers": ["1"]}, "does not use layers"),
    ],
)
def test_what_cannot_be_asked(fields, message):
    with pytest.raises(UsageError, match=message):
        planned(**fields)


def test_content_is_the_sources_and_differs_by_plane():
    (case, *_) = planned().plan.cases
    planes = cache_of(case, 4, "cpu", {})
    assert [plane.name for plane in planes] == ["layer 0 k", "layer 0 v", "layer 1 k", "layer 1 v"]
    assert not torch.equal(planes[0].values, planes[2].values)
    assert not torch.equal(planes[0].values[0], planes[0].values[1])


@pytest.mark.parametrize("path", ["raw", "fused", "staged", "auto"])
def test_a_soak_checks_every_load(path):
    ((case, outcome),) = outcomes(soak="400", path=[path], checksum=True, block_bytes=["1024"], blocks=["16"])
    assert outcome.status == "ok"
    assert outcome.metrics["operations"] == 400
    assert outcome.metrics["checked_blocks"] > 100
    assert outcome.metrics["mismatches"] == 0
    assert outcome.metrics["most_used_bytes"] <= outcome.metrics["limit_bytes"]
    assert case.checksum


def test_a_soak_can_be_of_seconds():
    ((_, outcome),) = outcomes(soak="0.2s", path=["raw"])
    assert outcome.metrics["operations"] > 0


def test_a_soak_finds_blocks_that_come_back_wrong(monkeypatch):
    load = swap_soak.SwapEngine.load

    def other_targets(engine, slots, targets):
        return load(engine, slots, np.roll(targets, 1))

    monkeypatch.setattr(swap_soak.SwapEngine, "load", other_targets)
    ((_, outcome),) = outcomes(soak="300", path=["raw"])
    assert outcome.status == "failed"
    assert outcome.reason_code == "bound_broken"


def test_a_soak_finds_pages_that_are_lost(monkeypatch):
    monkeypatch.setattr(swap_soak, "_BOOKS_EVERY", 50)
    give, lost = swap_soak.SwapEngine.free, []

    def forgetful(engine, slots):
        if not lost and engine._state.pool.free:
            lost.append(engine._state.pool.take(1))
        give(engine, slots)

    monkeypatch.setattr(swap_soak.SwapEngine, "free", forgetful)
    with pytest.raises(CaseFailed, match="pages are known of"):
        outcomes(soak="300", path=["raw"])
