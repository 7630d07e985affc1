"""Owns report.html: one file that needs no network, put together from the run's record and its figures."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from kvbench.bound import BOUND_KIND_MEANING
from kvbench.record.files import write_whole
from kvbench.record.schema import CaseResult, RunManifest
from kvbench.report.answer import answer
from kvbench.report.case_table import case_table
from kvbench.report.inline_svg import inline_svg
from kvbench.report.notes import noisy_note, unwell
from kvbench.report.style import DrawnFigure

_GB = 1e9


def write_page(
    path: Path, manifest: RunManifest, results: Sequence[CaseResult], figures: Sequence[DrawnFigure]
) -> Path:
    """Write the page. The same record and figures give the same bytes. Raises KvbenchError when the disk refuses."""
    from jinja2 import Environment, StrictUndefined

    template = files("kvbench.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(template).render(
        manifest=manifest,
        took=_took(manifest),
        answer=answer(manifest, results),
        doubts=noisy_note(results),
        asked=list(_asked(manifest, results)),
        machine=list(machine_lines(manifest.host)),
        figures=[(figure, inline_svg(figure)) for figure in figures],
        table=case_table(results),
        unwell=unwell(results),
        units=_units(results),
        command=shlex.join(manifest.argv),
    )
    return write_whole(path, text)


def machine_lines(host: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The facts a reader of numbers wants first, in words; what the machine did not tell is left out."""
    cores = [f"{host[key]} {word}" for key, word in _CORES if host.get(key) is not None]
    cpu = ", ".join(str(part) for part in (host.get("cpu"), *cores) if part)
    memory = host.get("memory_bytes")
    kvbench = host.get("kvbench") or {}
    commit = kvbench.get("commit")
    version = f"{kvbench.get('version')}{f', commit {commit[:12]}' if commit else ''}"
    lines = {
        "CPU": cpu,
        "Memory": f"{memory / _GB:.1f} GB" if memory else "",
        "NUMA nodes": str(len(host.get("numa_nodes") or []) or ""),
        "System": ", ".join(str(host[key]) for key in ("os", "kernel") if host.get(key)),
        "Python": host.get("python") or "",
        "kvbench": f"{version}{', with uncommitted changes' if kvbench.get('dirty') else ''}" if kvbench else "",
        "Packages": ", ".join(f"{name} {number}" for name, number in (host.get("packages") or {}).items()),
        "CUDA": ": ".join(str(host[key]) for key in ("cuda", "cuda_reason") if host.get(key)),
    }
    yield from ((name, text) for name, text in lines.items() if text)
    for number, gpu in enumerate(host.get("gpus") or []):
        yield f"GPU {number}", _gpu_words(gpu)


_CORES = (("cores_physical", "cores"), ("cores_logical", "threads"), ("cores_usable", "usable here"))


def _gpu_words(gpu: dict[str, Any]) -> str:
    memory = gpu.get("memory_bytes")
    parts = [
        gpu.get("name"),
        memory and f"{memory / _GB:.1f} GB",
        gpu.get("driver") and f"driver {gpu['driver']}",
        gpu.get("cuda_driver") and f"CUDA {gpu['cuda_driver']}",
        gpu.get("pcie_generation")
        and f"PCIe gen {gpu['pcie_generation']} of {gpu['pcie_generation_max']}, "
        f"x{gpu['pcie_width']} of {gpu['pcie_width_max']}",
        gpu.get("sm_clock_mhz") and f"SM {gpu['sm_clock_mhz']} of {gpu['sm_clock_max_mhz']} MHz",
        gpu.get("throttle_reasons") and f"clock reasons: {', '.join(gpu['throttle_reasons'])}",
    ]
    return ", ".join(str(part) for part in parts if part)


def _asked(manifest: RunManifest, results: Sequence[CaseResult]) -> Iterator[tuple[str, str]]:
    """The tensors that came of it, and the fields of the experiment that say something, by their options' names."""
    tensors: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for result in results:
        if result.case.tensor is not None:
            tensors[result.case.tensor.source].add((result.case.tensor.tensor, result.case.elements))
    if tensors:
        yield "tensors", ", ".join(f"{len(names)} of {source}" for source, names in tensors.items())
    for name, value in manifest.experiment.items():
        if value not in (None, [], "", {}) and name != "command":
            yield name.replace("_", "-"), _value_words(value)


def _value_words(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_value_words(inside) for inside in value)
    if isinstance(value, dict):
        name, params = value.get("name"), value.get("params") or {}
        return f"{name}{' ' + str(params) if params else ''}" if name else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _took(manifest: RunManifest) -> str | None:
    if manifest.ended_at is None:
        return None
    seconds = (datetime.fromisoformat(manifest.ended_at) - datetime.fromisoformat(manifest.started_at)).total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _units(results: Sequence[CaseResult]) -> list[str]:
    kinds = sorted({result.case.bound.kind for result in results if result.case.bound})
    return ["GB = 1e9 bytes", "KiB = 1024 bytes", *(f"{kind}: {BOUND_KIND_MEANING[kind]}" for kind in kinds)]
