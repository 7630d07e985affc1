"""Owns what a profiler's report says of a run, as files in its folder: timeline and kernels, each as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from kvbench.errors import UsageError
from kvbench.record.files import os_reason, write_whole

TIMELINE = "timeline.json"
KERNELS = "kernels.json"
PROFILE_VERSION = 1

T = TypeVar("T", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ProfilerFacts(_Strict):
    """Which profiler made a report, how, and where the report is."""

    name: Literal["nsys", "ncu"]
    version: str
    command: list[str]
    report: str  # the report's name in the run folder
    notes: list[str] = []


class NamedTime(_Strict):
    """All launches of one kernel within a phase."""

    name: str
    launches: int
    total_s: float


class TimelineRow(_Strict):
    """One phase of one case, all its samples together. GPU figures are None where the report has no GPU work at all."""

    case_id: str
    case: str  # in words
    phase: str
    ranges: int  # samples, or the phase's own ranges where it has none
    wall_s: float  # of all ranges
    calls_per_range: int | None = None  # as the run recorded it
    recorded_s: float | None = None  # a range's time by the phase's own clock: the recorded median x calls
    kernel_s: float | None = None  # time in which a kernel ran; two at once count once
    kernel_launches: int | None = None
    h2d_bytes: int | None = None
    h2d_s: float | None = None
    h2d_gbps: float | None = None
    d2h_bytes: int | None = None
    d2h_s: float | None = None
    d2h_gbps: float | None = None
    d2d_bytes: int | None = None
    d2d_s: float | None = None
    d2d_gbps: float | None = None
    other_copy_bytes: int | None = None
    other_copy_s: float | None = None
    other_copy_gbps: float | None = None
    overlap_s: float | None = None  # a kernel and a copy at the same time
    idle_s: float | None = None  # nothing at all on the GPU
    left_out_s: float | None = None  # only what kvbench adds to measure: spinning, flushing the cache
    top_kernels: list[NamedTime] = []
    left_out: list[NamedTime] = []


class Timeline(_Strict):
    """timeline.json: what nsys saw, by phase."""

    profile_version: int = PROFILE_VERSION
    profiler: ProfilerFacts
    rows: list[TimelineRow]


class KernelRow(_Strict):
    """One profiled launch of a kernel. A counter that the GPU or the asked set does not have is None."""

    name: str
    launch: int  # its place among the profiled launches, from 0
    case_id: str | None = None
    phase: str | None = None
    grid: str = ""
    block: str = ""
    duration_s: float | None = None
    dram_bytes: float | None = None
    dram_gbps: float | None = None
    dram_percent: float | None = None  # of the memory's peak
    sm_percent: float | None = None  # of the multiprocessors' peak
    occupancy_percent: float | None = None  # achieved: active warps of those that fit
    registers: int | None = None  # of a thread
    top_stall: str | None = None  # what warps wait for most
    top_stall_cycles: float | None = None  # of that, a warp and issued instruction
    warp_instructions: float | None = None
    issue_percent: float | None = None  # of the peak of issued warp instructions


class KernelProfile(_Strict):
    """kernels.json: what ncu counted, by launch."""

    profile_version: int = PROFILE_VERSION
    profiler: ProfilerFacts
    copy_gbps: float | None = None  # the GPU's own copies as the run measured them, read and write counted
    rows: list[KernelRow]


def write_timeline(folder: Path, timeline: Timeline) -> list[Path]:
    """timeline.json and timeline.csv. Raises KvbenchError when the disk refuses."""
    return _write(folder / TIMELINE, timeline, timeline.rows, TimelineRow)


def write_kernels(folder: Path, profile: KernelProfile) -> list[Path]:
    """kernels.json and kernels.csv. Raises KvbenchError when the disk refuses."""
    return _write(folder / KERNELS, profile, profile.rows, KernelRow)


def read_timeline(folder: Path) -> Timeline | None:
    """The timeline of a run; None where it was not profiled. Raises UsageError for a file that is damaged."""
    return _read(folder / TIMELINE, Timeline)


def read_kernels(folder: Path) -> KernelProfile | None:
    """The kernels of a run; None where they were not profiled. Raises UsageError for a file that is damaged."""
    return _read(folder / KERNELS, KernelProfile)


def _write(path: Path, whole: BaseModel, rows: Sequence[BaseModel], row_type: type[BaseModel]) -> list[Path]:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(row_type.model_fields)
    for row in rows:
        table.writerow([_cell(getattr(row, name)) for name in row_type.model_fields])
    return [
        write_whole(path, whole.model_dump_json(indent=2) + "\n"),
        write_whole(path.with_suffix(".csv"), text.getvalue()),
    ]


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(f"{part.name} x {part.launches}: {part.total_s:.9g} s" for part in value)
    return value


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: {os_reason(error)}; make it readable") from None
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"])
        raise UsageError(f"{path}: {where or 'the file'}: {found['msg']}; move it away, or profile again") from None
