"""Checks what a profiler would see: ranges around batches, never inside the timed call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kvbench.measure import nvtx, sampling
from kvbench.measure.clock import HostClock
from kvbench.measure.sampling import StopRule, sample


def test_ranges_surround_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    @contextmanager
    def recorded(text: str) -> Iterator[None]:
        events.append(f"push {text}")
        yield
        events.append("pop")

    class Clock(HostClock):
        def time_s(self, call: object, calls: int) -> float:
            events.append("timed")
            return 0.1 * calls

    monkeypatch.setattr(sampling, "marked", recorded)
    sample(lambda: None, clock=Clock(), rule=StopRule(iterations=2), work_bytes=1, nvtx_text="c0ffee/encode_call")
    assert events == [
        "push c0ffee/encode_call/warmup",
        "timed",
        "pop",
        *["push c0ffee/encode_call/sample", "timed", "pop"] * 2,
        "timed",  # an empty call, to tell it from the measured one
    ]


def test_a_range_without_a_profiler_lets_results_and_errors_through() -> None:
    with nvtx.marked("case/phase/sample"):
        pass
    with pytest.raises(ZeroDivisionError), nvtx.marked("case/phase/sample"):
        _ = 1 // 0


def test_ranges_are_in_the_domain_kvbench(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}

    def annotate(text: str, domain: str) -> str:
        seen.update(text=text, domain=domain)
        return text

    monkeypatch.setattr("nvtx.annotate", annotate)
    nvtx.marked("case/phase/sample")
    assert seen == {"text": "case/phase/sample", "domain": "kvbench"}
