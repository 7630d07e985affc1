"""Tests of what a process does for the profiler around it."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from kvbench.measure import capture
from kvbench.measure.capture import captured, profiler_notes


@pytest.fixture
def events(monkeypatch):
    seen: list[str] = []

    @contextmanager
    def marked(text):
        seen.append(f"push {text}")
        yield
        seen.append("pop")

    monkeypatch.setattr(capture, "marked", marked)
    monkeypatch.setattr("torch.cuda.profiler.start", lambda: seen.append("start"))
    monkeypatch.setattr("torch.cuda.profiler.stop", lambda: seen.append("stop"))
    for name in (capture.RUN_FILE, capture.TRIGGER, capture.PROFILER):
        monkeypatch.delenv(name, raising=False)
    return seen


def test_without_a_profiler_nothing_is_done(tmp_path, events):
    with captured(tmp_path):
        events.append("measured")
    assert events == ["measured"]
    assert profiler_notes() == []


@pytest.mark.parametrize(
    ("trigger", "around"),
    [("nvtx", ["push measured", "work", "pop"]), ("cuda", ["push measured", "start", "work", "stop", "pop"])],
)
def test_the_run_is_told_and_the_work_marked(tmp_path, events, monkeypatch, trigger, around):
    monkeypatch.setenv(capture.RUN_FILE, str(tmp_path / "told"))
    monkeypatch.setenv(capture.TRIGGER, trigger)
    with captured(tmp_path / "run"):
        events.append("work")
    assert events == around
    assert (tmp_path / "told").read_text() == str((tmp_path / "run").resolve())


def test_the_gpu_is_let_go_of_whatever_happens(tmp_path, events, monkeypatch):
    monkeypatch.setenv(capture.RUN_FILE, str(tmp_path / "told"))
    monkeypatch.setenv(capture.TRIGGER, "cuda")
    with pytest.raises(ZeroDivisionError), captured(tmp_path):
        _ = 1 // 0
    assert events == ["push measured", "start", "stop"]


def test_the_record_says_that_a_profiler_was_there(monkeypatch):
    monkeypatch.setenv(capture.PROFILER, "ncu 2031.1")
    (note,) = profiler_notes()
    assert note.startswith("measured under ncu 2031.1")
