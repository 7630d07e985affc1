"""Owns where the profilers are: PATH, CUDA toolkit, usual install folders; and what is said where they are not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kvbench.errors import UnavailableError

ProfilerName = Literal["nsys", "ncu"]

ROOT = Path("/")  # under which the usual install folders are looked for
VERSION_LIMIT_S = 30.0
TOOLKIT_VARIABLES = ("CUDA_HOME", "CUDA_PATH")
# Globs below ROOT. Of several versions the newest is taken.
_INSTALLED = {
    "nsys": (
        "usr/local/cuda*/bin",
        "opt/nvidia/nsight-systems/*/bin",
        "opt/nvidia/nsight-systems/*/target-linux-*",
        "opt/nvidia/nsight-systems-cli/*/bin",
        "opt/nvidia/nsight-systems-cli/*/target-linux-*",
        "usr/lib/nsight-systems/bin",
        "usr/lib/*/nsight-systems/target-linux-*",
    ),
    "ncu": (
        "usr/local/cuda*/bin",
        "opt/nvidia/nsight-compute/*",
        "usr/lib/nsight-compute",
        "usr/lib/*/nsight-compute/target-linux-*",
    ),
}
_HOW_TO_GET = {
    "nsys": "install Nsight Systems (package nsight-systems-cli of NVIDIA, or nsight-systems of Debian non-free) or "
    "put its folder into PATH; --chrome-trace FILE.json traces without it",
    "ncu": "install Nsight Compute (part of the CUDA toolkit) or put its folder into PATH",
}


@dataclass(frozen=True)
class Profiler:
    """A profiler that is installed here."""

    name: ProfilerName
    path: Path
    version: str  # such as 2024.6.1.90; empty where it did not say


def find_profiler(name: ProfilerName) -> Profiler:
    """The profiler on PATH, else of the CUDA toolkit, else of the usual folders.

    Raises UnavailableError with one line that says where it was looked for and how to get it.
    """
    on_path = shutil.which(name)
    for candidate in [Path(on_path)] if on_path else _candidates(name):
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return Profiler(name, candidate, _version(candidate))
    toolkits = [f"{variable}={os.environ[variable]}" for variable in TOOLKIT_VARIABLES if os.environ.get(variable)]
    looked = ["PATH", *(toolkits or ["CUDA_HOME (not set)"]), *(str(ROOT / folder) for folder in _INSTALLED[name])]
    raise UnavailableError(f"{name} was not found; looked in {', '.join(looked)}; {_HOW_TO_GET[name]}")


def _candidates(name: ProfilerName) -> Iterator[Path]:
    for variable in TOOLKIT_VARIABLES:
        if home := os.environ.get(variable):
            yield Path(home) / "bin" / name
    for folder in _INSTALLED[name]:
        yield from sorted((found / name for found in ROOT.glob(folder)), key=_numbers, reverse=True)


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def _version(path: Path) -> str:
    try:
        said = subprocess.run(  # noqa: S603  the profiler that was found
            [path, "--version"], capture_output=True, text=True, timeout=VERSION_LIMIT_S, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    number = re.search(r"\d+\.\d+(?:\.\d+)*", said)
    return "" if number is None else number.group()
