"""Owns the developer's sessions: tests, lint, build, notebooks, bench."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"  # uv resolves torch to a CUDA build of several gigabytes
nox.options.sessions = ["tests"]

TORCH = os.environ.get("KVBENCH_TORCH", "torch==2.13.0")
ROUND_TRIP = """
import numpy as np
from kvbench import cuszp
values = np.linspace(-1, 1, 1000, dtype=np.float32)
restored = cuszp.decompress(cuszp.compress(values, 1e-3), values.size, 1e-3)
assert 0 < np.abs(restored - values).max() <= 1.001e-3
"""
START_UP = """
import subprocess, sys, time
times_s = []
for _ in range(11):
    start_s = time.perf_counter()
    subprocess.run([sys.executable, "-m", "kvbench", "--help"], check=True, capture_output=True)
    times_s.append(time.perf_counter() - start_s)
print(f"kvbench --help: median {sorted(times_s)[5]:.3f} s of {len(times_s)} (aim: below 0.5 s)")
"""
RANGE_COST = """
import timeit
from kvbench.measure.nvtx import marked
def empty():
    pass
def marked_one():
    with marked("0123456789ab/encode_call/sample"):
        pass
marked_s, empty_s = (min(timeit.repeat(call, number=10000, repeat=21)) / 10000 for call in (marked_one, empty))
print(f"an NVTX range: {(marked_s - empty_s) * 1e6:.2f} us, the least of 21 rounds; recorded where nsys is around")
"""
GRAPH_CLOCK = """
import sys
import torch
from kvbench.measure.clock import device_clocks
from kvbench.measure.sampling import StopRule, sample
AIM, worst = 0.02, 0.0
with torch.cuda.stream(torch.cuda.Stream()):
    for elements in (1 << 16, 1 << 20, 1 << 22):
        values = torch.ones(elements, device="cuda")
        kernel = lambda: values.mul_(1.0)
        kernel()
        graph, calls, replays, times_us = torch.cuda.CUDAGraph(), 200, 50, []
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            for _ in range(calls):
                kernel()
        for _ in range(7):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(replays):
                graph.replay()
            end.record()
            end.synchronize()
            times_us.append(1e3 * start.elapsed_time(end) / calls / replays)
        by_hand_us = sorted(times_us)[3]
        clock = device_clocks("cuda").kernel(kernel)
        timed = sample(kernel, clock=clock, rule=StopRule(iterations=15), work_bytes=1, nvtx_text="graph clock")
        off = timed.median_s * 1e6 / by_hand_us - 1
        worst = max(worst, abs(off))
        print(f"kernel by hand {by_hand_us:.3f} us, by kvbench ({clock.name}) {timed.median_s * 1e6:.3f} us: "
              f"{100 * off:+.2f} % (aim: within {100 * AIM:.0f} %)")
if worst > AIM:
    sys.exit(f"the clock for kernels is {100 * worst:.2f} % off a graph timed by hand: more than {100 * AIM:.0f} %")
"""
PROJECT = nox.project.load_toml("pyproject.toml")


def _groups(*names: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PROJECT, *names)


def _install(session: nox.Session, *groups: str, cuda: str) -> None:
    """Torch first, so that no later requirement picks another build of it; then kvbench and the groups.

    `cuda` is the build's KVBENCH_CUDA: a session that does not touch the CUDA module need not wait for nvcc.
    """
    session.install(TORCH)
    session.install(".", *_groups(*groups), env={"SKBUILD_CMAKE_DEFINE": f"KVBENCH_CUDA={cuda}"})


@nox.session
def tests(session: nox.Session) -> None:
    """The codec library's own tests, then pytest; lint, notebooks and build follow."""
    for name in ("lint", "notebooks", "build"):
        session.notify(name)
    _install(session, "test", cuda="AUTO")
    session.install("cmake", "ninja")
    # Without a GPU the CUDA programs would skip; compiling them once, for the Python module, is enough.
    on_gpu = [] if shutil.which("nvidia-smi") else ["-DCUSZP_CUDA=OFF"]
    library = Path(session.create_tmp()) / "cuszp"
    session.run("cmake", "-S", "cuSZp", "-B", str(library), "-G", "Ninja", *on_gpu, silent=True)
    session.run("cmake", "--build", str(library), silent=True)
    session.run("ctest", "--test-dir", str(library), "--output-on-failure")
    session.run("pytest", *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, mypy --strict, import-linter, clang-format."""
    _install(session, "lint", cuda="OFF")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")
    sources = [p for d in ("cuSZp", "ext") for e in ("*.h", "*.c", "*.cpp", "*.cu", "*.cuh") for p in Path(d).rglob(e)]
    session.run("clang-format", "--dry-run", "--Werror", *map(str, sorted(sources)))


@nox.session
def notebooks(session: nox.Session) -> None:
    """Run every notebook against a fresh small run; stored outputs are refused."""
    _install(session, "notebooks", cuda="OFF")
    run = Path(session.create_tmp()).resolve() / "notebook-run"
    if not run.exists():
        session.run("kvbench", "sweep", "--config", "configs/quick_look.yaml", "--output", str(run))
    session.run("python", "notebooks/execute.py", env={"KVBENCH_RUN": str(run), "JUPYTER_PLATFORM_DIRS": "1"})


@nox.session
def build(session: nox.Session) -> None:
    """A wheel into dist/, installed into this clean venv and imported from elsewhere."""
    session.install("build")
    session.run("python", "-m", "build", "--wheel", "--outdir", "dist", silent=True)
    wheel = max(Path("dist").glob("kvbench-*.whl"), key=lambda path: path.stat().st_mtime)
    session.install(TORCH)
    session.install("--force-reinstall", "--no-deps", str(wheel))
    session.install(str(wheel))
    session.chdir(session.create_tmp())
    session.run("python", "-c", ROUND_TRIP)
    session.run("kvbench", "--version")


@nox.session
def bench(session: nox.Session) -> None:
    """Speed of this machine's copies and of the codec, as ordinary runs under results/; start-up; an NVTX range.

    On a GPU also what the clock for kernels says beside a graph timed by hand; fails where they differ too much.
    """
    _install(session, cuda="AUTO")
    session.run("kvbench", "baseline")
    session.run("kvbench", "sweep", "--config", "configs/codec_speed.yaml")
    session.run("python", "-c", START_UP)
    session.run("python", "-c", RANGE_COST)
    if shutil.which("nvidia-smi"):
        session.run("python", "-c", GRAPH_CLOCK)
