"""Owns the table made of an ncu report: one row a profiled launch, from the CSV of its raw page."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from typing import Any

from kvbench.errors import KvbenchError
from kvbench.record.profile import KernelRow
from kvbench.record.schema import GB

# Every multiprocessor since Volta has four schedulers, each of which issues one warp instruction a cycle (CUDA C++
# Programming Guide, "Compute Capabilities").
SCHEDULERS = 4
_NAME, _GRID, _BLOCK = "Kernel Name", "Grid Size", "Block Size"
_STALL = re.compile(r"smsp__average_warps_issue_stalled_(\w+?)_per_issue_active\.ratio")
_NOT_WAITING = {"selected", "not_selected"}  # states in which a warp can go on
_PHASE = re.compile(r"([0-9a-f]{12})/(\w+)")
_SECONDS = {"nsecond": 1e-9, "usecond": 1e-6, "msecond": 1e-3, "second": 1.0, "ns": 1e-9, "us": 1e-6, "ms": 1e-3}
_BYTES = {"byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}


def kernel_rows(text: str) -> list[KernelRow]:
    """The rows of the raw page; lines before its head are messages. Raises KvbenchError where it has no head."""
    lines = text.splitlines(keepends=True)
    head = next((number for number, line in enumerate(lines) if f'"{_NAME}"' in line), None)
    if head is None:
        raise KvbenchError(f"the CSV of ncu has no column {_NAME!r}; this version's report cannot be read by kvbench")
    rows = list(csv.DictReader(io.StringIO("".join(lines[head:]))))
    units: Mapping[str, str] = {}
    if rows and not rows[0][_NAME]:
        units = rows.pop(0)
    return [_row(launch, values, units) for launch, values in enumerate(rows)]


def _row(launch: int, values: Mapping[str, str], units: Mapping[str, str]) -> KernelRow:
    def number(*names: str) -> float | None:
        return next((found for name in names if (found := _number(values.get(name))) is not None), None)

    duration_s = _scaled("gpu__time_duration.sum", values, units, _SECONDS)
    moved = [_scaled(f"dram__bytes_{way}.sum", values, units, _BYTES) for way in ("read", "write")]
    dram_bytes = None if None in moved else sum(part for part in moved if part is not None)
    ipc = number("sm__inst_executed.avg.per_cycle_elapsed")
    registers = number("launch__registers_per_thread")
    stall, cycles = _top_stall(values)
    case_id, phase = _where(values)
    figures: dict[str, Any] = {
        "name": values[_NAME],
        "launch": launch,
        "case_id": case_id,
        "phase": phase,
        "grid": values.get(_GRID, ""),
        "block": values.get(_BLOCK, ""),
        "duration_s": duration_s,
        "dram_bytes": dram_bytes,
        "dram_gbps": dram_bytes / duration_s / GB if dram_bytes is not None and duration_s else None,
        "dram_percent": number(
            "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
            "dram__throughput.avg.pct_of_peak_sustained_elapsed",
        ),
        "sm_percent": number("sm__throughput.avg.pct_of_peak_sustained_elapsed"),
        "occupancy_percent": number("sm__warps_active.avg.pct_of_peak_sustained_active"),
        "registers": None if registers is None else int(registers),
        "top_stall": stall,
        "top_stall_cycles": cycles,
        "warp_instructions": number("smsp__inst_executed.sum"),
        "issue_percent": None if ipc is None else 100 * ipc / SCHEDULERS,
    }
    return KernelRow(**figures)


def _number(text: str | None) -> float | None:
    """Of a cell, thousands set apart or not; None for one that is empty or no finite number."""
    try:
        value = float((text or "").replace(",", ""))
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None  # NaN too


def _scaled(
    name: str, values: Mapping[str, str], units: Mapping[str, str], scales: Mapping[str, float]
) -> float | None:
    """In base units; None where the column is absent or its unit is not known."""
    value, scale = _number(values.get(name)), scales.get(units.get(name, ""))
    return None if value is None or scale is None else value * scale


def _top_stall(values: Mapping[str, str]) -> tuple[str | None, float | None]:
    stalls = {
        found.group(1): cycles
        for name, text in values.items()
        if (found := _STALL.fullmatch(name or "")) and (cycles := _number(text)) is not None
    }
    waiting = {
        name: cycles for name, cycles in stalls.items() if name not in _NOT_WAITING and not name.endswith("_not_issued")
    }
    if not waiting:
        return None, None
    top = max(waiting, key=lambda name: waiting[name])
    return top.replace("_", " "), waiting[top]


def _where(values: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Case id and phase of the innermost of kvbench's ranges around the launch."""
    found = [
        part for name, text in values.items() if "Push/Pop" in (name or "") for part in _PHASE.findall(str(text or ""))
    ]
    return found[-1] if found else (None, None)
