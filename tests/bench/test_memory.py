"""Checks that compressing a file holds no more than four copies of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

FILE_BYTES = 64_000_000 // 2048 * 2048

MEASURE = r"""
import json, re, sys
from pathlib import Path

import torch

from kvbench.bench import compress
from kvbench.bench.context import BenchContext
from kvbench.config import build_experiment
from kvbench.measure.sampling import StopRule

def memory_bytes(field):
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text()).group(1))

def run(**fields):
    plan = compress.prepare(build_experiment("compress", fields), "no GPU").plan
    context = BenchContext(rule=StopRule(iterations=1))
    return [compress.run(case, context) for case in plan.cases]

options = json.loads(sys.argv[2])
run(source="gaussian", tensor_size=40_960, **options)  # imports and pools are no copies of the file
before_bytes = memory_bytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # starts VmHWM again
[outcome] = run(input=sys.argv[1], source_layout="thd", **options)
print(json.dumps({
    "grown_bytes": memory_bytes("VmHWM") - before_bytes,
    "status": outcome.status,
    "non_finite_count": outcome.metrics["non_finite_count"],
}))
"""


@pytest.fixture(scope="module")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "big.safetensors"
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(FILE_BYTES // 2, generator=generator).to(torch.bfloat16).reshape(-1, 8, 128)
    values[5, 5, 5] = float("nan")
    save_file({"layers.0.k": values}, path)
    return path


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "options",
    [{"error_bound": 1e-2, "layout": "hdt"}, {"codec": "raw"}],
    ids=["another layout", "raw"],
)
def test_four_copies_at_most(big_file: Path, options: dict[str, object]) -> None:
    command = [sys.executable, "-c", MEASURE, str(big_file), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["status"] == "ok"
    assert found["non_finite_count"] == 1
    assert found["grown_bytes"] > 1 * FILE_BYTES  # the measurement sees the file's tensor at all
    assert found["grown_bytes"] <= 4 * FILE_BYTES
