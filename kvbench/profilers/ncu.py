"""Owns Nsight Compute: its command line, what its log says where it could not count, and its report as CSV."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kvbench.errors import KvbenchError, UnavailableError
from kvbench.measure.capture import Trigger
from kvbench.profilers.find import Profiler

REPORT_SUFFIX = ".ncu-rep"
IMPORT_LIMIT_S = 600.0
LAUNCHES = 2  # of every kernel and launch size; the same kernel counts the same again
# What the table is made of: few enough counters for a handful of replays a launch.
_SECTIONS = (
    "SpeedOfLight",
    "LaunchStats",
    "Occupancy",
    "WarpStateStats",
    "ComputeWorkloadAnalysis",
    "InstructionStats",
)
METRICS = ("gpu__time_duration.sum", "dram__bytes_read.sum", "dram__bytes_write.sum")
# Parts of demangled names, by codec. Other codecs are made of kernels that others use too, so all count.
_KERNELS = {"cuszp": "cuszp", "cuszp-original": "cuSZp", "nvcomp": "nvcomp"}
_ALL_BUT_SPIN = "^(?!.*spin_kernel)"
_NOT_ALLOWED = "ERR_NVGPUCTRPERM"
_NONE_PROFILED = "No kernels were profiled"


@dataclass(frozen=True)
class Choice:
    """Which launches are profiled and what is counted. `skip` and `launches` are of every kernel and launch size."""

    kernel: str  # ECMAScript regex on demangled names
    skip: int = 0
    launches: int = LAUNCHES
    counters: Literal["table", "full"] = "table"


def codec_kernels(codecs: Collection[str]) -> str:
    """The regex that finds the kernels of these codecs."""
    if not codecs or any(codec not in _KERNELS for codec in codecs):
        return _ALL_BUT_SPIN
    return "|".join(dict.fromkeys(_KERNELS[codec] for codec in codecs))


def ncu_command(
    profiler: Profiler, report: Path, log: Path, measured: Sequence[str], choice: Choice, trigger: Trigger
) -> list[str]:
    """The line that runs `measured` and counts in the chosen launches, in child processes too.

    Only while it measures, where it can say so through CUDA; else from the start.
    """
    counters = ["--set=full"] if choice.counters == "full" else [f"--section={section}" for section in _SECTIONS]
    return [
        str(profiler.path),
        "--target-processes=all",
        f"--profile-from-start={'off' if trigger == 'cuda' else 'on'}",
        "--clock-control=none",
        "--nvtx",
        "--kernel-name-base=demangled",
        f"--kernel-name=regex:{choice.kernel}",
        "--filter-mode=per-launch-config",
        f"--launch-skip={choice.skip}",
        f"--launch-count={choice.launches}",
        *counters,
        f"--metrics={','.join(METRICS)}",
        f"--log-file={log}",
        f"--export={report.with_suffix('')}",
        *measured,
    ]


def require_counters(log: Path, choice: Choice) -> None:
    """Raise in one line where the log says why nothing was counted; say nothing otherwise."""
    said = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    if _NOT_ALLOWED in said:
        raise UnavailableError(
            f"the driver lets administrators alone read GPU counters ({_NOT_ALLOWED}): run as root, or load the nvidia "
            "module with NVreg_RestrictProfilingToAdminUsers=0"
        )
    if _NONE_PROFILED in said:
        raise KvbenchError(
            f"no launch of a kernel whose name matches {choice.kernel!r} was left after skipping {choice.skip}; "
            "give another --kernel, such as '.'"
        )


def last_words(log: Path) -> str:
    """The last error that ncu logged, else its last line; empty without a log."""
    said = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    lines = [line.strip() for line in said if line.strip()]
    errors = [line for line in lines if line.startswith("==ERROR==")]
    return (errors or lines or [""])[-1]


def report_csv(profiler: Profiler, report: Path) -> str:
    """The report's raw page as CSV. Raises KvbenchError with the words of ncu where it cannot read it."""
    line = [str(profiler.path), "--import", str(report), "--csv", "--page=raw", "--print-units=base"]
    line.append("--print-kernel-base=function")
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=IMPORT_LIMIT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise KvbenchError(f"ncu did not read {report} within {IMPORT_LIMIT_S:.0f} s; the report is kept") from None
    if done.returncode or "Kernel Name" not in done.stdout:
        said = " ".join(f"{done.stdout} {done.stderr}".split())[-300:] or "it said nothing"
        raise KvbenchError(f"ncu {profiler.version} cannot read {report}: {said}; the report is kept")
    return done.stdout
