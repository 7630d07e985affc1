"""Owns the answer to the run's question in a few sentences, computed from its cases and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from kvbench.bound import Bound
from kvbench.record.schema import CaseResult, Link, RunManifest
from kvbench.report.axis import binary_size, measured_number
from kvbench.report.copies import copy_speed, copy_words
from kvbench.report.scored import bound_words, is_scored, kl_answer
from kvbench.report.served import is_served, served_answer
from kvbench.report.setting import Setting, doubt_words, pays, settings
from kvbench.report.swap_words import is_swap
from kvbench.report.swapped import swap_answer
from kvbench.report.totals import Interval, link_words
from kvbench.report.tuned import tuned_answer


def answer(manifest: RunManifest, results: Sequence[CaseResult]) -> list[str]:
    """Sentences: does it pay over the link, below which link speed, at what error; or how fast plain copies are.

    The first two are the answer, the others add to it; before them, that a run has not finished. Settings count only
    where every case of theirs that ran is `ok`, and are compared over the same tensors. Sending out and back, tensors
    one after the other, is what is compared. An interval is what the 95 % intervals of the encode and decode times
    allow when all lie at the same end; the link's speed is taken as exact.
    """
    swaps = [result for result in results if is_swap(result)]
    copies = [result for result in results if result.case.direction is not None and not is_swap(result)]
    scored = [result for result in results if result.case.command == "quality"]
    coded = [
        result for result in results if result.case.direction is None and not (is_scored(result) or is_served(result))
    ]
    sentences = _unfinished(manifest, results) if results else []
    sentences += _about_copies(manifest, copies) if copies else []
    sentences += swap_answer(swaps) if swaps else []
    sentences += kl_answer(scored) if scored else []
    sentences += tuned_answer(results)
    served = [result for result in results if is_served(result)]
    sentences += served_answer(served) if served else []
    if coded:
        found = settings(manifest, coded)
        saving = [setting for setting in found if setting.total.ratio > 1]
        sentences += _about_settings(manifest.link, found, saving)
    return sentences or ["No case has finished, so there is no answer."]


def _unfinished(manifest: RunManifest, results: Sequence[CaseResult]) -> list[str]:
    if manifest.status == "finished":
        return []
    return [f"This run is {manifest.status}: {len(results)} of {manifest.cases_planned} cases have a result."]


def _about_settings(link: Link | None, found: Sequence[Setting], saving: Sequence[Setting]) -> list[str]:
    if not found:
        return ["No setting has all its cases finished and timed, so there is no answer."]
    if not saving:
        return ["No setting stores fewer bytes than the tensors have: compression pays over no link."]
    # Settings over different tensors are not to be compared, unless no setting has them all; then each is named so.
    compared = [setting for setting in saving if setting.whole] or list(saving)
    left_out = [f"Left out of this: {setting}." for setting in saving if setting not in compared]
    sure = [setting for setting in compared if not setting.doubts]
    over = [_over_the_link(link, compared)] if link is not None else []
    doubts, even = _doubts(compared), [_break_even(sure, compared)]
    return [*over, *(even + doubts if sure else doubts + even), *left_out, *_too_tight(found)]


def _over_the_link(link: Link, saving: Sequence[Setting]) -> str:
    over = f"Over a link of {link_words(link)}"
    verdicts = {pays(setting, link) for setting in saving}
    paying = [setting for setting in saving if pays(setting, link) == "yes"]
    best = max(paying or saving, key=lambda setting: setting.total.effective_gbps(link).value)
    at_best = (
        f"{best} moves {_interval_words(best.total.effective_gbps(link))} of uncompressed data out and back, "
        f"against {_gbps(best.total.raw_gbps(link))} raw"
    )
    if not paying and any(setting.doubts for setting in saving):
        return f"{over} it is unclear whether compression pays: at best, {at_best}, and not all times can decide it."
    if not paying and "unclear" in verdicts:
        return f"{over} no setting clearly pays: at best, {at_best}, which the spread of the times does not tell apart."
    if not paying:
        return f"{over} compression does not pay at any setting of this run: at best, {at_best}."
    kinds = dict.fromkeys(setting.bound.kind for setting in paying if setting.bound)
    tightest = [
        min((setting for setting in paying if setting.bound and setting.bound.kind == kind), key=_bound_value)
        for kind in kinds
    ]
    limits = " and ".join(
        f"{bound_words(setting.bound)} ({setting.label}{setting.share})" for setting in tightest if setting.bound
    )
    tightness = f"; the tightest bound at which it pays is {limits}" if limits else ""
    return f"{over} compression pays: {at_best}{tightness}."


def _doubts(settings: Sequence[Setting]) -> list[str]:
    """Which settings are unclear for their times alone, why, and what to do about it."""
    doubtful = [setting for setting in settings if setting.doubts]
    if not doubtful:
        return []
    doubts = [doubt for setting in doubtful for doubt in setting.doubts]
    which = str(doubtful[0]) if len(doubtful) == 1 else f"{len(doubtful)} of {len(settings)} settings"
    remedies = "; ".join(dict.fromkeys(doubt.remedy for doubt in doubts))
    return [f"It is unclear whether {which} would pay, for times {doubt_words(doubts)}; {remedies}."]


def _break_even(sure: Sequence[Setting], compared: Sequence[Setting]) -> str:
    """Of the settings whose times may decide something; of all, and named so, where none's may."""
    ordered = sorted(sure or compared, key=_break_even_value)
    least, most = ordered[0], ordered[-1]
    verb = "It pays" if sure else "By those times it would pay"
    text = (
        f"{verb} over links slower than {_break_even_words(most)} with {most}, which stores "
        f"{most.total.ratio:.2f} times fewer bytes{_error_words(most)}"
    )
    if least is most:
        return f"{text}."
    needs = f"{least}, needs one slower than {_break_even_words(least)}"
    return f"{text}; the least favourable setting that saves bytes, {needs}."


def _error_words(setting: Setting) -> str:
    if not setting.nrmse:
        return ""
    mean = f" (mean over {setting.nrmse_tensors} tensors)" if setting.nrmse_tensors > 1 else ""
    return f" with a root mean square error of {100 * setting.nrmse:.2g} % of max \N{MINUS SIGN} min{mean}"


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
