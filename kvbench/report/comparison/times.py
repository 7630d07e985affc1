"""Owns the comparison of times: one row a phase, with all that the runs know of their own spread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from kvbench.record.schema import CaseResult, PhaseSamples
from kvbench.report.comparison.pairing import Cell, Matched, cells, match
from kvbench.report.comparison.rows import Row
from kvbench.report.comparison.sides import Side
from kvbench.verdict.contrast import contrast_of_runs, log_median
from kvbench.verdict.spread import Spread, larger, pooled, spread_of_controls, spread_of_repeats, spread_of_rows

CONTROL_CODEC = "raw"  # a plain copy: no change of a codec changes it
SPOILT = ("throttled",)  # flags of a phase whose samples stand but may not be judged


def time_rows(matched: Sequence[Matched], a: Side, b: Side) -> list[Row]:
    """A row for every phase that both sides timed; one for each that only one did; verdicts are still to come."""
    spreads = {device: spread_between(matched, a, b, device) for device in {one.case.device for one in matched}}
    rows: list[Row] = []
    for one in matched:
        if one.a is None or one.b is None:
            continue
        bad = _not_ok(one.a, "A") or _not_ok(one.b, "B")
        if bad is not None:
            rows.append(Row(one, "unclear", f"not comparable: {bad}"))
            continue
        rows += [_row(one, one.a, one.b, phase, spreads[one.case.device]) for phase in _phases(one.a, one.b)]
    return rows


def spread_between(matched: Sequence[Matched], a: Side, b: Side, device: str) -> Spread | None:
    """What runs of the same code differ by on this device.

    With several runs of a side: from these and from control rows, pooled. Control rows are those of codec `raw` in both
    sides, chosen or not. With one run a side: from the control rows, or from how rows of the same codecs and phase
    differ among themselves, whichever is more. None where there are neither repeated runs nor control rows, as then
    a shift of a whole run cannot be seen, and for a run compared with itself.
    """
    repeats, controls = _of_repeats(a, b, device), _of_controls(a, b, device)
    if repeats is not None or controls is None:
        return pooled(repeats, controls)
    return larger(controls, _of_rows(matched, a, b, device))


def _of_repeats(a: Side, b: Side, device: str) -> Spread | None:
    rows = [
        [log_median(timed.samples_s) for timed in _timed(cell, phase)]
        for side in (a, b)
        for cell in cells(side)
        if cell.case.device == device
        for phase in _phases(cell, cell)
    ]
    return spread_of_repeats(rows, len(a.runs) + len(b.runs), 2)


def _of_controls(a: Side, b: Side, device: str) -> Spread | None:
    names_a, names_b = ({run.manifest.run_id for run in side.runs} for side in (a, b))
    if names_a & names_b:
        return None
    log_ratios, cases = [], 0
    for one in match(Side("A", a.runs), Side("B", b.runs)):
        if one.a is None or one.b is None or not _is_control(one, device):
            continue
        both = [(_timed(one.a, phase), _timed(one.b, phase)) for phase in _phases(one.a, one.b)]
        found = [_mean_log(of_b) - _mean_log(of_a) for of_a, of_b in both if of_a and of_b]
        log_ratios += found
        cases += bool(found)
    return spread_of_controls(log_ratios, cases, len(a.runs), len(b.runs))


def _of_rows(matched: Sequence[Matched], a: Side, b: Side, device: str) -> Spread | None:
    groups: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    cases: dict[tuple[str, str], int] = defaultdict(int)
    for one in matched:
        if one.a is None or one.b is None or one.case.device != device:
            continue
        codecs = one.a.case.codec, one.b.case.codec
        both = {phase: (_timed(one.a, phase), _timed(one.b, phase)) for phase in _phases(one.a, one.b)}
        found = {phase: _mean_log(of_b) - _mean_log(of_a) for phase, (of_a, of_b) in both.items() if of_a and of_b}
        cases[codecs] += bool(found)
        for phase, log_ratio in found.items():
            groups[(*codecs, phase)].append(log_ratio)
    freedom = sum(count - 1 for count in cases.values() if count)
    return spread_of_rows(groups.values(), freedom, len(a.runs), len(b.runs))


def _is_control(one: Matched, device: str) -> bool:
    return one.case.codec == CONTROL_CODEC and one.case.tensor is not None and one.case.device == device


def _mean_log(timed: Sequence[PhaseSamples]) -> float:
    return float(np.mean([log_median(one.samples_s) for one in timed]))


def _phases(a: Cell, b: Cell) -> list[str]:
    names = [phase for cell in (a, b) for result in cell.results for phase in result.phases]
    return list(dict.fromkeys(names))


def _timed(cell: Cell, phase: str) -> list[PhaseSamples]:
    """The phase in each run of the cell that could time it."""
    found = [result.phases.get(phase) for result in cell.results if result.status == "ok"]
    return [one for one in found if one is not None and one.median_s is not None]


def _row(one: Matched, a: Cell, b: Cell, phase: str, spread: Spread | None) -> Row:
    lone = _only_in(a, b, phase)
    if lone is not None:
        return Row(one, "missing" if lone == "A" else "added", f"only {lone} timed it", phase, "time", "s")
    timed_a, timed_b = _timed(a, phase), _timed(b, phase)
    contrast, problem = None, _problem(a, b, phase)
    if problem is None:
        runs_a, runs_b = ([timed.samples_s for timed in side] for side in (timed_a, timed_b))
        contrast = contrast_of_runs(runs_a, runs_b, spread)
    return Row(
        one,
        "unclear",
        None if problem is None else f"not comparable: {problem}",
        phase,
        "time",
        "s",
        _typical_s(timed_a),
        _typical_s(timed_b),
        sum(len(timed.samples_s) for timed in timed_a),
        sum(len(timed.samples_s) for timed in timed_b),
        contrast,
    )


def _only_in(a: Cell, b: Cell, phase: str) -> str | None:
    in_a, in_b = (any(phase in result.phases for result in cell.results) for cell in (a, b))
    return None if in_a and in_b else "A" if in_a else "B"


def _typical_s(timed: Sequence[PhaseSamples]) -> float | None:
    """The geometric mean over the runs of the run's median: what the ratio is made of."""
    return float(np.exp(_mean_log(timed))) if timed else None


def _problem(a: Cell, b: Cell, phase: str) -> str | None:
    """Why the two sides' samples of a phase say nothing about each other."""
    for name, cell in (("A", a), ("B", b)):
        for result in cell.results:
            timed = result.phases.get(phase)
            if timed is None:
                return f"a run of {name} did not time it"
            if min(timed.samples_s) <= 0:
                return f"a sample of 0 s in {name}"
            if timed.median_s is None:
                return f"no time in {name} ({', '.join(timed.flags) or 'no median'})"
            spoilt = [flag for flag in SPOILT if flag in timed.flags]
            if spoilt:
                return f"{spoilt[0]} in {name}"
    all_timed = [*_timed(a, phase), *_timed(b, phase)]
    for what in ("clock", "cache", "chunk_bytes"):
        values = {getattr(timed, what) for timed in all_timed}
        if len(values) > 1:
            return f"{what.replace('_', ' ')} {' and '.join(sorted(map(str, values)))}"
    return None


def _not_ok(cell: Cell, name: str) -> str | None:
    for result in cell.results:
        if result.status != "ok":
            return f"{result.status} in {name} ({_why(result)})"
    return None


def _why(result: CaseResult) -> str:
    return result.reason_code or "no reason recorded"
