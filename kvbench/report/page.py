"""Owns the page: one file that needs no network, put together from the record of its runs and their figures."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from kvbench.record.checked_on import cast_lines
from kvbench.record.files import write_whole
from kvbench.record.schema import RunManifest
from kvbench.report.answer import answer
from kvbench.report.case_table import case_table
from kvbench.report.facts import (
    asked_lines,
    config_yaml,
    count_words,
    kvbench_words,
    machine_lines,
    took,
    units,
)
from kvbench.report.kernel_table import kernel_table
from kvbench.report.notes import flag_notes, unwell
from kvbench.report.pair_table import pair_table
from kvbench.report.runs import Run, run_name, side_by_side
from kvbench.report.scored_table import scored_table
from kvbench.report.served_table import served_table
from kvbench.report.setting_table import setting_table
from kvbench.report.style import DrawnFigure
from kvbench.report.time_table import time_table
from kvbench.report.timeline_table import timeline_table

MADE_BY = '<meta name="generator" content="kvbench report">'


@dataclass(frozen=True)
class PageFigure:
    """A figure of the page: its files, and its drawing for wide and for narrow screens as SVG elements."""

    figure: DrawnFigure
    wide: str
    narrow: str


@dataclass(frozen=True)
class _Section:
    """What the page says of one run."""

    name: str
    manifest: RunManifest
    took: str | None
    counts: str
    answer: list[str]
    checked: list[str]  # which values the bound was checked on
    doubts: list[str]
    measured_by: str
    command: str
    config: str


@dataclass(frozen=True)
class _Fact:
    """One fact of every run; an empty text where a run does not tell it."""

    name: str
    texts: tuple[str, ...]

    @property
    def same(self) -> bool:
        return len(set(self.texts)) == 1


def write_page(path: Path, runs: Sequence[Run], figures: Sequence[PageFigure]) -> Path:
    """Write the page. The same runs and figures give the same bytes. Raises KvbenchError when the disk refuses."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    results = side_by_side(runs)
    text = environment.from_string(_resource("page.html.j2")).render(
        made_by=Markup(MADE_BY),  # noqa: S704  our own text, as are style sheet and script
        style=Markup(_resource("page.css")),  # noqa: S704
        script=Markup(_resource("page.js")),  # noqa: S704
        title=_title(runs),
        sections=[_section(run) for run in runs],
        asked=_facts([dict(asked_lines(run.manifest, run.results)) for run in runs]),
        machine=_facts([dict(machine_lines(run.manifest.host)) for run in runs]),
        figures=[(page_figure, _links(page_figure.figure, path)) for page_figure in figures],
        settings=setting_table(runs),
        scored=scored_table(runs),
        served=served_table(runs),
        pairs=pair_table(runs),
        cases=case_table(results),
        times=time_table(results),
        timeline=timeline_table(runs),
        kernels=kernel_table(runs),
        profilers=_profilers(runs),
        unwell=[(run_name(result), result) for result in unwell(results)],
        units=units(results),
    )
    return write_whole(path, text)


def _resource(name: str) -> str:
    return files("kvbench.report").joinpath(name).read_text(encoding="utf-8")


def _profilers(runs: Sequence[Run]) -> list[str]:
    """A line for every report of a profiler: whose it is, and where it lies."""
    profiles = [(run.name, profile) for run in runs for profile in (run.timeline, run.kernels) if profile is not None]
    return [
        f"{f'{name}: ' if name else ''}{profile.profiler.name} {profile.profiler.version}, report "
        f"{profile.profiler.report} in the run folder{''.join(f'; {note}' for note in profile.profiler.notes)}."
        for name, profile in profiles
    ]


def _title(runs: Sequence[Run]) -> str:
    if len(runs) > 1:
        return f"kvbench: {len(runs)} runs together"
    gpus = [str(gpu.get("name")) for gpu in runs[0].manifest.host.get("gpus") or []]
    return f"kvbench {runs[0].manifest.command}{f' on {gpus[0]}' if gpus else ''}"


def _section(run: Run) -> _Section:
    manifest = run.manifest
    return _Section(
        name=run.name,
        manifest=manifest,
        took=took(manifest),
        counts=count_words(manifest),
        answer=answer(manifest, run.results),
        checked=cast_lines(run.results),
        doubts=flag_notes(run.results),
        measured_by=kvbench_words(manifest.host),
        command=shlex.join(manifest.argv),
        config=config_yaml(manifest),
    )


def _facts(runs: Sequence[dict[str, str]]) -> list[_Fact]:
    """One row for every fact that any run tells, in the order in which they first come."""
    names = dict.fromkeys(name for facts in runs for name in facts)
    return [_Fact(name, tuple(facts.get(name, "") for facts in runs)) for name in names]


def _links(figure: DrawnFigure, page: Path) -> dict[str, str]:
    """By format: where the file is, as seen from the page. Both are in one folder or the file is in one below it."""
    return {
        kind: quote(target.relative_to(page.parent).as_posix())
        for kind, target in (("PNG", figure.png), ("SVG", figure.svg))
    }
