"""Real vLLM servers on the CPU, kvbench's plugin in them: stored and restored bytes of arms A and B are proven.

Needs KVBENCH_SERVER_PYTHON, a python with a vLLM built for the CPU and kvbench, and KVBENCH_SERVER_MODEL, a small
model's folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from served_stub import results, run

PYTHON, MODEL = os.environ.get("KVBENCH_SERVER_PYTHON"), os.environ.get("KVBENCH_SERVER_MODEL")
SMALL = ["--gpu-blocks", "26", "--prefix-tokens", "200", "--documents", "8", "--probes", "2", "--concurrency", "1"]
SMALL += ["--output-tokens", "6", "--rounds", "1", "--budget", "capacity"]


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.skipif(not (PYTHON and MODEL), reason="KVBENCH_SERVER_PYTHON and KVBENCH_SERVER_MODEL are not set")
def test_two_arms_store_and_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["e2e", "--model", str(MODEL), "--device", "cpu", "--server-python", str(PYTHON), *SMALL, "--output", "run"]
    assert run(line) == 0
    found = results()
    assert [one["case"]["arm"] for one in found] == ["A", "B", "B", "A"]
    assert {one["status"] for one in found} == {"ok"}
    a, b = found[0]["metrics"], found[1]["metrics"]
    assert a["cold_hit_rate"] == b["cold_hit_rate"] == 0
    assert a["host_hit_rate"] == b["host_hit_rate"] > 0.5
    assert a["stored_bytes"] == a["stored_raw_bytes"] == b["stored_raw_bytes"]
    assert a["loaded_bytes"] > 1.5 * b["loaded_bytes"] > 0
    assert found[3]["metrics"]["same_answers"] is not None  # what two starts of A differ by
    assert "times as long" in capsys.readouterr().out
