"""Owns tuning for a target: curves measured once, points chosen, the model asked, and the choice corrected."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from kvbench.bench.quality_task import Continuation
from kvbench.bench.tune_choice import Chosen, Curve, within_bytes, within_kl
from kvbench.bench.tune_curves import TensorToTune, coded, measure_curves, tensors_to_tune
from kvbench.bench.tune_profile import write_profile
from kvbench.errors import CaseFailed
from kvbench.models.prefix import LayerKV
from kvbench.models.score import score
from kvbench.models.sensitivity import probe
from kvbench.record.schema import Case

# KL of the whole cache, in nat, at which the points of a curve are measured.
LADDER = tuple(2.0**power for power in range(-15, -2))
ROUNDS = 6
KL_ROOM = 0.6  # of the asked KL is aimed at, since other texts have more of it
RATIO_ROOM = 1.005  # times the asked ratio is aimed at
NEAR_ENOUGH, MOST_OVER = 0.85, 1.05  # of the KL aimed at, between which the search ends


@dataclass(frozen=True)
class Target:
    """What is asked: a mean KL that is not to be exceeded, or a ratio that is to be reached."""

    kind: Literal["max_kl", "min_ratio"]
    value: float

    def __str__(self) -> str:
        return f"KL {self.value:g}" if self.kind == "max_kl" else f"ratio {self.value:g}"

    def met_by(self, kl: float, ratio: float) -> bool:
        """Whether a measured point meets it."""
        return kl <= self.value if self.kind == "max_kl" else ratio >= self.value


@dataclass(frozen=True)
class Attempt:
    """A choice, what was predicted of it, and what the model made of it on the calibration text."""

    chosen: Chosen
    predicted_kl: float
    kl: float
    ratio: float


@dataclass(frozen=True)
class Tuning:
    """The prediction for the profile that was written."""

    predicted_kl: float
    predicted_ratio: float


@dataclass(frozen=True)
class Tuner:
    """The calibration text's cache with what was measured of it; serves every target."""

    task: Continuation
    tensors: Sequence[TensorToTune]
    curves: Sequence[Curve]
    threads: int

    @classmethod
    def measured(cls, case: Case, task: Continuation, device: torch.device) -> Tuner:
        """Sensitivities by backward passes, then curves by the codec on `device`."""
        gradients = probe(task.model, task.prefix, task.reference, case.seed)
        tensors = tensors_to_tune(task.prefix, gradients, device)
        threads = case.threads or 0
        ladder = [kl / len(tensors) for kl in LADDER]
        with _one_torch_thread():
            return cls(task, tensors, list(measure_curves(tensors, ladder, threads)), threads)

    def tune(self, target: Target, path: Path, fingerprint: str, case: Case) -> Tuning:
        """Write the profile for a target. Raises CaseFailed, with the nearest point, where it cannot be met."""
        attempts = self._attempts(target)
        met = [one for one in attempts if target.met_by(one.kl, one.ratio)]
        if not met:
            raise CaseFailed(
                "target_missed", f"{target} cannot be met: nearest is {_words(_nearest(target, attempts))}"
            )
        roomy = [one for one in met if target.kind == "max_kl" and one.kl <= MOST_OVER * KL_ROOM * target.value]
        best = max(roomy, key=lambda one: one.ratio) if roomy else min(met, key=lambda one: one.kl)
        assert case.tensor is not None
        tokens = case.tensor.params["prefix_tokens"]
        notes = [
            f"for {target}, model {case.tensor.tensor}, {case.dtype} cache of {tokens} tokens",
            f"on the calibration text {Path(case.tensor.source).name}: {_words(best)}",
        ]
        write_profile(path, fingerprint, notes, self.tensors, self.curves, best.chosen)
        return Tuning(best.predicted_kl, self._raw_bytes / best.chosen.compressed_bytes)

    @property
    def _raw_bytes(self) -> int:
        return sum(curve.raw_bytes for curve in self.curves)

    def _attempts(self, target: Target) -> list[Attempt]:
        """The choice at the target; for a KL again, each time with the error of the last prediction taken out."""
        if target.kind == "min_ratio":
            chosen = within_bytes(self.curves, self._raw_bytes / (target.value * RATIO_ROOM))
            return [self._measured(chosen, 1.0)]
        aim, wanted, correction = KL_ROOM * target.value, KL_ROOM * target.value, 1.0
        attempts: list[Attempt] = []
        for _ in range(ROUNDS):
            chosen = within_kl(self.curves, wanted)
            if any(chosen == one.chosen for one in attempts):
                break
            attempts.append(self._measured(chosen, correction))
            if NEAR_ENOUGH * aim <= attempts[-1].kl <= MOST_OVER * aim or not chosen.kl or not attempts[-1].kl:
                break
            correction = attempts[-1].kl / chosen.kl
            wanted = _between(attempts, aim, aim / correction)
        return attempts

    def _measured(self, chosen: Chosen, correction: float) -> Attempt:
        decoded, stored = [], 0
        with _one_torch_thread():
            for tensor, point in zip(self.tensors, chosen.points, strict=True):
                encoded_bytes, values = coded(tensor, point.mode, point.transforms, point.bound, self.threads)
                decoded.append(values.to(self.task.prefix[0].keys.device))
                stored += encoded_bytes
        changed = [LayerKV(*pair) for pair in zip(decoded[::2], decoded[1::2], strict=True)]
        kl = float(score(self.task.model, changed, self.task.reference).kl.mean())
        return Attempt(chosen, chosen.kl * correction, kl, self._raw_bytes / stored)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """A tensor of a layer is so small that threads wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _between(attempts: Sequence[Attempt], aim: float, wanted: float) -> float:
    """The predicted KL to choose at next: `wanted`, or where attempts on both sides leave that out, their middle."""
    below = max((one.chosen.kl for one in attempts if one.kl <= aim), default=0.0)
    above = min((one.chosen.kl for one in attempts if one.kl > aim), default=math.inf)
    if below < wanted < above or not 0 < below < above < math.inf:
        return wanted
    return math.sqrt(below * above)


def _nearest(target: Target, attempts: Sequence[Attempt]) -> Attempt:
    return min(attempts, key=lambda one: one.kl if target.kind == "max_kl" else -one.ratio)


def _words(attempt: Attempt) -> str:
    return f"KL {attempt.kl:.3g} at ratio {attempt.ratio:.3g}"
