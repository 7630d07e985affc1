"""Checks sampling in pairs on clocks whose time the tests move by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest

from kvbench.measure.interleaved import MIN_PAIRS, Trial, sample_pairs
from kvbench.measure.sampling import StopRule
from kvbench.measure.throttle import ClockLog, Sighting
from kvbench.record.schema import PhaseSamples


class Bench:
    """A clock, and calls that are written down as they are made; a call takes what its list says, times `state`."""

    name: Literal["host"] = "host"
    resolution_s = 1e-9
    minimum_sample_s = 1e-3

    def __init__(self) -> None:
        self.now_s = 0.0
        self.made: list[str] = []
        self.state = lambda: 1.0

    def call(self, name: str, duration_s: float) -> Callable[[], None]:
        def made() -> None:
            self.made.append(name)
            self.now_s += duration_s * self.state()

        return made

    def time_s(self, call: Callable[[], object], calls: int) -> float:
        start_s = self.now_s
        for _ in range(calls):
            call()
        return self.now_s - start_s

    def take_flags(self) -> list[str]:
        return []


def pairs(bench: Bench, a_s: float = 0.01, b_s: float = 0.02, seed: int = 0, **rule: object) -> list[PhaseSamples]:
    a, b = (
        Trial(bench.call(name, duration_s), bench, 1000, f"case/{name}")
        for name, duration_s in (("a", a_s), ("b", b_s))
    )
    stop = StopRule(**rule)  # type: ignore[arg-type]
    return list(sample_pairs(a, b, rule=stop, rng=np.random.default_rng(seed)))


def test_each_pair_has_one_of_both_in_an_order_from_the_seed() -> None:
    orders = []
    for seed in (0, 0, 1):
        bench = Bench()
        a, b = pairs(bench, iterations=20, seed=seed)
        assert (len(a.samples_s), len(b.samples_s), a.stop_reason) == (20, 20, "iterations")
        in_turn = bench.made[-40:]
        assert all({*in_turn[at : at + 2]} == {"a", "b"} for at in range(0, 40, 2))
        orders.append(in_turn)
    assert orders[0] == orders[1] != orders[2]
    assert {orders[0][at] for at in range(0, 40, 2)} == {"a", "b"}


def test_samples_are_seconds_a_call_and_batches_are_each_call_s_own() -> None:
    a, b = pairs(Bench(), a_s=0.02, b_s=1e-5, iterations=5)
    assert a.calls_per_sample == 1
    assert b.calls_per_sample >= 100
    assert a.median_s == pytest.approx(0.02)
    assert b.median_s == pytest.approx(1e-5)


def test_a_steady_ratio_ends_it_though_the_times_are_not_steady() -> None:
    bench = Bench()
    turns = np.exp(np.random.default_rng(3).standard_normal(4000)).tolist()
    # After three calls each to warm up, both calls of a pair see the same state.
    bench.state = lambda: 1.0 if len(bench.made) <= 6 else turns[(len(bench.made) - 7) // 2]
    a, b = pairs(bench, time_limit_s=1e6)
    assert a.stop_reason == "precision"
    assert len(a.samples_s) >= MIN_PAIRS
    assert "noisy" in a.flags
    assert np.median(np.divide(b.samples_s, a.samples_s)) == pytest.approx(2, rel=0.02)


def test_the_time_limit_is_for_both_calls() -> None:
    bench = Bench()
    turns = np.exp(np.random.default_rng(3).standard_normal(4000)).tolist()
    bench.state = lambda: turns[len(bench.made)]
    a, _ = pairs(bench, time_limit_s=0.5)
    assert a.stop_reason == "time_limit"
    assert sum(a.samples_s) < 1.5


def test_a_clock_that_shows_nothing_ends_by_the_host_s_time() -> None:
    a, b = pairs(Bench(), a_s=0.0, b_s=0.0, time_limit_s=0.01)
    assert (a.median_s, b.median_s) == (None, None)
    assert "unresolved" in a.flags


class Watch:
    """Counts how often somebody looks."""

    looks = 0

    def look(self) -> Sighting:
        self.looks += 1
        return Sighting(1980, ())


def test_the_gpu_is_not_asked_after_every_pair() -> None:
    watch, bench = Watch(), Bench()
    a, b = (Trial(bench.call(name, 0.01), bench, 1000, f"case/{name}") for name in "ab")
    rule = StopRule(iterations=50)
    sample_pairs(a, b, rule=rule, rng=np.random.default_rng(0), clock_log=ClockLog(watch))
    assert 2 <= watch.looks < 50


def test_a_burst_does_not_end_it() -> None:
    a, _ = pairs(Bench(), a_s=1e-3, b_s=1e-3, time_limit_s=1e6)
    assert a.stop_reason == "precision"
    assert sum(a.samples_s) >= 0.05
