"""Tests of finding a profiler, and of what is said where there is none."""

from __future__ import annotations

import pytest
from stub_profiler import make_stub

from kvbench.errors import UnavailableError
from kvbench.profilers import find
from kvbench.profilers.find import find_profiler


def test_absent_says_where_it_looked_and_how_to_get_it(monkeypatch):
    monkeypatch.setenv("CUDA_HOME", "/some/cuda")
    with pytest.raises(UnavailableError) as told:
        find_profiler("nsys")
    text = str(told.value)
    assert "\n" not in text
    for part in (
        "nsys was not found",
        "PATH",
        "CUDA_HOME=/some/cuda",
        "opt/nvidia/nsight-systems",
        "install",
        "--chrome",
    ):
        assert part in text


@pytest.mark.parametrize("name", ["nsys", "ncu"])
def test_path_comes_first_then_the_toolkit_then_the_usual_folders(tmp_path, monkeypatch, name):
    monkeypatch.setattr(find, "ROOT", tmp_path)
    product = {"nsys": "nsight-systems/2024.1.1/bin", "ncu": "nsight-compute/2024.1.1"}[name]
    newer = product.replace("2024.1", "2024.10")
    places = [
        tmp_path / "opt/nvidia" / product,
        tmp_path / "opt/nvidia" / newer,
        tmp_path / "cuda/bin",
        tmp_path / "bin",
    ]
    for place in places:
        wanted = make_stub(place, name, "")
        monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
        found = find_profiler(name)
        assert (found.path, found.version) == (wanted, "2031.2.3.4")


def test_what_cannot_be_run_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_PATH", str(tmp_path / "cuda"))
    make_stub(tmp_path / "cuda/bin", "nsys", "").chmod(0o644)
    with pytest.raises(UnavailableError):
        find_profiler("nsys")


def test_a_profiler_that_does_not_say_its_version_is_used(tmp_path):
    stub = make_stub(tmp_path / "bin", "ncu", "")
    stub.write_text("#!/bin/sh\nexit 3\n")
    assert find_profiler("ncu").version == ""
