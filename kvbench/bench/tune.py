"""Owns the bench of `tune`: a profile made on one text, then scored on that text and on others that it never saw."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import torch

from kvbench.bench import quality
from kvbench.bench.cache_codec import code_cache
from kvbench.bench.coding import PROFILE_CODEC, Coding, CodingOf
from kvbench.bench.context import BenchContext, Preparation
from kvbench.bench.device import busy_notes, device_notes, require_cuda
from kvbench.bench.outcome import Outcome
from kvbench.bench.quality_task import Continuation, scoring_task, text_notes, text_specs
from kvbench.bench.tune_profile import fingerprint_of, require_place
from kvbench.bench.tune_search import Target, Tuner, Tuning
from kvbench.codecs import profile as profiles
from kvbench.codecs import registry as codecs
from kvbench.config import CodecChoice, Experiment
from kvbench.errors import CaseFailed, UsageError
from kvbench.measure.blocks import BLOCK_TOKENS
from kvbench.models.needle import NEEDLE
from kvbench.models.texts import TEXTS
from kvbench.plan import CodecFacts, Plan, SkippedCase
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import Case, TensorSpec

CALIBRATION = tuple(name for name, text in TEXTS.items() if text.role == "calibration")
HELD_OUT = tuple(name for name, text in TEXTS.items() if text.role == "held_out")

KINDS_OF_TARGET: tuple[Literal["max_kl"], Literal["min_ratio"]] = ("max_kl", "min_ratio")


def prepare(experiment: Experiment, cuda: CudaFacts | str) -> Preparation:
    """Text by text, the calibration text first: the floor, and a case a target.

    Reads the model's configuration and tokenizer, no weights. Raises UsageError or UnavailableError where model, text,
    target or the profile's place cannot be used here.
    """
    require_cuda(experiment, cuda)
    targets = _targets(experiment)
    calibration, held_out = _texts(experiment)
    if len(experiment.dtype) > 1:
        raise UsageError(
            f"--dtype {' '.join(experiment.dtype)}: a profile is for one element type of the cache; give one"
        )
    for target in targets:
        require_place(_file_of(experiment, target, len(targets)))
    with_texts = experiment.model_copy(update={"text": (calibration, *held_out)})
    specs = text_specs(with_texts, on_gpu=experiment.device != "cpu" and not isinstance(cuda, str))
    roles = ["calibration", *["held_out"] * len(held_out)]
    specs = tuple(
        spec.model_copy(
            update={"params": {**spec.params, "role": role, "calibrated_on": specs[0].params["text_sha256"]}}
        )
        for spec, role in zip(specs, roles, strict=True)
    )
    plan = _expand(experiment, specs, targets)
    notes = [
        *device_notes(experiment, cuda, plan.cases),
        *busy_notes(),
        *text_notes(with_texts),
        f"calibrated on {calibration} alone; held out: {', '.join(held_out)}",
        "raw is the floor: the unchanged cache through the same steps",
        f"intervals: bootstrap over blocks of {BLOCK_TOKENS} tokens, 95 %",
    ]
    return Preparation(plan, notes=tuple(notes))


def run(case: Case, context: BenchContext) -> Outcome:
    """Score the floor or a tuned profile on the case's text; on the calibration text the profile is made first.

    Raises CaseFailed (`target_missed`) where no bounds meet the target, with the nearest point, and (`not_tuned`)
    where there is no profile to score.
    """
    if case.profile is None:
        return quality.run(case, context)
    task = scoring_task(case, context)
    assert isinstance(task, Continuation)
    assert case.tensor is not None
    predicted: dict[str, float | int | None] = {}
    if case.tensor.params["role"] == "calibration":
        tuned = _tune(case, context, task)
        predicted = {"predicted_kl": tuned.predicted_kl, "predicted_ratio": tuned.predicted_ratio}
    coding = _coding(case)
    with context.working_stream(case):
        coded = code_cache(case, coding, context, task.prefix)
        if case.device == "cuda":
            torch.cuda.synchronize(context.device_id)  # the model works on another stream
    outcome = Outcome(
        phases=coded.phases,
        metrics=coded.metrics | task.metrics(coded.prefix) | predicted,
        layers=coded.layers,
        flags=coded.flags,
    )
    quality.judge(outcome, case, coded)
    return outcome


def _tune(case: Case, context: BenchContext, task: Continuation) -> Tuning:
    assert case.tensor is not None
    key = f"{case.tensor.model_dump_json()} {case.seed}"
    if context.kept.get("tuner_key") != key:
        device = torch.device("cuda", context.device_id) if case.device == "cuda" else torch.device("cpu")
        context.kept["tuner"] = Tuner.measured(case, task, device)
        context.kept["tuner_key"] = key
    tuner: Tuner = context.kept["tuner"]
    params = case.codec_params
    [target] = [Target(kind, params[kind]) for kind in KINDS_OF_TARGET if kind in params]
    return tuner.tune(target, Path(params["file"]), _fingerprint(case), case)


def _coding(case: Case) -> CodingOf:
    path = Path(case.codec_params["file"])
    if fingerprint_of(path) != _fingerprint(case):
        raise CaseFailed(
            "not_tuned", f"there is no profile for this target at {path}: tuning for it has not ended well"
        )
    profile = profiles.load(path)

    def of_layer(layer: int, kv: Any) -> Coding:
        chosen = profile.choose(layer, kv)
        return Coding(profiles.make_codec(chosen, case.threads or 0), chosen.bound)

    return of_layer


def _fingerprint(case: Case) -> str:
    """16 hex digits of all that a profile depends on; the same in the calibration case and the held-out ones."""
    spec = case.tensor
    assert spec is not None
    own = ("text_sha256", "role")
    fields = {
        "target": {name: value for name, value in case.codec_params.items() if name != "file"},
        "model": [spec.tensor, {name: value for name, value in spec.params.items() if name not in own}],
        "cache": [spec.dtype, spec.shape],
        "seed": case.seed,
    }
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def _targets(experiment: Experiment) -> tuple[Target, ...]:
    found = [Target(kind, value) for kind in KINDS_OF_TARGET for value in getattr(experiment, kind)]
    if not found:
        raise UsageError("tune needs a target: give --max-kl X, a mean KL in nat, or --min-ratio X")
    return tuple(found)


def _texts(experiment: Experiment) -> tuple[str, tuple[str, ...]]:
    """The calibration text and the held-out ones. Raises UsageError where they could not tell overfitting."""
    calibration, held_out = experiment.text or CALIBRATION, experiment.held_out or HELD_OUT
    if len(calibration) != 1:
        raise UsageError(f"--text {' '.join(calibration)}: tune calibrates on one text; others go to --held-out")
    if NEEDLE in (*calibration, *held_out):
        raise UsageError(f"--text {NEEDLE}: it has no next-token distributions to tune by; give another")
    if calibration[0] in HELD_OUT:
        raise UsageError(f"--text {calibration[0]}: that text is held out from all tuning; give another")
    if calibration[0] in held_out:
        raise UsageError(f"--held-out {calibration[0]}: the profile is calibrated on it; give another")
    return calibration[0], held_out


def _file_of(experiment: Experiment, target: Target, targets: int) -> Path:
    """Where a target's profile goes: the path that was given, with the target in the name if there are several."""
    path = experiment.save_profile
    if path is None:
        raise UsageError("tune needs a place for the profile: give --save-profile FILE.yaml")
    if targets == 1:
        return path
    word = "kl" if target.kind == "max_kl" else "ratio"
    return path.with_name(f"{path.stem}-{word}{target.value:g}{path.suffix}")


