"""Checks kvbench against a real Nsight Systems, without a GPU: what it records becomes the table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from kvbench.errors import UnavailableError
from kvbench.profilers import find
from kvbench.record.store import RunFolder

PATH = os.environ["PATH"]  # of the machine, not of the other tests
# On a busy machine nsys 2022.4 at times throws before it starts anything: its parts did not find each other.
NOT_STARTED, TRIES = "ProcessWaiter", 4
PHASES = ["range", "encode_kernel", "decode_kernel", "encode_call", "decode_call"]


@pytest.mark.slow
def test_ranges_of_a_run_on_the_cpu_fill_the_table(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", PATH)
    monkeypatch.setattr(find, "ROOT", Path("/"))
    try:
        profiler = find.find_profiler("nsys")
    except UnavailableError as error:
        pytest.skip(str(error))
    words = ["compress", "--device", "cpu", "--tensor-size", "4096", "--source", "gaussian", "--iterations", "3"]
    line = [sys.executable, "-m", "kvbench", "nsys", "--limit", "300", *words, "--output", str(tmp_path / "run")]
    for _ in range(TRIES):
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if NOT_STARTED not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    timeline = json.loads((tmp_path / "run" / "timeline.json").read_text())
    results = RunFolder.open(tmp_path / "run").results()
    rows = {(row["case_id"], row["phase"]): row for row in timeline["rows"]}
    for result, phase in product(results, PHASES):
        row, timed = rows[result.case_id, phase], result.phases[phase]
        assert (row["case"], row["ranges"]) == (result.case.label, 3)
        # The same samples by two clocks: a range holds the timed calls and little else.
        assert row["wall_s"] >= sum(timed.samples_s) * timed.calls_per_sample * 0.99
        assert row["kernel_s"] is None
    assert timeline["profiler"]["version"] == profiler.version
    assert (tmp_path / "run" / "nsys.nsys-rep").stat().st_size > 0
    assert any("measured under nsys" in note for note in RunFolder.open(tmp_path / "run").manifest().notes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
