"""Owns the page's table of settings: for every way to compress, whether it pays and below which link speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kvbench.record.schema import CaseResult, Link
from kvbench.report.axis import measured_number
from kvbench.report.page_table import Cell, Column, Table, make_table, number_cell
from kvbench.report.runs import Run
from kvbench.report.scored import bound_words, is_scored
from kvbench.report.setting import Setting, doubt_words, pays, settings
from kvbench.report.totals import Interval

_TO = "95 % interval"


@dataclass(frozen=True)
class _Row:
    run: str
    link: Link | None
    setting: Setting


def setting_table(runs: Sequence[Run]) -> Table:
    """The settings whose cases all ended well and were timed; speeds are over all their tensors together."""
    rows = [
        _Row(run.name, run.manifest.link, setting)
        for run in runs
        for setting in settings(run.manifest, [result for result in run.results if _is_coded(result)])
    ]
    return make_table(rows, _WHAT, _NUMBERS, lambda _: "ok", {"run": lambda row: row.run, "pays": _verdict})


def _is_coded(result: CaseResult) -> bool:
    """Is this neither a copy nor scored? A scored run has no link, see `scored_table`."""
    return result.case.direction is None and not is_scored(result)


def _verdict(row: _Row) -> str:
    if row.setting.total.ratio <= 1:
        return "never"
    return "" if row.link is None else pays(row.setting, row.link)


def _tensors(setting: Setting) -> Cell:
    words = str(setting.tensors) if setting.whole else f"{setting.tensors} of {setting.of_tensors}"
    return Cell(words, float(setting.tensors))


def _value(speed: Interval | None) -> Cell:
    return number_cell(None if speed is None else speed.value)


def _ends(speed: Interval | None) -> Cell:
    """Both ends, sorted by the lower one."""
    if speed is None or speed.low == speed.high:
        return Cell("")
    return Cell(f"{measured_number(speed.low)} to {measured_number(speed.high)}", speed.low)


def _effective(row: _Row) -> Interval | None:
    return None if row.link is None else row.setting.total.effective_gbps(row.link)


def _bound(row: _Row) -> Cell:
    bound = row.setting.bound
    return Cell("") if bound is None else Cell(bound_words(bound), bound.value)


_WHAT: dict[str, Column[_Row]] = {
    "run": lambda row: Cell(row.run),
    "setting": lambda row: Cell(row.setting.label),
    "bound": _bound,
    "tensors": lambda row: _tensors(row.setting),
}
_NUMBERS: dict[str, Column[_Row]] = {
    "pays": lambda row: Cell(_verdict(row)),
    "times in doubt": lambda row: Cell(doubt_words(row.setting.doubts)),
    "break-even GB/s": lambda row: _value(row.setting.total.break_even_gbps()),
    f"break-even, {_TO}": lambda row: _ends(row.setting.total.break_even_gbps()),
    "effective GB/s": lambda row: _value(_effective(row)),
    f"effective, {_TO}": lambda row: _ends(_effective(row)),
    "ratio": lambda row: number_cell(row.setting.total.ratio, ".2f"),
    "NRMSE, mean": lambda row: number_cell(row.setting.nrmse),
    "codec GB/s": lambda row: _value(row.setting.total.codec_gbps()),
}
