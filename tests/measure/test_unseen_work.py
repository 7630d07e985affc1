"""Checks the look for work beside the clock: what it costs is taken off, and what many calls leave adds up."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from kvbench.measure import unseen_work
from kvbench.measure.unseen_work import LEAST_S, MOST_CALLS, matters, seconds_after

WAIT_NS = 4_000


class FakeGpu:
    """Waiting for the device takes WAIT_NS, and as long as the work that was left to it."""

    device = "cuda:0"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = self.left_ns = self.looks = 0
        monkeypatch.setattr(unseen_work.time, "perf_counter_ns", lambda: self.now_ns)
        monkeypatch.setattr(torch.cuda, "synchronize", self.finish)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
        monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: None)

    def finish(self, device: object) -> None:
        self.looks += 1
        self.now_ns += WAIT_NS + self.left_ns
        self.left_ns = 0

    def synchronize(self) -> None:
        pass

    def leave(self) -> None:
        self.left_ns += 1_500


def test_hidden_work_adds_up_and_the_look_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu(monkeypatch)
    assert seconds_after(int, 5, gpu) == pytest.approx(0.0)  # type: ignore[arg-type]
    one = seconds_after(gpu.leave, 1, gpu)  # type: ignore[arg-type]
    many = seconds_after(gpu.leave, 100, gpu)  # type: ignore[arg-type]
    assert (one, many) == (pytest.approx(1.5e-6), pytest.approx(150e-6))
    assert (matters(one, 5e-6), matters(many, 5e-6)) == (False, True)
    before = gpu.looks
    seconds_after(int, 1, gpu)  # type: ignore[arg-type]
    assert gpu.looks == before + 2  # what a look costs is found once a stream
    most = seconds_after(gpu.leave, 1 << 20, gpu)  # type: ignore[arg-type]
    assert most == pytest.approx(MOST_CALLS * 1.5e-6)


def test_a_part_of_the_time_matters_and_microseconds_do_not() -> None:
    assert not matters(0.9 * LEAST_S, 1e-6)
    assert matters(1.1 * LEAST_S, 1e-6)
    assert matters(1.1 * LEAST_S, None)
    assert not matters(0.19, 1.0)
    assert matters(0.21, 1.0)
