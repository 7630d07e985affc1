"""Owns the figure of ratio over KL divergence: what each byte saved costs in what the model says, text by text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvbench.record.pareto import pareto_marks
from kvbench.record.schema import CaseResult
from kvbench.report import style
from kvbench.report.axis import number_axis
from kvbench.report.scored import kl_interval, setting_words, text_name
from kvbench.report.style import DrawnFigure
from kvbench.report.totals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME = "ratio_vs_kl"
_TITLE = "Compression ratio against KL divergence"
_CAPTION = (
    "KL: mean over the scored tokens, in nat, of the divergence of the next-token distribution with the decoded cache "
    "from that with the unchanged one. Bars: 95 % intervals, bootstrap over blocks of tokens of this text. Ringed: on "
    "the text's Pareto front. Up and left is better. A setting with KL 0 is not drawn; a hollow marker is invalid."
)

_Point = tuple[Interval, float, CaseResult]  # KL, ratio


def can_draw(results: Sequence[CaseResult]) -> bool:
    """Has some case a KL above 0?"""
    return any(_points(results))


def draw_ratio_against_kl(folder: Path, results: Sequence[CaseResult], notes: Sequence[str]) -> DrawnFigure:
    """ratio_vs_kl: a panel a text, a line a setting over its bounds. Some case must have a KL above 0."""
    drawn = _points(results)
    texts = list(dict.fromkeys(text_name(result) for _, _, result in drawn))
    lines = _lines(drawn)
    on_front = {case_id for case_id, marked in pareto_marks(results).items() if marked}
    with style.figure_style(_NAME):
        columns = min(len(texts), style.panels_abreast())
        figure, all_axes = style.panels(-(-len(texts) // columns), columns)
        flat = [axes for row in all_axes for axes in row]
        for axes in flat[len(texts) :]:
            axes.set_visible(False)
        for axes, text in zip(flat, texts, strict=False):
            _draw_text(axes, [one for one in drawn if text_name(one[2]) == text], lines, on_front)
            axes.set_title(text)
            axes.set_xlabel("mean KL, nat")
            number_axis(axes, "x", [end for kl, _, _ in drawn for end in (kl.low or kl.value, kl.high)])
            number_axis(axes, "y", [ratio for _, ratio, _ in drawn])
        for row in all_axes:
            row[0].set_ylabel("compression ratio")
        legend = style.legend_of(all_axes)
        caption = " ".join([_CAPTION, *([f"In all: {' '.join(_shared(drawn))}."] if _shared(drawn) else [])])
        return style.save(figure, folder, _NAME, legend, title=_TITLE, caption=caption, notes=notes)


def _points(results: Sequence[CaseResult]) -> list[_Point]:
    return [
        (kl, float(ratio), result)
        for result in results
        if (kl := kl_interval(result)) is not None and kl.value > 0 and (ratio := result.metrics.get("ratio"))
    ]


def _shared(points: Sequence[_Point]) -> list[str]:
    """The words that all lines have, where there are several, in the order of the first."""
    labels = list(dict.fromkeys(setting_words(result) for _, _, result in points))
    return [word for word in labels[0].split() if len(labels) > 1 and all(word in label.split() for label in labels)]


def _lines(points: Sequence[_Point]) -> dict[str, tuple[str, dict[str, Any]]]:
    """By setting: its words without the shared ones, and a look in which colour and marker together are its own."""
    shared = _shared(points)
    found = {}
    for number, label in enumerate(dict.fromkeys(setting_words(result) for _, _, result in points)):
        marker = style.MARKERS[(number + number // len(style.PALETTE)) % len(style.MARKERS)]
        words = [word for word in label.split() if word not in shared] or label.split()
        found[label] = (" ".join(words), {**style.line_look(number), "marker": marker})
    return found


def _draw_text(
    axes: Axes, points: Sequence[_Point], lines: dict[str, tuple[str, dict[str, Any]]], on_front: set[str]
) -> None:
    groups: dict[tuple[str, str | None], list[_Point]] = defaultdict(list)
    for point in points:
        bound = point[2].case.bound
        groups[setting_words(point[2]), None if bound is None else bound.kind].append(point)
    for (setting, _), members in groups.items():
        ordered = sorted(members, key=lambda point: point[1])
        kl, ratio = [one.value for one, _, _ in ordered], [ratio for _, ratio, _ in ordered]
        widths = [[one.value - one.low for one, _, _ in ordered], [one.high - one.value for one, _, _ in ordered]]
        label, look = lines[setting]
        axes.errorbar(kl, ratio, xerr=widths, label=label, elinewidth=0.8, **look)
        invalid = [(one.value, ratio) for one, ratio, result in ordered if result.status == "invalid"]
        ringed = [(one.value, ratio) for one, ratio, result in ordered if result.case_id in on_front]
        for pairs, marker in ((invalid, look | style.HOLLOW), (ringed, style.RING)):
            if pairs:
                axes.plot(*zip(*pairs, strict=True), **marker)
