"""Tests of the profilers' command lines: when recording begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvbench.cli import profiled
from kvbench.cli.profiled import Target, trigger_of
from kvbench.profilers.find import Profiler
from kvbench.profilers.ncu import Choice, ncu_command
from kvbench.profilers.nsys import nsys_command


def target(command: str, device: str = "auto") -> Target:
    return Target(command, (command,), device, 0, ("cuszp",), None, Path("results"))


@pytest.mark.parametrize(
    ("command", "device", "missing", "trigger"),
    [
        ("compress", "auto", None, "cuda"),
        ("compress", "cpu", None, "nvtx"),
        ("compress", "auto", "no driver", "nvtx"),
        ("e2e", "auto", None, "nvtx"),  # its servers have CUDA, it has none
    ],
)
def test_what_begins_the_recording(monkeypatch, command, device, missing, trigger):
    monkeypatch.setattr("kvbench.record.gpu.cuda_unavailable", lambda: missing)
    assert trigger_of(target(command, device)) == trigger


def test_the_lines_of_a_run_on_a_gpu():
    report, measured = Path("/x/nsys.nsys-rep"), ["python", "-m", "kvbench", "compress"]
    line = nsys_command(Profiler("nsys", Path("/n/nsys"), "1"), report, measured, trigger="cuda", osrt=False)
    assert line[:3] == ["/n/nsys", "profile", "--trace=cuda,nvtx"]
    assert {"--capture-range=cudaProfilerApi", "--cuda-graph-trace=node", "--output=/x/nsys"} <= set(line)
    assert line[-4:] == measured


@pytest.mark.parametrize(("trigger", "from_start"), [("cuda", "off"), ("nvtx", "on")])
def test_ncu_counts_from_the_start_where_nothing_can_tell_it_to(trigger, from_start):
    ncu = Profiler("ncu", Path("/n/ncu"), "1")
    line = ncu_command(ncu, Path("/x/ncu.ncu-rep"), Path("/x/log"), ["python"], Choice("cuszp"), trigger)
    assert f"--profile-from-start={from_start}" in line
    assert line[-2:] == ["--export=/x/ncu", "python"]


def test_the_measured_line_is_the_command_in_this_python():
    words = profiled.Target("compress", ("compress", "--iterations", "3"), "cpu", 0, (), None, Path()).line
    assert words[1:] == ["-P", "-m", "kvbench", "compress", "--iterations", "3"]
