"""Tests Ctrl-C in the middle of a sweep, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from kvbench.record.store import RunFolder

BOUNDS = ["0.3", "0.2", "0.1", "0.05", "0.02", "0.01", "0.005", "0.002"]
TENSORS = ["--source", "gaussian", "--tensor-size", "16384"]
SWEEP = ["sweep", *TENSORS, "--codec", "cuszp", "--time-limit", "0.05", "--error-bound", *BOUNDS]
CASES = 16


def test_ctrl_c_keeps_finished_cases_and_resume_does_the_rest(tmp_path: Path) -> None:
    started = subprocess.Popen(
        [sys.executable, "-m", "kvbench", *SWEEP, "--output", "run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell without job control starts background jobs, such as a test run, with the signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    journal = tmp_path / "run" / "cases.jsonl"
    try:
        deadline = time.monotonic() + 60
        # Two lines, as the signal may come while the second is being written, which then is taken back.
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= 2) and time.monotonic() < deadline:
            time.sleep(0.01)
        started.send_signal(signal.SIGINT)
        _, messages = started.communicate(timeout=30)
    finally:
        started.kill()
    assert started.returncode == 130
    assert messages.splitlines()[-1].endswith("go on with: kvbench sweep --resume run")
    assert "Traceback" not in messages

    run = RunFolder.open(tmp_path / "run")
    kept = journal.read_bytes()
    assert 1 <= len(run.results()) < CASES
    assert run.manifest().status == "interrupted"

    resumed = subprocess.run(
        [sys.executable, "-m", "kvbench", "sweep", "--resume", "run"], cwd=tmp_path, capture_output=True, timeout=120
    )
    assert resumed.returncode == 0, resumed.stderr
    assert journal.read_bytes().startswith(kept)
    assert len(run.results()) == CASES
    assert run.manifest().status == "finished"
    assert (tmp_path / "run" / "report.html").exists()
