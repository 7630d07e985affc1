"""Owns the answer to the run's question in a few sentences, computed from its cases and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kvbench.bound import Bound
from kvbench.record.schema import CaseResult, Link, RunManifest
from kvbench.report.axis import binary_size, measured_number
from kvbench.report.copies import copy_speed, copy_words
from kvbench.report.scored import bound_words, is_scored, kl_answer
from kvbench.report.series import line_labels
from kvbench.report.totals import Interval, Total, link_words, spread, total


@dataclass(frozen=True)
class Setting:
    """One way to compress, over all its tensors together."""

    label: str
    bound: Bound | None
    tensors: int
    total: Total
    nrmse: float | None  # mean over tensors

    def __str__(self) -> str:
        return self.label if self.bound is None else f"{self.label} at {bound_words(self.bound)}"


def answer(manifest: RunManifest, results: Sequence[CaseResult]) -> list[str]:
    """Sentences: does it pay over the link, below which link speed, at what error; or how fast plain copies are.

    The first two are the answer, the others add to it. Settings count only where every case of theirs that ran is
    `ok`. Sending out and back, tensors one after the other, is what is compared. An interval is what the 95 %
    intervals of the encode and decode times allow when all lie at the same end; the link's speed is taken as exact.
    """
    copies = [result for result in results if result.case.direction is not None]
    scored = [result for result in results if is_scored(result)]
    coded = [result for result in results if result.case.direction is None and not is_scored(result)]
    sentences = _about_copies(manifest, copies) if copies else []
    sentences += kl_answer(scored) if scored else []
    if coded:
        found = settings(manifest, coded)
        saving = [setting for setting in found if setting.total.ratio > 1]
        sentences += _about_settings(manifest.link, found, saving)
    return sentences or ["No case has finished, so there is no answer."]


def settings(manifest: RunManifest, results: Sequence[CaseResult]) -> list[Setting]:
    """Every setting whose cases all ended well and were timed, in the order of the run."""
    ran = [result for result in results if result.status != "skipped"]
    labels = line_labels(manifest, ran)
    groups: dict[tuple[str, Bound | None], list[CaseResult]] = defaultdict(list)
    for result in ran:
        # A profile has bounds of its own for every tensor, and is one setting all the same.
        bound = None if result.case.profile is not None else result.case.bound
        groups[labels[result.case_id], bound].append(result)
    found = []
    for (label, bound), members in groups.items():
        sums = total(members)
        if sums is not None and all(member.status == "ok" for member in members):
            nrmse = spread(member.metrics.get("nrmse") for member in members)
            found.append(Setting(label, bound, len(members), sums, None if nrmse is None else nrmse.value))
    return found


def pays(setting: Setting, link: Link) -> Literal["yes", "no", "unclear"]:
    """Is it quicker than sending raw over this link, whatever end of their intervals the times lie at?"""
    raw, speed = setting.total.raw_gbps(link), setting.total.effective_gbps(link)
    if speed.low > raw:
        return "yes"
    return "unclear" if speed.high > raw else "no"


def _about_settings(link: Link | None, found: Sequence[Setting], saving: Sequence[Setting]) -> list[str]:
    if not found:
        return ["No setting has all its cases finished and timed, so there is no answer."]
    if not saving:
        return ["No setting stores fewer bytes than the tensors have: compression pays over no link."]
    sentences = [_over_the_link(link, saving)] if link is not None else []
    return [*sentences, _break_even(saving), *_too_tight(found)]


def _over_the_link(link: Link, saving: Sequence[Setting]) -> str:
    best = max(saving, key=lambda setting: setting.total.effective_gbps(link).value)
    over = f"Over a link of {link_words(link)}"
    at_best = (
        f"{best} moves {_interval_words(best.total.effective_gbps(link))} of uncompressed data out and back, "
        f"against {_gbps(best.total.raw_gbps(link))} raw"
    )
    verdicts = [pays(setting, link) for setting in saving]
    paying = [setting for setting, verdict in zip(saving, verdicts, strict=True) if verdict == "yes"]
    if not paying and "unclear" in verdicts:
        return f"{over} no setting clearly pays: at best, {at_best}, which the spread of the times does not tell apart."
    if not paying:
        return f"{over} compression does not pay at any setting of this run: at best, {at_best}."
    kinds = dict.fromkeys(setting.bound.kind for setting in paying if setting.bound)
    tightest = [
        min((setting for setting in paying if setting.bound and setting.bound.kind == kind), key=_bound_value)
        for kind in kinds
    ]
    limits = " and ".join(f"{bound_words(setting.bound)} ({setting.label})" for setting in tightest if setting.bound)
    tightness = f"; the tightest bound at which it pays is {limits}" if limits else ""
    return f"{over} compression pays: {at_best}{tightness}."


def _break_even(saving: Sequence[Setting]) -> str:
    ordered = sorted(saving, key=_break_even_value)
    least, most = ordered[0], ordered[-1]
    error = (
        f" with a root mean square error of {100 * most.nrmse:.2g} % of max \N{MINUS SIGN} min" if most.nrmse else ""
    )
    text = (
        f"It pays over links slower than {_break_even_words(most)} with {most}, which stores "
        f"{most.total.ratio:.2f} times fewer bytes{error}"
    )
    if least is most:
        return f"{text}."
    needs = f"{least}, needs one slower than {_break_even_words(least)}"
    return f"{text}; the least favourable setting that saves bytes, {needs}."


def _break_even_words(setting: Setting) -> str:
    speed = setting.total.break_even_gbps()
    return _gbps(0.0) if speed is None else _interval_words(speed)


def _break_even_value(setting: Setting) -> float:
    speed = setting.total.break_even_gbps()
    return 0.0 if speed is None else speed.value


def _too_tight(found: Sequence[Setting]) -> list[str]:
    """The bounds at which no setting saves a byte."""
    best: dict[Bound, float] = defaultdict(float)
    for setting in found:
        if setting.bound is not None:
            best[setting.bound] = max(best[setting.bound], setting.total.ratio)
    useless = [bound_words(bound) for bound, ratio in best.items() if ratio <= 1]
    return [f"At {', '.join(useless)} nothing is saved, so it pays over no link."] if useless else []


def _about_copies(manifest: RunManifest, copies: Sequence[CaseResult]) -> list[str]:
    fastest: dict[object, tuple[float, int, str]] = {}
    for result in copies:
        case, speed, words = result.case, copy_speed(result), copy_words(result)
        # Of the ways to copy scattered blocks only the best is told.
        kind = words if case.method is None else (case.direction, case.block_bytes, case.numa_node)
        if result.status == "ok" and speed is not None and speed.value > fastest.get(kind, (0.0,))[0]:
            fastest[kind] = (speed.value, case.raw_bytes, words)
    if not fastest:
        return ["No copy was timed, so there is no speed to tell."]
    peaks = [f"{words}: {_gbps(speed)} at {binary_size(size)}" for speed, size, words in fastest.values()]
    sentences = [f"Fastest copies: {'; '.join(peaks)}."]
    if not any(result.case.device == "cuda" and result.phases for result in copies):
        reason = manifest.host.get("cuda_reason")
        sentences.append(f"Transfers to and from a GPU were not measured{f': {reason}' if reason else ''}.")
    return sentences


def _bound_value(setting: Setting) -> float:
    return setting.bound.value if setting.bound else 0.0


def _interval_words(speed: Interval) -> str:
    """`75 GB/s (95 % interval 74 to 77)`; without a bracket where the times have no interval."""
    if speed.low == speed.high:
        return _gbps(speed.value)
    return f"{_gbps(speed.value)} (95 % interval {measured_number(speed.low)} to {measured_number(speed.high)})"


def _gbps(speed: float) -> str:
    return f"{measured_number(speed)} GB/s"
