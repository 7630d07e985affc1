"""Owns what a page says of a run in words: what was asked, on which machine, and how to do it again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, get_args

from kvbench.bound import BOUND_KIND_MEANING
from kvbench.config import Command, Experiment, fields_of
from kvbench.record.schema import GB, CaseResult, RunManifest

_CORES = (("cores_physical", "cores"), ("cores_logical", "threads"), ("cores_usable", "usable here"))


def machine_lines(host: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The facts a reader of numbers wants first, in words; what the machine did not tell is left out."""
    for number, gpu in enumerate(host.get("gpus") or []):
        yield f"GPU {number}", _gpu_words(gpu)
    cores = [f"{host[key]} {word}" for key, word in _CORES if host.get(key) is not None]
    memory = host.get("memory_bytes")
    lines = {
        "CUDA": ": ".join(str(host[key]) for key in ("cuda", "cuda_reason") if host.get(key)),
        "CPU": ", ".join(str(part) for part in (host.get("cpu"), *cores) if part),
        "Memory": f"{memory / GB:.1f} GB" if memory else "",
        "NUMA nodes": str(len(host.get("numa_nodes") or []) or ""),
        "System": ", ".join(str(host[key]) for key in ("os", "kernel") if host.get(key)),
        "Python": host.get("python") or "",
        "kvbench": kvbench_words(host),
        "Packages": ", ".join(f"{name} {number}" for name, number in (host.get("packages") or {}).items()),
    }
    yield from ((name, text) for name, text in lines.items() if text)


def kvbench_words(host: dict[str, Any]) -> str:
    """`0.1.0, commit 0123456789ab`: what measured; empty where it is not known."""
    kvbench = host.get("kvbench") or {}
    if not kvbench:
        return ""
    commit = kvbench.get("commit")
    version = f"{kvbench.get('version')}{f', commit {commit[:12]}' if commit else ''}"
    return f"{version}{', with uncommitted changes' if kvbench.get('dirty') else ''}"


def _gpu_words(gpu: dict[str, Any]) -> str:
    memory = gpu.get("memory_bytes")
    parts = [
        gpu.get("name"),
        memory and f"{memory / GB:.1f} GB",
        gpu.get("driver") and f"driver {gpu['driver']}",
        gpu.get("cuda_driver") and f"CUDA {gpu['cuda_driver']}",
        gpu.get("pcie_generation")
        and f"PCIe gen {gpu['pcie_generation']} of {gpu['pcie_generation_max']}, "
        f"x{gpu['pcie_width']} of {gpu['pcie_width_max']}",
        gpu.get("sm_clock_mhz") and f"SM {gpu['sm_clock_mhz']} of {gpu['sm_clock_max_mhz']} MHz",
        gpu.get("throttle_reasons") and f"clock reasons: {', '.join(gpu['throttle_reasons'])}",
    ]
    return ", ".join(str(part) for part in parts if part)


def asked_lines(manifest: RunManifest, results: Sequence[CaseResult]) -> Iterator[tuple[str, str]]:
    """The tensors that came of it, and the fields of the experiment that say something, by their options' names."""
    tensors: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for result in results:
        if result.case.tensor is not None:
            tensors[result.case.tensor.source].add((result.case.tensor.tensor, result.case.elements))
    if tensors:
        yield "tensors", ", ".join(f"{len(names)} of {source}" for source, names in tensors.items())
    for name, value in _set_fields(manifest).items():
        if name != "command":
            yield name.replace("_", "-"), _value_words(value)


def _set_fields(manifest: RunManifest) -> dict[str, Any]:
    """The fields of the experiment that its command uses and that hold something."""
    unused = Experiment.model_fields.keys() - _used(manifest)
    empty: tuple[Any, ...] = (None, [], "", {})
    return {name: value for name, value in manifest.experiment.items() if value not in empty and name not in unused}


def _used(manifest: RunManifest) -> set[str]:
    known = [command for command in get_args(Command) if command == manifest.command]
    return fields_of(known[0]) if known else set(Experiment.model_fields)


def _value_words(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_value_words(inside) for inside in value)
    if isinstance(value, dict):
        name, params = value.get("name"), value.get("params") or {}
        return f"{name}{' ' + str(params) if params else ''}" if name else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def config_yaml(manifest: RunManifest) -> str:
    """The experiment as a file for --config: every field that is set, defaults included."""
    import yaml

    return yaml.safe_dump(
        _set_fields(manifest), sort_keys=False, default_flow_style=None, allow_unicode=True, width=100
    )


def took(manifest: RunManifest) -> str | None:
    """`17 s`, `2.5 min`: how long the run took; None while it has no end."""
    if manifest.ended_at is None:
        return None
    seconds = (datetime.fromisoformat(manifest.ended_at) - datetime.fromisoformat(manifest.started_at)).total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def units(results: Sequence[CaseResult]) -> list[str]:
    """What GB, KiB and the kinds of bound in these cases mean."""
    kinds = sorted({result.case.bound.kind for result in results if result.case.bound})
    return ["GB = 1e9 bytes", "KiB = 1024 bytes", *(f"{kind}: {BOUND_KIND_MEANING[kind]}" for kind in kinds)]


def count_words(manifest: RunManifest) -> str:
    """`30 of 32 cases done, 1 failed, 1 skipped`."""
    counts = {
        "failed": manifest.cases_failed,
        "invalid": manifest.cases_invalid,
        "skipped": manifest.cases_skipped,
    }
    words = [f"{count} {status}" for status, count in counts.items() if count]
    return ", ".join([f"{manifest.cases_done} of {manifest.cases_planned} cases done", *words])
