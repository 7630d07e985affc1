"""Owns the trace of a run for Chrome and Perfetto, made by torch's own profiler, with kvbench's ranges by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvbench.measure.nvtx import also_marked
from kvbench.record.files import replacing


@contextmanager
def chrome_trace(path: Path) -> Iterator[None]:
    """Trace this process until the block ends, well or not, and write the trace as JSON to `path`, whole or not at all.

    Holds every operator of torch, every kernel and copy of a GPU, and every range of `measure.nvtx.marked`. Other
    processes are not in it. Raises KvbenchError when the disk refuses.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile, record_function

    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself; what cannot be traced is absent from the trace
        profiler = profile(activities=activities, acc_events=True)
        profiler.start()
        try:
            with also_marked(record_function):
                yield
        finally:
            profiler.stop()
            with replacing(path) as temporary:
                profiler.export_chrome_trace(str(temporary))