def _expand(experiment: Experiment, specs: tuple[TensorSpec, ...], targets: tuple[Target, ...]) -> Plan:
    """The text outermost: its own pass is made once, and profiles are there before they are scored."""
    floor = codecs.facts(quality.FLOOR, experiment.device)
    coder = codecs.facts(CodecChoice(name="cuszp"), experiment.device)
    cases = []
    for spec in specs:
        cases.append(_case(experiment, spec, floor, quality.FLOOR.name, {}, None))
        for target in targets:
            path = _file_of(experiment, target, len(targets))
            params = {target.kind: target.value, "file": str(path)}
            cases.append(_case(experiment, spec, coder, PROFILE_CODEC, params, path.name))
    if coder.unavailable is None:
        return Plan(tuple(cases), ())
    reason = f"codec 'cuszp' cannot be used here: {coder.unavailable}"
    skipped = [SkippedCase(case, "codec_unavailable", reason) for case in cases if case.profile is not None]
    return Plan(tuple(case for case in cases if case.profile is None), tuple(skipped))


def _case(
    experiment: Experiment, spec: TensorSpec, facts: CodecFacts, codec: str, params: dict[str, Any], profile: str | None
) -> Case:
    return Case(
        command=experiment.command,
        codec=codec,
        codec_params=params,
        tensor=spec,
        profile=profile,
        layout="thd",
        dtype=spec.dtype,
        shape=spec.shape,
        elements=spec.elements,
        device=facts.device,
        threads=experiment.threads if "threads" in facts.axes and facts.device == "cpu" else None,
        seed=experiment.seed,
    )
