"""Owns Nsight Systems: its command line, the report it leaves, and that report as an SQLite file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from kvbench.errors import KvbenchError
from kvbench.measure.capture import MEASURED, Trigger
from kvbench.measure.nvtx import DOMAIN
from kvbench.profilers.find import ROOT, Profiler

REPORT_SUFFIX = ".nsys-rep"
STREAM_SUFFIX = ".qdstrm"  # what is recorded, before it is made into a report
CONVERSION_LIMIT_S = 1800.0
_IMPORTER = "QdstrmImporter"


def nsys_command(
    profiler: Profiler, report: Path, measured: Sequence[str], *, trigger: Trigger, osrt: bool
) -> list[str]:
    """The line that runs `measured` and records what it does while it measures, child processes included.

    Collection begins and ends with the trigger; the process goes on after it, to write its tables.
    """
    begins = (
        ["--capture-range=cudaProfilerApi"]
        if trigger == "cuda"
        else ["--capture-range=nvtx", f"--nvtx-capture={MEASURED}@{DOMAIN}"]
    )
    return [
        str(profiler.path),
        "profile",
        f"--trace=cuda,nvtx{',osrt' if osrt else ''}",
        "--sample=none",
        "--cpuctxsw=none",
        "--trace-fork-before-exec=true",
        "--cuda-graph-trace=node",
        *begins,
        "--capture-range-end=stop",
        "--wait=all",
        f"--output={report.with_suffix('')}",
        *measured,
    ]


def written_report(profiler: Profiler, report: Path) -> Path | None:
    """The report, made from the recorded stream where nsys could not do that itself; None where there is neither."""
    if report.is_file():
        return report
    stream = report.with_suffix(STREAM_SUFFIX)
    if not stream.is_file():
        return None
    for importer in _importers(profiler):
        _convert([str(importer), "--input-file", str(stream), "--output-file", str(report)])
        if report.is_file():
            stream.unlink()
            return report
    raise KvbenchError(
        f"nsys recorded {stream} but could not make a report of it, and {_IMPORTER}, which can, was not found beside "
        f"{profiler.path}; open it with Nsight Systems {profiler.version} on another machine"
    )


def export_sqlite(profiler: Profiler, report: Path, target: Path) -> Path:
    """Write the report as SQLite. Raises KvbenchError with the words of nsys where it cannot read or export it."""
    line = [str(profiler.path), "export", "--type=sqlite", "--quiet=true", f"--output={target}", str(report)]
    said = _convert(line)
    if not target.is_file():
        raise KvbenchError(
            f"nsys {profiler.version} cannot read {report}: {said or 'it said nothing'}; the report is kept; use the "
            "version of nsys that wrote it, or a newer one"
        )
    return target


def _importers(profiler: Profiler) -> Iterator[Path]:
    """Beside the nsys that was found, then where Debian keeps it."""
    home = profiler.path.resolve().parent
    folders = [*home.parent.glob("host-linux-*"), *ROOT.glob("usr/lib/nsight-systems/host-linux-*")]
    yield from (folder / _IMPORTER for folder in folders if (folder / _IMPORTER).is_file())


def _convert(line: Sequence[str]) -> str:
    """Run it and give the last line it said."""
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=CONVERSION_LIMIT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"not done after {CONVERSION_LIMIT_S:.0f} s"
    said = [text.strip() for text in f"{done.stdout}\n{done.stderr}".splitlines() if text.strip()]
    return said[-1] if said else ""
