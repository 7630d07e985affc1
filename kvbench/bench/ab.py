"""Owns `--ab`: two codecs on the same tensors in one run, their trials in turn, each case beside its rival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kvbench.bench import compress
from kvbench.bench.compress import Ready, TimedCall
from kvbench.bench.context import BenchContext, Preparation
from kvbench.bench.outcome import Outcome
from kvbench.config import CodecChoice, Experiment
from kvbench.errors import CaseFailed, UsageError
from kvbench.plan import Plan
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import Case, PhaseSamples


def prepare(experiment: Experiment, cuda: CudaFacts | str) -> Preparation:
    """Every case of the first codec beside each of the second that sees the same tensor, in pairs.

    Both cases of a pair agree in every axis that both have. Raises like `compress.prepare`, and
    UsageError where the two codecs run on different devices.
    """
    first, second = experiment.codec
    sides = [compress.prepare(experiment.model_copy(update={"codec": (one,)}), cuda) for one in (first, second)]
    named = {*first.params, *second.params}
    cases: list[Case] = []
    for a in sides[0].plan.cases:
        for b in sides[1].plan.cases:
            if _belong(a, b, named):
                _require_one_device(a, b)
                cases += [a.against(b, "a"), b.against(a, "b")]
    skipped = (*sides[0].plan.skipped, *sides[1].plan.skipped)
    notes = dict.fromkeys([*sides[0].notes, *sides[1].notes, _note(first, second)])
    return Preparation(Plan(tuple(cases), skipped), sides[0].link, tuple(notes))


def run(case: Case, context: BenchContext) -> Outcome:
    """Time a case and its rival in turn, then check both. The rival's outcome is in `beside`.

    A phase that only one of them has is timed alone. Memory: that of both cases. Raises CaseFailed where either cannot
    be made ready; what fails in the check after the timing fails alone.
    """
    rival = case.rival_case()
    a, b = (case, rival) if case.rival is not None and case.rival.side == "a" else (rival, case)
    with context.working_stream(case):
        ready = [compress.make_ready(one, context) for one in (a, b)]
        phases: tuple[dict[str, PhaseSamples], dict[str, PhaseSamples]] = {}, {}
        rng = np.random.default_rng([a.seed, int(a.id, 16)])
        for calls in zip(*(compress.timed_calls(one, context.clocks(one.case)) for one in ready), strict=True):
            for of_one, timed in zip(phases, _sample(a, b, calls, context, rng), strict=True):
                of_one |= timed
            del calls  # and the memory they hold, before the next ones take theirs
        outcomes = {one.case.id: _finished(one, context, timed) for one, timed in zip(ready, phases, strict=True)}
    mine = outcomes[case.id]
    mine.beside.append((rival, outcomes[rival.id]))
    return mine


def _belong(a: Case, b: Case, named: set[str]) -> bool:
    """Whether two cases see the same and agree in every axis that both have; `named` parameters are free to differ."""
    if (a.tensor, a.layout, a.dtype, a.seed) != (b.tensor, b.layout, b.dtype, b.seed):
        return False
    policies = a.codec_params.get("bound_policy"), b.codec_params.get("bound_policy")
    axes = {"mode": (a.mode, b.mode), "bound": (a.bound, b.bound), "bound_policy": policies}
    return all(name in named or one == other or None in (one, other) for name, (one, other) in axes.items())


def _require_one_device(a: Case, b: Case) -> None:
    if a.device != b.device:
        raise UsageError(
            f"--ab: {a.codec} runs on {a.device} and {b.codec} on {b.device} here, which are not to be timed in turn; "
            "add --device cpu, or choose two codecs of one device"
        )


def _note(first: CodecChoice, second: CodecChoice) -> str:
    return f"A/B: {first.name} (A) and {second.name} (B) are timed in turn; ratios are B / A"


def _sample(
    a: Case, b: Case, calls: Sequence[Mapping[str, TimedCall]], context: BenchContext, rng: np.random.Generator
) -> tuple[dict[str, PhaseSamples], dict[str, PhaseSamples]]:
    of_a, of_b = calls
    phases_a: dict[str, PhaseSamples] = {}
    phases_b: dict[str, PhaseSamples] = {}
    for phase in dict.fromkeys([*of_a, *of_b]):
        if phase not in of_b:
            phases_a[phase] = context.sample(a, phase, *of_a[phase])
        elif phase not in of_a:
            phases_b[phase] = context.sample(b, phase, *of_b[phase])
        else:
            both = context.sample_pairs((a, b), phase, (of_a[phase], of_b[phase]), rng)
            phases_a[phase], phases_b[phase] = both
    return phases_a, phases_b


def _finished(ready: Ready, context: BenchContext, phases: dict[str, PhaseSamples]) -> Outcome:
    try:
        return compress.finish(ready, context, phases)
    except CaseFailed as failure:
        return Outcome(status="failed", reason_code=failure.reason_code, reason=failure.reason)
