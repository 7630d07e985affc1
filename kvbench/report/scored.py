"""Owns the settings of a scored run: what was chosen for a cache, over all its texts together, and which one wins."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from kvbench.bound import Bound
from kvbench.record.schema import GB, CaseResult
from kvbench.record.table import phase_gbps
from kvbench.report.axis import bound_number, measured_number
from kvbench.report.runs import run_name
from kvbench.report.totals import Interval

LEVELS = (1e-4, 1e-3, 1e-2, 1e-1)  # of mean KL, in nat, for which a winner is named
SAME_SIZE = 0.99  # sizes closer than this are a tie


@dataclass(frozen=True)
class Scored:
    """One setting over all texts it was scored on: KL the mean over them, speeds of all their bytes together."""

    label: str
    bound: Bound | None
    ratio: float
    bits_per_value: float
    kl: Interval
    encode_gbps: float | None
    decode_gbps: float | None
    device: str

    def __str__(self) -> str:
        return self.label if self.bound is None else f"{self.label} at {bound_words(self.bound)}"


def is_scored(result: CaseResult) -> bool:
    """Is this a case of `quality` or `tune`? One that failed, or asks for hidden passwords, has no KL."""
    return result.case.command in ("quality", "tune")


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
        found.append(
            Scored(
                label=label,
                bound=bound,
                ratio=sum(member.case.raw_bytes for member in members) / stored,
                bits_per_value=8 * stored / sum(member.case.elements for member in members),
                kl=_mean(intervals),
                encode_gbps=_gbps(members, "encode_call"),
                decode_gbps=_gbps(members, "decode_call"),
                device=members[0].case.device,
            )
        )
    return found


def _gbps(results: Sequence[CaseResult], phase: str) -> float | None:
    """Uncompressed bytes of all cases over the sum of their medians; None where one has no time."""
    timed = [result.phases.get(phase) for result in results]
    seconds = [one.median_s for one in timed if one is not None and phase_gbps(one) is not None and one.median_s]
    raw_bytes = sum(result.case.raw_bytes for result in results)
    return raw_bytes / sum(seconds) / GB if seconds and len(seconds) == len(results) else None


def kl_answer(results: Sequence[CaseResult]) -> list[str]:
    """For each of LEVELS that some setting reaches and another misses: which stores least, and who ties with it.

    Settings are compared by bits a value, so that element types may differ. A tie is a setting within 1 % of the
    winner's, or below it, whose interval lets its KL be within the level.
    """
    found = over_texts([result for result in results if is_scored(result)])
    lossy = [one for one in found if one.kl.value > 0]
    if not lossy:
        return ["No setting changed what the model says, or none has finished."]
    levels_of: dict[str, list[str]] = defaultdict(list)  # by what is to be said of them
    for level in LEVELS:
        if min(one.kl.value for one in lossy) <= level and (level / 10 < max(one.kl.value for one in lossy)):
            levels_of[_winner(found, level)].append(f"{level:g}")
    if levels_of:
        return [f"At a mean KL of at most {' or '.join(levels)} nat {words}" for words, levels in levels_of.items()]
    closest = min(lossy, key=lambda one: one.kl.value)
    return [f"No setting stays within a mean KL of {LEVELS[-1]:g} nat; the closest is {closest}, with {_kl(closest)}."]


def _winner(found: Sequence[Scored], level: float) -> str:
    winner = min((one for one in found if one.kl.value <= level), key=lambda one: (one.bits_per_value, one.kl.value))
    ties = [
        one
        for one in found
        if one is not winner and SAME_SIZE * one.bits_per_value <= winner.bits_per_value and one.kl.low <= level
    ]
    ratio = f"{winner.ratio:.2f} times fewer bytes than raw ({winner.bits_per_value:.2f} bits a value)"
    text = f"{winner} stores least: {ratio}, with {_kl(winner)}{_speed_words(winner)}"
    if not ties:
        return f"{text}."
    named = ", ".join(f"{one} ({one.ratio:.2f} times, {_kl(one)})" for one in ties)
    return f"{text}; the intervals do not tell it from {named}."


def _speed_words(one: Scored) -> str:
    if one.encode_gbps is None or one.decode_gbps is None:
        return ""
    device = {"cpu": "CPU", "cuda": "GPU"}[one.device]
    return (
        f", at {measured_number(one.encode_gbps)} GB/s to encode and {measured_number(one.decode_gbps)} to decode "
        f"on the {device}"
    )


def _kl(one: Scored) -> str:
    return f"KL {one.kl.value:.2g} ({one.kl.low:.2g} to {one.kl.high:.2g})"


def _mean(intervals: Sequence[Interval]) -> Interval:
    count = len(intervals)
    value = sum(one.value for one in intervals) / count
    down = math.sqrt(sum((one.value - one.low) ** 2 for one in intervals)) / count
    up = math.sqrt(sum((one.high - one.value) ** 2 for one in intervals)) / count
    return Interval(value, value - down, value + up)
