"""Owns the bench of `quality`: what a model makes of a prefix whose KV cache went through a codec."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch

from kvbench.bench.cache_codec import CodedCache, code_cache
from kvbench.bench.case_codec import TRANSFORM_NOTE, with_known_transforms
from kvbench.bench.coding import PROFILE_CODEC, coding_of, profile_facts
from kvbench.bench.context import BenchContext, Preparation
from kvbench.bench.device import busy_notes, device_notes, require_cuda
from kvbench.bench.outcome import Outcome
from kvbench.bench.quality_task import scoring_task, text_notes, text_specs
from kvbench.codecs import profile as profiles
from kvbench.codecs import registry as codecs
from kvbench.config import CodecChoice, Experiment
from kvbench.errors import UsageError
from kvbench.measure.blocks import BLOCK_TOKENS
from kvbench.plan import NO_TRANSFORM, CodecFacts, Plan, SkippedCase, codec_cells
from kvbench.record.checked_on import side_words
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import Case, CaseStatus, TensorSpec

FLOOR = CodecChoice(name="raw")


def prepare(experiment: Experiment, cuda: CudaFacts | str) -> Preparation:
    """The cases of every text, cache dtype, codec, mode, bound, layout and number of kept tokens asked for.

    Reads the model's configuration and tokenizer, no weights. `raw` is always among the codecs: it is the floor.
    Raises UsageError or UnavailableError where model, text or codec cannot be used here.
    """
    require_cuda(experiment, cuda)
    for kept in experiment.keep_first:
        if kept >= experiment.prefix_tokens:
            raise UsageError(f"--keep-first {kept}: the prefix has {experiment.prefix_tokens} tokens; keep fewer")
    specs = text_specs(experiment, on_gpu=experiment.device != "cpu" and not isinstance(cuda, str))
    plan = _expand(with_known_transforms(experiment), specs)
    transformed = any(case.before_codec or case.profile for case in plan.cases)
    notes = [
        *device_notes(experiment, cuda, plan.cases),
        *busy_notes(),
        *text_notes(experiment),
        "raw is the floor: the unchanged cache through the same steps",
        *([TRANSFORM_NOTE] if transformed else []),
        f"intervals: bootstrap over blocks of {BLOCK_TOKENS} tokens, 95 %",
    ]
    return Preparation(plan, notes=tuple(notes))


def run(case: Case, context: BenchContext) -> Outcome:
    """Encode and decode the prefix's cache, then run the model over what follows with the decoded one.

    The model, and each text's own pass, are made at their first case and kept by the context. Raises CaseFailed where
    decoding is incomplete or the model's output is not finite.
    """
    task = scoring_task(case, context)
    coding = coding_of(case)
    with context.working_stream(case):
        coded = code_cache(case, coding, context, task.prefix)
        if case.device == "cuda":
            torch.cuda.synchronize(context.device_id)  # the model works on another stream
    outcome = Outcome(
        phases=coded.phases,
        metrics=coded.metrics | task.metrics(coded.prefix),
        layers=coded.layers,
        flags=coded.flags,
    )
    judge(outcome, case, coded)
    return outcome


def _expand(experiment: Experiment, specs: tuple[TensorSpec, ...]) -> Plan:
    cases: dict[str, Case] = {}
    skipped: dict[str, SkippedCase] = {}
    known = _choices(experiment, specs)
    # The text outermost: its own pass is made once.
    for spec, (choice, facts) in product(specs, known.items()):
        for case in _cells(experiment, spec, choice, facts):
            if facts.unavailable is None:
                cases.setdefault(case.id, case)
            else:
                reason = f"codec {choice.name!r} cannot be used here: {facts.unavailable}"
                skipped.setdefault(case.id, SkippedCase(case, "codec_unavailable", reason))
    return Plan(tuple(cases.values()), tuple(skipped.values()))


def _choices(experiment: Experiment, specs: tuple[TensorSpec, ...]) -> dict[CodecChoice, CodecFacts]:
    """The floor, then the codecs or the profile in their place, with what planning must know of them."""
    known = {FLOOR: codecs.facts(FLOOR, experiment.device)}
    if experiment.profile is None:
        return known | {choice: codecs.facts(choice, experiment.device) for choice in experiment.codec}
    profile = profiles.load(experiment.profile)
    choice = CodecChoice(name=PROFILE_CODEC, params={"file": str(experiment.profile), "label": profile.label})
    return known | {choice: profile_facts(profile, specs[0].shape[0], experiment.device)}


def _cells(experiment: Experiment, spec: TensorSpec, choice: CodecChoice, facts: CodecFacts) -> Iterator[Case]:
    layouts, chains, kept = experiment.layout, experiment.transform, experiment.keep_first
    if choice == FLOOR:  # a copy is the same in every layout, whatever is done before and undone after it
        layouts, chains, kept = ("thd",), (NO_TRANSFORM,), (0,)
    for layout, chain, keep_first in product(layouts, chains, kept):
        for params, bound in codec_cells(experiment, choice, facts.axes):
            yield Case(
                command=experiment.command,
                codec=choice.name,
                codec_params={name: value for name, value in params.items() if name != "label"},
                mode=params.get("mode"),
                bound=bound,
                tensor=spec,
                transforms=None if chain == NO_TRANSFORM else chain,
                profile=params.get("label") if choice.name == PROFILE_CODEC else None,
                layout=layout,
                dtype=spec.dtype,
                shape=spec.shape,
                elements=spec.elements,
                device=facts.device,
                threads=experiment.threads if "threads" in facts.axes and facts.device == "cpu" else None,
                keep_first=keep_first or None,
                seed=experiment.seed,
            )


def judge(outcome: Outcome, case: Case, coded: CodedCache) -> None:
    """Set the verdict on the codec; what the model made of it is a measurement and has none."""
    bound = "their bounds" if case.bound is None else f"the bound {case.bound}"
    side = side_words(case.dtype, coded=coded.metrics.get("coded_max_abs_error") is not None)
    verdicts: tuple[tuple[int, CaseStatus, str, str], ...] = (
        (coded.inexact, "failed", "not_lossless", "came back different from a lossless codec"),
        (coded.beyond_bound, "failed", "bound_broken", f"break {bound}; {side}"),
        (coded.special_mismatches, "failed", "non_finite_changed", "became or stopped being finite"),
        (coded.beyond_compatible_bound, "invalid", "bound_exceeded", f"break {bound}; {side}"),
    )
    for count, status, reason_code, words in verdicts:
        if count:
            outcome.status, outcome.reason_code = status, reason_code
            outcome.reason = f"{count} of {case.elements} values {words}"
            return
