"""Tests of running a profiler: the limit, an interrupt, and that nothing stays behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from stub_profiler import make_stub

from kvbench.measure.capture import RUN_FILE
from kvbench.profilers import process
from kvbench.profilers.process import Ended, run_limited

# A profiler that starts the measured command in a session of its own, as nsys does, and writes its report after it.
AROUND = """
child = subprocess.Popen(args, start_new_session=True)
signal.signal(signal.SIGINT, signal.SIG_IGN)
code = child.wait()
Path(os.environ["KVBENCH_PROFILED_RUN"] + ".report").write_text("report")
sys.exit(code)
"""
POLITE = "import pathlib, sys, time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    sys.exit(130)\n"
DEAF = "import signal, time\nfor s in (2, 15): signal.signal(s, signal.SIG_IGN)\ntime.sleep(60)\n"


@pytest.fixture
def run_file(tmp_path):
    return tmp_path / "the run"


def left_behind(run_file: Path) -> list[int]:
    return [found.pid for found in process._marked(str(run_file))]


def line(tmp_path: Path, text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_an_end_in_time_gives_the_exit_code(tmp_path, run_file):
    stub = make_stub(tmp_path / "bin", "nsys", "sys.exit(7)")
    assert run_limited([str(stub)], ["x"], {RUN_FILE: str(run_file)}, 30) == Ended(7, timed_out=False)


def test_a_profiler_that_is_killed(tmp_path, run_file):
    stub = make_stub(tmp_path / "bin", "nsys", "os.kill(os.getpid(), signal.SIGKILL)")
    assert run_limited([str(stub)], ["x"], {RUN_FILE: str(run_file)}, 30) == Ended(-signal.SIGKILL, timed_out=False)


def test_at_the_limit_the_measured_process_is_asked_first_so_that_the_report_is_written(tmp_path, run_file):
    stub = make_stub(tmp_path / "bin", "nsys", AROUND)
    measured = line(tmp_path, POLITE)
    assert run_limited([str(stub), *measured], measured, {RUN_FILE: str(run_file)}, 1.5).timed_out
    assert Path(f"{run_file}.report").read_text() == "report"
    assert left_behind(run_file) == []


def test_what_does_not_listen_is_ended_by_force(tmp_path, run_file, monkeypatch):
    monkeypatch.setattr(process, "GRACE_S", 0.2)
    monkeypatch.setattr(process, "LAST_GRACE_S", 0.2)
    stub = make_stub(tmp_path / "bin", "nsys", AROUND.replace("code =", "signal.signal(15, signal.SIG_IGN); code ="))
    measured = line(tmp_path, DEAF)
    ended = run_limited([str(stub), *measured], measured, {RUN_FILE: str(run_file)}, 1.5)
    assert ended == Ended(-signal.SIGKILL, timed_out=True)
    assert not Path(f"{run_file}.report").exists()
    _wait_until_gone(run_file)


def test_an_interrupt_stops_it_and_goes_on_up(tmp_path, run_file):
    stub = make_stub(tmp_path / "bin", "nsys", AROUND)
    measured = line(tmp_path, POLITE)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 1.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_limited([str(stub), *measured], measured, {RUN_FILE: str(run_file)}, 60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert Path(f"{run_file}.report").read_text() == "report"
    _wait_until_gone(run_file)


def _wait_until_gone(run_file: Path) -> None:
    """Killed processes of others go when their parent notices."""
    until = time.monotonic() + 10
    while any(psutil.pid_exists(pid) and pid != os.getpid() for pid in left_behind(run_file)):
        assert time.monotonic() < until
        time.sleep(0.05)
