"""Owns what servers under load say: the arms side by side, B against A with its interval, and how answers agree."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from kvbench.record.schema import Case, CaseResult
from kvbench.report.axis import measured_number
from kvbench.report.swap_words import coding_words
from kvbench.verdict.contrast import contrast_of_runs, log_median
from kvbench.verdict.judge import DEFAULT_MARGIN, Contrast, judge
from kvbench.verdict.spread import spread_of_repeats

_PHASE = "ttft"
_FEWEST_STARTS = 2  # of each arm, for a speed-up: one start tells nothing of the next


def is_served(result: CaseResult) -> bool:
    """Whether a case is a start of a server."""
    return result.case.arm is not None


@dataclass(frozen=True)
class Arm:
    """All starts of one arm under one load."""

    load: str  # workload, budget and rate
    name: str  # S, A, B (cuszp plain rel 0.01), F
    starts: tuple[CaseResult, ...]

    @property
    def valid(self) -> list[CaseResult]:
        """The starts that count."""
        return [one for one in self.starts if one.status == "ok"]

    def middle(self, metric: str) -> float | None:
        """Mean over the starts that count; None where no such start has it."""
        values = [value for one in self.valid if (value := one.metrics.get(metric)) is not None]
        return math.fsum(values) / len(values) if values else None

    def later(self, metric: str) -> float | None:
        """The same without the start that the others are compared with."""
        return Arm(
            self.load, self.name, tuple(one for one in self.starts if one.metrics.get(metric) is not None)
        ).middle(metric)


@dataclass(frozen=True)
class Against:
    """One arm against A; `contrast` is None where nothing may be said, and `why` says why."""

    arm: Arm
    base: Arm
    contrast: Contrast | None
    verdict: str | None
    why: str | None


def arms_of(results: Sequence[CaseResult]) -> list[Arm]:
    """The arms of every load, in the order first seen."""
    groups: dict[tuple[str, str], list[CaseResult]] = defaultdict(list)
    for result in results:
        if is_served(result):
            groups[load_words(result.case), arm_words(result.case)].append(result)
    return [Arm(load, name, tuple(starts)) for (load, name), starts in groups.items()]


def load_words(case: Case) -> str:
    """`two-pass, same-residency, 4 requests/s`."""
    rate = None if case.request_rate is None else f"{case.request_rate:g} requests/s"
    return ", ".join(word for word in (case.workload, case.budget, rate) if word)


def arm_words(case: Case) -> str:
    """`B (cuszp plain rel 0.01)`; the letter alone for the others."""
    return f"B ({coding_words(case)})" if case.arm == "B" else str(case.arm)


def against_a(results: Sequence[CaseResult]) -> list[Against]:
    """Every other arm against A under the same load, by the time to the first token of the reusing pass."""
    arms = arms_of(results)
    found = []
    for base in (arm for arm in arms if arm.name == "A"):
        found += [_against(arm, base) for arm in arms if arm.load == base.load and arm is not base]
    return found


def _against(arm: Arm, base: Arm) -> Against:
    for side in (arm, base):
        starts = [one for one in side.valid if _PHASE in one.phases]
        if len(starts) < _FEWEST_STARTS:
            codes = dict.fromkeys(one.reason_code or one.status for one in side.starts if one.status != "ok")
            because = f" ({', '.join(codes)})" if codes else ""
            counted = f"{len(starts)} of {len(side.starts)} starts of {side.name} count{because}"
            why = f"{counted}, {_FEWEST_STARTS} are the least"
            return Against(arm, base, None, None, why)
    runs_a, runs_b = (
        [one.phases[_PHASE].samples_s for one in side.valid if _PHASE in one.phases] for side in (base, arm)
    )
    if min(min(samples) for samples in (*runs_a, *runs_b)) <= 0:
        return Against(arm, base, None, None, "the client told times of 0 s")
    medians = [[log_median(samples) for samples in runs] for runs in (runs_a, runs_b)]
    spread = spread_of_repeats(medians, len(runs_a) + len(runs_b), 2)
    contrast = contrast_of_runs(runs_a, runs_b, spread)
    judged = judge([contrast], DEFAULT_MARGIN)[0]
    within = max(medians[0]) - min(medians[0])
    if judged.verdict in ("faster", "slower") and within >= abs(contrast.log_ratio):
        return Against(arm, base, contrast, "unclear", "starts of A differ by as much among themselves")
    return Against(arm, base, contrast, judged.verdict, judged.reason)


def served_answer(results: Sequence[CaseResult]) -> list[str]:
    """Sentences: each arm against A, bytes and hits, and agreement against what two starts of A differ by."""
    found = against_a(results)
    sentences = [_speed_words(one) for one in sorted(found, key=lambda one: not one.arm.name.startswith("B"))]
    for one in found:
        sentences += _bytes_words(one) + _agreement_words(one)
    for base in {one.base.load: one.base for one in found}.values():
        sentences += _floor_words(base)
    if any(one.arm.starts[0].case.device == "cpu" for one in found):
        sentences.append("The servers ran on the CPU, where no link is saved: these times say nothing of a GPU's.")
    return sentences or ["No two arms have run under the same load, so there is no answer."]


def _speed_words(one: Against) -> str:
    what = f"Time to the first token of prefixes asked for again, {one.arm.name} against A ({one.arm.load})"
    if one.contrast is None:
        return f"{what}: no speed-up is told, as {one.why}."
    low, high = one.contrast.known_interval()
    interval = "not known" if low is None or high is None else f"{low:.3f} to {high:.3f}"
    why = f" ({one.why})" if one.why else ""
    return f"{what}: {one.contrast.ratio:.3f} times as long (95 % interval {interval}): {one.verdict}{why}."


def _bytes_words(one: Against) -> list[str]:
    if one.contrast is None:
        return []
    told = []
    for metric, words in (("loaded_bytes", "restored"), ("stored_bytes", "stored")):
        own, base = one.arm.middle(metric), one.base.middle(metric)
        if own is not None and base:
            told.append(f"{words} {measured_number(own / 1e6)} MB against {measured_number(base / 1e6)}")
    own, base = one.arm.middle("host_hit_rate"), one.base.middle("host_hit_rate")
    if own is not None and base is not None:
        told.append(f"found {100 * own:.1f} % of prompt tokens on the host against {100 * base:.1f} %")
    return [f"{one.arm.name} {', '.join(told)} of A ({one.arm.load})."] if told else []


def _agreement_words(one: Against) -> list[str]:
    same, floor = one.arm.later("same_answers"), one.base.later("same_answers")
    if same is None:
        return []
    against = "no later start of A to compare with" if floor is None else f"later starts of A {100 * floor:.0f} %"
    tokens = one.arm.later("same_answer_tokens")
    before = "" if tokens is None else f", {100 * tokens:.0f} % of tokens before the first difference"
    return [f"{one.arm.name} answered {100 * same:.0f} % of probes as A first did{before}; {against} ({one.arm.load})."]


def _floor_words(base: Arm) -> list[str]:
    medians = [one.phases[_PHASE].median_s for one in base.valid if _PHASE in one.phases]
    known = [median for median in medians if median]
    if len(known) < _FEWEST_STARTS:
        return []
    return [f"{len(known)} starts of A alone differ by {100 * (max(known) / min(known) - 1):.1f} % ({base.load})."]
