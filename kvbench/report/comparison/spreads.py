"""Owns what runs of the same code differ by in a comparison: by a row's own runs, rows of its kind and control rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kvbench.record.schema import PhaseSamples
from kvbench.report.comparison.pairing import Cell, Matched, cells, match
from kvbench.report.comparison.sides import Side
from kvbench.verdict.contrast import log_median
from kvbench.verdict.spread import Spread, spread_of_controls, spread_of_repeats, widened

CONTROL_CODEC = "raw"  # a plain copy: no change of a codec changes it


class Kind(NamedTuple):
    """Rows that a machine may be taken to disturb alike."""

    device: str
    codec: str
    phase: str


@dataclass(frozen=True)
class Spreads:
    """What the runs of both sides tell of their own spread; empty with one run a side."""

    of_kinds: Mapping[Kind, Spread]
    of_controls: Mapping[str, Spread]  # by device

    def of_row(self, a: Cell, b: Cell, phase: str) -> Spread | None:
        """That of a row: of its own run medians, or of all rows of its kind or the control rows where they show more.

        None where only one run of each side has it.
        """
        logs = [[log_median(timed.samples_s) for timed in phase_in_runs(cell, phase)] for cell in (a, b)]
        own = spread_of_repeats(logs, len(logs[0]) + len(logs[1]), 2)
        if own is None:
            return None
        kinds = [self.of_kinds.get(Kind(cell.case.device, cell.case.codec, phase)) for cell in (a, b)]
        return widened(own, *kinds, self.of_controls.get(a.case.device))


def spreads_between(a: Side, b: Side) -> Spreads:
    """What these runs tell. Control rows are those of codec `raw` in both sides, chosen or not."""
    of_controls = {device: _of_controls(a, b, device) for device in _control_devices(a)}
    return Spreads(_of_kinds(a, b), {device: found for device, found in of_controls.items() if found is not None})


def phase_in_runs(cell: Cell, phase: str) -> list[PhaseSamples]:
    """The phase in each run of the cell that could time it."""
    found = [result.phases.get(phase) for result in cell.results if result.status == "ok"]
    return [one for one in found if one is not None and one.median_s is not None and min(one.samples_s) > 0]


def phases_of(*of: Cell) -> list[str]:
    """Every phase that some run of these cells has, once."""
    return list(dict.fromkeys(phase for cell in of for result in cell.results for phase in result.phases))


def mean_log(timed: Sequence[PhaseSamples]) -> float:
    """Mean over runs of the log of the run's median."""
    return float(np.mean([log_median(one.samples_s) for one in timed]))


def _of_kinds(a: Side, b: Side) -> dict[Kind, Spread]:
    rows: dict[Kind, list[list[float]]] = defaultdict(list)
    runs: dict[Kind, dict[str, int]] = defaultdict(dict)
    for side in (a, b):
        for cell in cells(side):
            for phase in phases_of(cell):
                kind = Kind(cell.case.device, cell.case.codec, phase)
                rows[kind].append([log_median(timed.samples_s) for timed in phase_in_runs(cell, phase)])
                runs[kind][side.name] = len(side.runs)
    found = {
        kind: spread_of_repeats(of_kind, sum(runs[kind].values()), len(runs[kind])) for kind, of_kind in rows.items()
    }
    return {kind: spread for kind, spread in found.items() if spread is not None}


def _control_devices(a: Side) -> set[str]:
    return {result.case.device for run in a.runs for result in run.results if result.case.codec == CONTROL_CODEC}


def _of_controls(a: Side, b: Side, device: str) -> Spread | None:
    log_ratios = []
    for one in match(Side("A", a.runs), Side("B", b.runs)):
        if one.a is None or one.b is None or not _is_control(one, device):
            continue
        both = [(phase_in_runs(one.a, phase), phase_in_runs(one.b, phase)) for phase in phases_of(one.a, one.b)]
        log_ratios += [mean_log(of_b) - mean_log(of_a) for of_a, of_b in both if of_a and of_b]
    return spread_of_controls(log_ratios, len(a.runs), len(b.runs))


def _is_control(one: Matched, device: str) -> bool:
    return one.case.codec == CONTROL_CODEC and one.case.tensor is not None and one.case.device == device
