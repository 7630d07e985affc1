"""Owns `kvbench report`: tables, figures and page again from what a run recorded."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvbench.errors import KvbenchError

if TYPE_CHECKING:
    from kvbench.record.store import RunFolder


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or the name of one under results/.")],
    publish: Annotated[
        Path | None,
        typer.Option(
            "--publish",
            metavar="FOLDER",
            help="Write it all into this new folder instead, without host name, user and absolute paths.",
        ),
    ] = None,
) -> None:
    """Make summary.csv, summary.json, measurements.parquet, plots and report.html again.

    They come from manifest.json and cases.jsonl alone.
    """
    from kvbench.cli.console import show
    from kvbench.record.publish import publish as publish_run
    from kvbench.record.store import RunFolder

    folder = RunFolder.open(run)
    if publish is not None:
        folder = publish_run(folder, publish)
    words, paths = _made(folder)
    show(words, "")
    typer.echo("\n".join(map(str, paths)))  # never wrapped, so that a path can be copied


def _made(folder: RunFolder) -> tuple[str, list[Path]]:
    """The answer in words, and the tables, figures and page. Raises KvbenchError where they cannot be made."""
    from kvbench.record.store import JOURNAL
    from kvbench.record.table import write_tables
    from kvbench.report import draw
    from kvbench.report.answer import answer

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of the plotting library: an error that follows says it better
            paths = [*write_tables(folder), *draw(folder)]
        return " ".join(answer(folder.manifest(), folder.results())), paths
    except (ArithmeticError, ValueError) as error:
        if isinstance(error, KvbenchError):
            raise
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        raise KvbenchError(
            f"no whole report can be made of {folder.path} ({problem}); "
            f"look for numbers in {folder.path / JOURNAL} that no measurement gives"
        ) from error
