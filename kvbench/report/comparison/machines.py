"""Owns what two sides must have in common for their times to be comparable, and what else differs between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kvbench.record.schema import RunManifest
from kvbench.report.comparison.sides import Run, Side

# Facts whose difference moves every time, whatever the code.
HARDWARE = ("architecture", "cpu", "cores_usable", "cpu_quota", "cpu_governor")
GPU_HARDWARE = (
    *("name", "driver", "memory_bytes", "sm_clock_max_mhz", "memory_clock_max_mhz", "power_limit_w"),
    *("pcie_generation_max", "pcie_width", "mig", "ecc"),
)
SOFTWARE = ("os", "kernel", "python", "load_1min", "environment", "cuda")
SHORT_COMMIT = 12


def unlike(a: Side, b: Side) -> list[str]:
    """What makes the runs unlike, a phrase each: schema and hardware. Empty where they may be compared."""
    return _differences(a, b, _must_agree)


def differing(a: Side, b: Side) -> list[str]:
    """What else differs, a phrase each: versions, commit, system, settings of the sampling, seed."""
    return _differences(a, b, _worth_saying)


def unfinished(a: Side, b: Side) -> list[str]:
    """A phrase for each run that did not end by itself."""
    runs = [(side, run) for side in (a, b) for run in side.runs if run.manifest.status != "finished"]
    return [f"{run.path} of {side.name} is {run.manifest.status}: it may lack cases" for side, run in runs]


def _differences(a: Side, b: Side, facts_of: Any) -> list[str]:
    values_a, values_b = (_values([facts_of(run.manifest) for run in side.runs]) for side in (a, b))
    names = list(dict.fromkeys([*values_a, *values_b]))
    return [
        f"{name}: {' or '.join(left)} in A, {' or '.join(right)} in B"
        for name in names
        if (left := values_a.get(name, ["none"])) != (right := values_b.get(name, ["none"])) or len(left) > 1
    ]


def _values(facts: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By fact: every value the runs of a side have, as text."""
    names = dict.fromkeys(name for one in facts for name in one)
    return {name: sorted({_text(one.get(name)) for one in facts}) for name in names}


def _text(value: Any) -> str:
    return "not recorded" if value is None else str(value)


def _must_agree(manifest: RunManifest) -> dict[str, Any]:
    host = manifest.host
    facts = {"schema version": manifest.schema_version, **{name: host.get(name) for name in HARDWARE}}
    gpus = host.get("gpus") or []
    facts["GPUs"] = len(gpus)
    for number, gpu in enumerate(gpus):
        facts |= {f"GPU {number} {name}": gpu.get(name) for name in GPU_HARDWARE}
    return facts


def _worth_saying(manifest: RunManifest) -> dict[str, Any]:
    host, kvbench = manifest.host, manifest.host.get("kvbench") or {}
    commit = kvbench.get("commit")
    facts = {
        "kvbench": kvbench.get("version"),
        "commit": None if commit is None else commit[:SHORT_COMMIT] + (" with changes" if kvbench.get("dirty") else ""),
    }
    facts |= {name: host.get(name) for name in SOFTWARE}
    facts |= {f"package {name}": version for name, version in (host.get("packages") or {}).items()}
    facts |= {name: manifest.experiment.get(name) for name in ("iterations", "time_limit", "seed")}
    return {**facts, **dict(_gpu_moments(host))}


def _gpu_moments(host: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Clocks of the moment a run began: they move, so they are told and not required."""
    for number, gpu in enumerate(host.get("gpus") or []):
        for name in ("sm_clock_mhz", "throttle_reasons", "temperature_c", "persistence_mode"):
            yield f"GPU {number} {name}", gpu.get(name)


def names_of(run: Run) -> str:
    """How a run is named in what is printed: its folder and, where known, its commit."""
    commit = (run.manifest.host.get("kvbench") or {}).get("commit")
    return f"{run.path}" + (f" (commit {commit[:SHORT_COMMIT]})" if commit else "")
