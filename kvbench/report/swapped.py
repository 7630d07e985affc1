"""Owns the figure of swaps, and their speed against raw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from kvbench.record.schema import Case, CaseResult
from kvbench.record.table import phase_gbps
from kvbench.report import style
from kvbench.report.axis import binary_size, bytes_axis, number_axis
from kvbench.report.copies import draw_line, hollow_copies
from kvbench.report.panels import label_edges, packed
from kvbench.report.style import DrawnFigure
from kvbench.report.swap_words import is_swap, line_words, swap_words, took

_NAME = "swap_speed"
_TITLE = "Swaps of KV blocks against the size of a batch"
_CAPTION = (
    "Uncompressed bytes of a batch over its wall time, from the call until the host knows that it is done; bars: 95 % "
    "interval of the median. GB = 1e9 bytes, KiB = 1024 bytes."
)


def against_raw(results: Sequence[CaseResult]) -> dict[str, float]:
    """By case id: speed over that of path raw, of the same blocks in the same direction beside the same work."""
    speeds = {result.case_id: _speed(result) for result in results if is_swap(result)}
    raw = {_cell(result.case): speeds[result.case_id] for result in results if result.case.path == "raw"}
    found = {}
    for result in results:
        own, floor = speeds.get(result.case_id), raw.get(_cell(result.case))
        if own and floor and result.case.path != "raw":
            found[result.case_id] = own / floor
    return found


def draw_swaps(folder: Path, results: Sequence[CaseResult], notes: Sequence[str]) -> DrawnFigure:
    """swap_speed: a panel for every direction and block size, a line for every coding, path and work beside."""
    panels: dict[tuple[str, int], list[CaseResult]] = defaultdict(list)
    for result in results:
        panels[str(result.case.direction), result.case.block_bytes or 0].append(result)
    lines = list(dict.fromkeys(line_words(result.case) for result in results))
    with style.figure_style(_NAME):
        figure, all_axes = packed(len(panels), min(2, len(panels)))
        flat = [axes for row in all_axes for axes in row][: len(panels)]
        shown: list[float] = []
        for axes, ((direction, block_bytes), members) in zip(flat, panels.items(), strict=True):
            axes.set_title(f"{direction}, {binary_size(block_bytes)} a block")
            for number, line in enumerate(lines):
                shown += draw_line(axes, line, number, [one for one in members if line_words(one.case) == line])
        for axes in flat:
            bytes_axis(axes, [result.case.raw_bytes for result in results])
            number_axis(axes, "y", shown)
            axes.set_xlabel("uncompressed bytes of a batch")
        label_edges(all_axes, "GB/s", [_NAME] * len(panels))
        legend = style.legend_of(all_axes)
        caption = " ".join([_CAPTION, *hollow_copies(results)])
        return style.save(figure, folder, _NAME, legend, title=_TITLE, caption=caption, notes=notes)


def swap_answer(results: Sequence[CaseResult]) -> list[str]:
    """Sentences: the quickest batch each way against raw, where `auto` was slowest against it, and what soaks found."""
    timed = [result for result in results if result.status == "ok" and _speed(result)]
    quicker = against_raw(results)
    sentences = []
    for direction in dict.fromkeys(result.case.direction for result in timed):
        best = max((one for one in timed if one.case.direction == direction), key=lambda one: _speed(one) or 0.0)
        against = f", {quicker[best.case_id]:.3g} times raw" if best.case_id in quicker else ""
        sentences.append(
            f"Quickest {direction}: {_speed(best) or 0:.4g} GB/s of uncompressed blocks, "
            f"{binary_size(best.case.raw_bytes)} a batch ({line_words(best.case)}){against}."
        )
    auto = [one for one in timed if one.case.path == "auto" and one.case_id in quicker]
    if auto:
        worst = min(auto, key=lambda one: quicker[one.case_id])
        sentences.append(
            f"auto was at its slowest {quicker[worst.case_id]:.3g} times raw: {swap_words(worst.case)}, "
            f"{binary_size(worst.case.raw_bytes)} a batch, where most batches took {took(worst)}."
        )
    soaks = [result for result in results if result.case.soak is not None and result.metrics]
    if soaks:
        checked, wrong = (sum(int(one.metrics.get(name) or 0) for one in soaks) for name in _SOAK_COUNTS)
        failed = sum(one.status != "ok" for one in soaks)
        sentences.append(
            f"{len(soaks)} soaks: {checked} blocks were looked at after a load, {wrong} came back wrong; "
            f"{failed} soaks failed."
        )
    return sentences or ["No swap was timed, so there is no speed to tell."]


_SOAK_COUNTS = ("checked_blocks", "mismatches")


def _cell(case: Case) -> tuple[object, ...]:
    source = None if case.tensor is None else case.tensor.source
    return case.direction, case.blocks, case.block_bytes, case.planes, case.dtype, source, case.beside, case.checksum


def _speed(result: CaseResult) -> float | None:
    timed = result.phases.get(f"{result.case.direction}_wall")
    return None if timed is None else phase_gbps(timed)
