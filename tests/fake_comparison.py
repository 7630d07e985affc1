"""Owns made-up runs for comparisons: several cases whose times have a known cause. No number in them was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fake_run import HOST, STARTED, codec_case, make_run, result, tensor

from kvbench.record.schema import Case, CaseResult, PhaseSamples, RunManifest
from kvbench.record.store import RunFolder
from kvbench.report.comparison.sides import Run

PHASE_S = {"encode_call": 2e-4, "decode_call": 1e-4}


def timed(
    median_s: float, rng: np.random.Generator, samples: int = 30, hanging: float = 0.5, **fields: Any
) -> PhaseSamples:
    """Samples around a median whose noise of 1 % hangs together from one to the next."""
    noise, last = [], 0.0
    for step in 0.01 * rng.standard_normal(samples):
        last = hanging * last + step
        noise.append(last)
    drawn = median_s * np.exp(noise)
    known = {"samples_s": drawn.tolist(), "work_bytes": 1000, "median_s": float(np.median(drawn))}
    return PhaseSamples(**known | fields)


def cases(layers: Sequence[int] = (0, 29), raw: bool = True) -> list[Case]:
    """cuszp, and as a control `raw`, on K and V of each layer."""
    specs = [tensor(layer, kv) for layer in layers for kv in ("k", "v")]
    return [codec_case(spec, mode) for mode in ("plain", *([None] if raw else [])) for spec in specs]


def results(
    seed: int,
    slower: Mapping[str, float] | None = None,
    run_shift: float = 0.0,
    row_shift: float = 0.0,
    of: Sequence[Case] | None = None,
    **sampling: Any,
) -> list[CaseResult]:
    """One run: all its times e^`run_shift` of the usual, each row's by a spread of `row_shift` beside.

    `slower` maps a phase of cuszp to the factor its times are multiplied by.
    """
    rng = np.random.default_rng(seed)
    found = []
    for case in cases() if of is None else of:
        phases = {}
        for phase, usual_s in PHASE_S.items():
            factor = (slower or {}).get(phase, 1.0) if case.codec == "cuszp" else 1.0
            machine = float(np.exp(run_shift + row_shift * rng.standard_normal()))
            phases[phase] = timed(usual_s * factor * machine, rng, **sampling)
        metrics: dict[str, float | int | None] = {"compressed_bytes": 1000, "ratio": 4.0, "rmse": 0.25}
        found.append(result(case, phases=phases, metrics=metrics))
    return found


def folder(path: Path, made: Sequence[CaseResult], host: Mapping[str, Any] | None = None) -> RunFolder:
    """A run folder of these results with an id of its own."""
    run = make_run(path, made)
    manifest = run.manifest()
    manifest.run_id, manifest.host = path.name, {**HOST, **(host or {})}
    run.write_manifest(manifest)
    return run


def run(path: Path, made: Sequence[CaseResult], host: Mapping[str, Any] | None = None) -> Run:
    """The same without a disk."""
    manifest = RunManifest(
        run_id=path.name,
        command="sweep",
        argv=[],
        experiment={},
        seed=0,
        status="finished",
        started_at=STARTED,
        host={**HOST, **(host or {})},
    )
    return Run(path, manifest, made)
