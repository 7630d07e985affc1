"""Owns how tests run `kvbench e2e` against stand-ins for vLLM's server and client, whose faults are told by name."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from kvbench.cli import app
from kvbench.serving import trial

STUB = Path(__file__).parent / "serving" / "stub"
SMALL = ["--documents", "8", "--prefix-tokens", "40", "--output-tokens", "3", "--probes", "2", "--rounds", "1"]
LINE = ["e2e", "--model", "M", "--device", "cpu", *SMALL, "--output", "run"]


def use_stub(monkeypatch: pytest.MonkeyPatch, faults: str = "") -> None:
    """Servers and clients that kvbench starts from now on are the stand-ins."""
    monkeypatch.setenv("PYTHONPATH", str(STUB))
    monkeypatch.setenv("STUB_FAULTS", faults)
    monkeypatch.setattr(trial, "_LOOK_EVERY_S", 0.01)


def run(line: Sequence[str]) -> int:
    """`kvbench` with these words, in this process."""
    return app.run(list(line))


def results(folder: str = "run") -> list[dict[str, Any]]:
    """The lines of a run's journal."""
    return [json.loads(line) for line in Path(folder, "cases.jsonl").read_text().splitlines()]


def left_of(file: Path) -> list[int]:
    """Which of the processes whose ids stand in `file` are still there."""
    found = []
    for word in file.read_text().split():
        try:
            if psutil.Process(int(word)).status() != psutil.STATUS_ZOMBIE:
                found.append(int(word))
        except psutil.NoSuchProcess:
            continue
    return found


def wait_for(condition, within_s: float) -> bool:
    """Whether the condition comes true in time."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


def environment(faults: str, processes: Path) -> dict[str, str]:
    """Of a process that starts stand-ins; they write their ids to `processes`."""
    return {**os.environ, "PYTHONPATH": str(STUB), "STUB_FAULTS": faults, "STUB_PROCESSES": str(processes)}
