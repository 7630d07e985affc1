"""Owns the settings of a scored run: what was chosen for a cache, over all its texts together, and which one wins."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from kvbench.bound import Bound
from kvbench.record.schema import CaseResult
from kvbench.report.axis import bound_number
from kvbench.report.runs import run_name
from kvbench.report.totals import Interval

LEVELS = (1e-4, 1e-3, 1e-2, 1e-1)  # of mean KL, in nat, for which a winner is named
SAME_RATIO = 0.99  # ratios closer than this are a tie


@dataclass(frozen=True)
class Scored:
    """One setting over all texts it was scored on. KL is the mean over texts."""

    label: str
    bound: Bound | None
    ratio: float
    kl: Interval

    def __str__(self) -> str:
        return self.label if self.bound is None else f"{self.label} at {bound_words(self.bound)}"


def is_scored(result: CaseResult) -> bool:
    """Is this a case of `quality`? One that failed, or asks for hidden passwords, has no KL."""
    return result.case.command == "quality"


def setting_words(result: CaseResult) -> str:
    """`cuszp outlier hdt keep 4`: everything chosen but the bound; the defaults of policy and dtype go unsaid."""
    case = result.case
    if case.profile is not None:
        return " ".join(word for word in (run_name(result), f"profile {case.profile}") if word)
    params = [f"{name}={value}" for name, value in case.codec_params.items() if name not in ("mode", "bound_policy")]
    policy = case.codec_params.get("bound_policy")
    words = [
        run_name(result),
        case.codec,
        *params,
        case.mode,
        None if case.codec == "raw" else case.layout,
        None if policy == "strict" else policy,
        None if case.dtype == "bfloat16" else case.dtype,
        f"keep {case.keep_first}" if case.keep_first else None,
        case.transforms,
    ]
    return " ".join(word for word in words if word)


def bound_words(bound: Bound) -> str:
    """`rel 1e-2`."""
    return f"{bound.kind} {bound_number(bound.value)}"


def text_name(result: CaseResult) -> str:
    """The text's name, or its file's without the folder."""
    return "" if result.case.tensor is None else result.case.tensor.source.rpartition("/")[2]


def kl_interval(result: CaseResult) -> Interval | None:
    """Mean KL with its 95 % interval; the mean three times where the text is too short for one."""
    kl, low, high = (result.metrics.get(name) for name in ("kl_mean", "kl_mean_ci_low", "kl_mean_ci_high"))
    if kl is None:
        return None
    return Interval(kl, kl if low is None else low, kl if high is None else high)


def over_texts(results: Sequence[CaseResult]) -> list[Scored]:
    """Every setting that is `ok` on every text with a KL, in the order of the run.

    The interval of a mean over texts: each text's half widths added in quadrature, over the number of texts.
    """
    texts = {text_name(result) for result in results if kl_interval(result) is not None}
    groups: dict[tuple[str, Bound | None], list[CaseResult]] = defaultdict(list)
    for result in results:
        if result.status != "skipped" and text_name(result) in texts:
            groups[setting_words(result), result.case.bound].append(result)
    found = []
    for (label, bound), members in groups.items():
        intervals = [kl for member in members if member.status == "ok" and (kl := kl_interval(member)) is not None]
        compressed = [member.metrics.get("compressed_bytes") for member in members]
        stored = sum(one for one in compressed if one is not None)
        if len(intervals) < len(members) or len(members) < len(texts) or None in compressed or not stored:
            continue
        raw_bytes = sum(member.case.raw_bytes for member in members)
        found.append(Scored(label, bound, raw_bytes / stored, _mean(intervals)))
    return found


def kl_answer(results: Sequence[CaseResult]) -> list[str]:
    """For each of LEVELS that some setting reaches and another misses: which stores least, and who ties with it.

    A tie is a setting within 1 % of the winner's ratio, or above it, whose interval lets its KL be within the level.
    """
    found = over_texts([result for result in results if is_scored(result)])
    lossy = [one for one in found if one.kl.value > 0]
    if not lossy:
        return ["No setting changed what the model says, or none has finished."]
    sentences = [
        _winner(found, level)
        for level in LEVELS
        if min(one.kl.value for one in lossy) <= level and (level / 10 < max(one.kl.value for one in lossy))
    ]
    if sentences:
        return sentences
    closest = min(lossy, key=lambda one: one.kl.value)
    return [f"No setting stays within a mean KL of {LEVELS[-1]:g} nat; the closest is {closest}, with {_kl(closest)}."]


def _winner(found: Sequence[Scored], level: float) -> str:
    winner = max((one for one in found if one.kl.value <= level), key=lambda one: (one.ratio, -one.kl.value))
    ties = [
        one for one in found if one is not winner and one.ratio >= SAME_RATIO * winner.ratio and one.kl.low <= level
    ]
    text = (
        f"At a mean KL of at most {level:g} nat {winner} stores least: "
        f"{winner.ratio:.2f} times fewer bytes than raw, with {_kl(winner)}"
    )
    if not ties:
        return f"{text}."
    named = ", ".join(f"{one} ({one.ratio:.2f} times, {_kl(one)})" for one in ties)
    return f"{text}; the intervals do not tell it from {named}."


def _kl(one: Scored) -> str:
    return f"KL {one.kl.value:.2g} ({one.kl.low:.2g} to {one.kl.high:.2g})"


def _mean(intervals: Sequence[Interval]) -> Interval:
    count = len(intervals)
    value = sum(one.value for one in intervals) / count
    down = math.sqrt(sum((one.value - one.low) ** 2 for one in intervals)) / count
    up = math.sqrt(sum((one.high - one.value) ** 2 for one in intervals)) / count
    return Interval(value, value - down, value + up)
