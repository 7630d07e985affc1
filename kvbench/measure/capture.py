"""Owns what a process under `kvbench nsys` or `ncu` does for them: mark what is measured, tell where its run is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from kvbench.measure.nvtx import marked

Trigger = Literal["cuda", "nvtx"]

# Set by the profiling command in the process it starts. The first is unique to one profile, so it also finds what is
# left of it.
RUN_FILE = "KVBENCH_PROFILED_RUN"  # a file that takes the path of the run folder
TRIGGER = "KVBENCH_PROFILED_TRIGGER"  # a Trigger: cudaProfilerStart and Stop, or the range alone
PROFILER = "KVBENCH_PROFILED_BY"  # name and version
MEASURED = "measured"  # the range around all cases


@contextmanager
def captured(run_folder: Path) -> Iterator[None]:
    """Let the profiler around this process record what the block does; without one, only the block."""
    run_file = os.environ.get(RUN_FILE)
    if run_file is None:
        yield
        return
    Path(run_file).write_text(str(run_folder.resolve()), encoding="utf-8")
    with marked(MEASURED):
        if os.environ.get(TRIGGER) != "cuda":
            yield
            return
        import torch

        torch.cuda.profiler.start()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            torch.cuda.profiler.stop()  # type: ignore[no-untyped-call]


def profiler_notes(environment: Mapping[str, str] = os.environ) -> list[str]:
    """A line for the record where a profiler is around this process; it changes what is measured."""
    profiler = environment.get(PROFILER)
    if profiler is None:
        return []
    return [f"measured under {profiler}: its own work is in these times, so they are for reading its report, not speed"]
