"""Owns the tuned profile's files: where they may go, and writing YAML and calibrated vectors beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from kvbench.bench.tune_choice import Chosen, Curve
from kvbench.bench.tune_curves import TensorToTune
from kvbench.codecs import calibration
from kvbench.errors import UsageError
from kvbench.record.files import write_whole

MARK = "# Tuned by kvbench tune"


def require_place(path: Path) -> None:
    """Raises UsageError where a profile cannot be written, or would replace what `kvbench tune` did not write."""
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--save-profile {path}: a profile is a .yaml file")
    if not path.parent.is_dir():
        raise UsageError(f"--save-profile {path}: there is no folder {path.parent}; make it first")
    if path.exists():
        if not path.is_file() or not path.read_bytes().startswith(MARK.encode()):
            raise UsageError(f"--save-profile {path} is there and was not written by kvbench tune; choose another name")
    elif vectors_path(path).exists():
        raise UsageError(f"--save-profile {path}: {vectors_path(path)} is there already; choose another name")


def vectors_path(path: Path) -> Path:
    """The calibrated vectors' file of a profile."""
    return path.with_suffix(".safetensors")


def fingerprint_of(path: Path) -> str | None:
    """What the profile at `path` says it was tuned for; None where there is none."""
    if not path.is_file():
        return None
    first = path.read_bytes().partition(b"\n")[0].decode("utf-8", "replace")
    return first.removeprefix(f"{MARK}, ") if first.startswith(MARK) else None


def write_profile(
    path: Path,
    fingerprint: str,
    notes: Sequence[str],
    tensors: Sequence[TensorToTune],
    curves: Sequence[Curve],
    chosen: Chosen,
) -> None:
    """Write vectors, then profile, each whole or not at all. Raises KvbenchError when the disk refuses."""
    rules: list[dict[str, Any]] = []
    vectors = {}
    for tensor, curve, point in zip(tensors, curves, chosen.points, strict=True):
        for word, statistic in (("center", "mean"), ("scale", "std")):
            if f"{word}=calibrated" in point.transforms:
                vectors[curve.layer, str(curve.kv), statistic] = tensor.vectors[statistic]
        rules.append(
            {
                "layers": curve.layer,
                "kv": curve.kv,
                "mode": point.mode,
                "transforms": point.transforms,
                "bound": point.bound,
            }
        )
    body = "".join(f"- {yaml.safe_dump(rule, default_flow_style=True, sort_keys=False, width=1000)}" for rule in rules)
    if vectors:
        calibration.write(vectors_path(path), vectors)
    beside = f"calibration: {vectors_path(path).name}\n" if vectors else ""
    head = "".join(f"# {note}\n" for note in notes)
    write_whole(path, f"{MARK}, {fingerprint}\n{head}{beside}rules:\n{body}")
