"""Owns `kvbench report`: tables, figures and page again from what runs recorded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvbench.errors import KvbenchError, UsageError

if TYPE_CHECKING:
    from kvbench.record.store import RunFolder


Runs = Annotated[
    list[Path], typer.Argument(metavar="RUN [RUN...]", help="Run folders, or the names of some under results/.")
]
Page = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="PAGE.html",
        help="Write the page there, its figures into PAGE-plots beside it, and leave the runs alone; "
        "several runs need it.",
    ),
]
Published = Annotated[
    Path | None,
    typer.Option(
        "--publish",
        metavar="FOLDER",
        help="Write it all into this new folder instead, without host name, user and absolute paths.",
    ),
]


def report(run: Runs, output: Page = None, publish: Published = None) -> None:
    """Make summary.csv, summary.json, measurements.parquet, plots and report.html again.

    They come from manifest.json and cases.jsonl alone. Of several runs, or with --output, one page is made that lays
    them over each other.
    """
    from kvbench.cli.console import show
    from kvbench.record.closing import require_whole
    from kvbench.record.publish import publish as publish_run
    from kvbench.record.store import RunFolder

    if publish is not None and (output is not None or len(run) > 1):
        raise UsageError(f"--publish {publish} takes one run and no --output; publish each run by itself")
    folders = [RunFolder.open(path) for path in run]
    for folder in folders:
        require_whole(folder)
    if output is not None:
        words, paths = _page(folders, output)
    elif len(folders) > 1:
        raise UsageError(f"a page of {len(folders)} runs belongs to none of them; say where with --output PAGE.html")
    else:
        words, paths = _made(folders[0] if publish is None else publish_run(folders[0], publish))
    show(words, "")
    typer.echo("\n".join(map(str, paths)))  # never wrapped, so that a path can be copied


def _made(folder: RunFolder) -> tuple[str, list[Path]]:
    """The answer in words, and the tables, figures and page. Raises KvbenchError where they cannot be made."""
    from kvbench.record.closing import remade_later
    from kvbench.record.table import write_tables
    from kvbench.report import draw
    from kvbench.report.answer import answer

    with _worded([folder]), remade_later(folder):
        paths = [*write_tables(folder), *draw(folder)]
        return " ".join(answer(folder.manifest(), folder.results())), paths


def _page(folders: Sequence[RunFolder], page: Path) -> tuple[str, list[Path]]:
    """The answer of every run in words, and the figures and page. Raises UsageError where `page` cannot be used."""
    from kvbench.report import draw_runs
    from kvbench.report.answer import answer
    from kvbench.report.destination import plots_beside

    plots = plots_beside(page)
    with _worded(folders):
        paths = draw_runs(folders, page, plots)
        answers = [" ".join(answer(folder.manifest(), folder.results())) for folder in folders]
    if len(folders) > 1:
        answers = [f"{folder.path}: {words}" for folder, words in zip(folders, answers, strict=True)]
    return "\n".join(answers), paths


@contextmanager
def _worded(folders: Sequence[RunFolder]) -> Iterator[None]:
    """Turn what absurd numbers do to arithmetic and figures into one line."""
    from kvbench.record.folder import JOURNAL

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of the plotting library: an error that follows says it better
            yield
    except (ArithmeticError, ValueError) as error:
        if isinstance(error, KvbenchError):
            raise
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        runs = ", ".join(str(folder.path) for folder in folders)
        journals = ", ".join(str(folder.path / JOURNAL) for folder in folders)
        raise KvbenchError(
            f"no whole report can be made of {runs} ({problem}); look for numbers in {journals} "
            "that no measurement gives"
        ) from error
