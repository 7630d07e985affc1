"""Owns the runs that one page is about: their short names, and their cases side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kvbench.errors import UsageError
from kvbench.record.profile import KernelProfile, Timeline, read_kernels, read_timeline
from kvbench.record.schema import CaseResult, Link, RunManifest
from kvbench.record.store import RunFolder

_SEPARATOR = "/"


@dataclass(frozen=True)
class Run:
    """One run as recorded. `name` is short and its own on the page; empty for the only run of a page."""

    name: str
    manifest: RunManifest
    results: tuple[CaseResult, ...]
    timeline: Timeline | None = None  # where the run was profiled by nsys
    kernels: KernelProfile | None = None  # and by ncu


def read_runs(folders: Sequence[RunFolder]) -> list[Run]:
    """The runs in the order given. Raises UsageError where one is given twice, or cannot be read."""
    manifests = [folder.manifest() for folder in folders]
    for number, folder in enumerate(folders):
        if any(folder.path.resolve() == earlier.path.resolve() for earlier in folders[:number]):
            raise UsageError(f"run {folder.path} is given twice; give each run once")
    names = [""] if len(folders) == 1 else _names(folders, manifests)
    return [
        Run(name, manifest, tuple(folder.results()), read_timeline(folder.path), read_kernels(folder.path))
        for name, manifest, folder in zip(names, manifests, folders, strict=True)
    ]


def _names(folders: Sequence[RunFolder], manifests: Sequence[RunManifest]) -> list[str]:
    """The folder's name, or what follows the time in it where kvbench chose it; a number behind names given twice."""
    names = []
    for folder, manifest in zip(folders, manifests, strict=True):
        name = folder.path.resolve().name
        names.append(name.partition("-")[2] if name == manifest.run_id else name)
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{name} #{number}" for number, name in enumerate(names, start=1)]


def side_by_side(runs: Sequence[Run]) -> list[CaseResult]:
    """The cases of all runs. With several, a case's id gets its run's name in front: equal cases have equal ids."""
    return [
        result.model_copy(update={"case_id": f"{run.name}{_SEPARATOR}{result.case_id}"}) if run.name else result
        for run in runs
        for result in run.results
    ]


def run_name(result: CaseResult) -> str:
    """The name of the run that a case of `side_by_side` is from; empty where there is one run."""
    return result.case_id.rpartition(_SEPARATOR)[0]


def links(runs: Sequence[Run]) -> dict[str, Link]:
    """By run name: the link its speeds are about, for runs that have one."""
    return {run.name: run.manifest.link for run in runs if run.manifest.link is not None}


def together(runs: Sequence[Run]) -> RunManifest:
    """The first run's manifest, with an experiment that asks for every size that any of the runs asked for."""
    first = runs[0].manifest
    asked = {
        name: list(dict.fromkeys(size for run in runs for size in run.manifest.experiment.get(name) or ()))
        for name in ("tensor_size", "geometry")
    }
    return first.model_copy(update={"experiment": {**first.experiment, **asked}})
