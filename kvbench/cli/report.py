"""Owns `kvbench report`: tables, figures and page again from what a run recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    from kvbench.record.table import write_tables
    from kvbench.report import draw
    from kvbench.report.answer import answer

    folder = RunFolder.open(run)
    if publish is not None:
        folder = publish_run(folder, publish)
    paths = [*write_tables(folder), *draw(folder)]
    show(" ".join(answer(folder.manifest(), folder.results())), "")
    typer.echo("\n".join(map(str, paths)))  # never wrapped, so that a path can be copied
