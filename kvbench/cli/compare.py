"""Owns `kvbench compare`: two runs, row by row, and a gate for CI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvbench.errors import UsageError

if TYPE_CHECKING:
    from kvbench.report.comparison.compare import Comparison
    from kvbench.report.comparison.gate import Condition

EXIT_GATE = 4

RUN = "A run folder, or the name of one under results/."
MORE = "Further runs of the same code as {}; three and more a side show what runs differ by."
CHOOSE = "Only the cases of {} with this value, such as codec=cuszp; its axis is then compared across."
FAIL_ON = (
    "Exit with code 4 where a row is slower, faster, unclear, changed, missing or added; slower:10% judges by "
    "a margin of its own. Several values, or commas between them. slower, faster and unclear also fail where B lacks "
    "what A could time."
)
INCOMPLETE = "With --fail-on: let cases pass that failed or are missing in RUN_B, and a RUN_B that did not finish."


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help=RUN)],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help=RUN)],
    more_a: Annotated[list[Path] | None, typer.Option("--more-a", metavar="RUN...", help=MORE.format("RUN_A"))] = None,
    more_b: Annotated[list[Path] | None, typer.Option("--more-b", metavar="RUN...", help=MORE.format("RUN_B"))] = None,
    a: Annotated[list[str] | None, typer.Option("--a", metavar="AXIS=VALUE...", help=CHOOSE.format("A"))] = None,
    b: Annotated[list[str] | None, typer.Option("--b", metavar="AXIS=VALUE...", help=CHOOSE.format("B"))] = None,
    margin: Annotated[
        str, typer.Option("--margin", metavar="PERCENT", help="Differences up to this are the same.")
    ] = "5%",
    fail_on: Annotated[list[str] | None, typer.Option("--fail-on", metavar="WORD...", help=FAIL_ON)] = None,
    allow_unlike: Annotated[
        bool, typer.Option("--allow-unlike", help="Compare runs of unlike hardware or schema all the same.")
    ] = False,
    allow_incomplete: Annotated[bool, typer.Option("--allow-incomplete", help=INCOMPLETE)] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write every row to this .json or .csv file too.")
    ] = None,
) -> None:
    """Say of every time of RUN_B whether it is faster, slower, same or unclear against RUN_A, and what else changed.

    With one run a side every time is unclear, as nothing shows what two runs of the same code differ by; ratios and
    what changed are shown. Runs for a gate: three or more a side, alternating, with --iterations 30. Exit code 4:
    --fail-on applies.
    """
    from kvbench.report.comparison.compare import compare as compare_sides
    from kvbench.report.comparison.gate import lost_in_b, offending, parse_conditions, parse_margin, require_repeats
    from kvbench.report.comparison.sides import Run, Side, parse_chosen

    conditions = parse_conditions(fail_on or [])
    if output is not None:
        _check_output(output)
    side_a = Side("A", [Run.read(path) for path in (run_a, *(more_a or []))], parse_chosen("--a", a or []))
    side_b = Side("B", [Run.read(path) for path in (run_b, *(more_b or []))], parse_chosen("--b", b or []))
    require_repeats(conditions, side_a, side_b)
    found = compare_sides(side_a, side_b, margin=parse_margin("--margin", margin), allow_unlike=allow_unlike)
    _tell(found, output)
    _gate(offending(found.rows, conditions), [] if allow_incomplete else lost_in_b(found, conditions))


def _check_output(output: Path) -> None:
    from kvbench.cli.experiment import TABLE_SUFFIXES
    from kvbench.record.table_file import check_table_file
    from kvbench.report.comparison.columns import COLUMNS

    if output.suffix.lower() not in TABLE_SUFFIXES:
        raise UsageError(f"--output {output}: a comparison is one table; give a name ending in .json or .csv")
    check_table_file(output, COLUMNS)


def _tell(found: Comparison, output: Path | None) -> None:
    from kvbench.cli.comparison_table import parts_to_show
    from kvbench.cli.console import say, show
    from kvbench.record.table import write_rows
    from kvbench.report.comparison.columns import COLUMNS, comparison_rows

    for note in found.notes:
        say(note)
    show(*parts_to_show(found))
    if output is not None:
        write_rows(output, COLUMNS, comparison_rows(found))
        show(f"table: {output}")


def _gate(met: list[tuple[Condition, int]], lost: list[str]) -> None:
    for condition, count in met:
        typer.echo(f"kvbench: gate: {count} rows are {condition}", err=True)
    for phrase in lost:
        typer.echo(f"kvbench: gate: {phrase}; --allow-incomplete lets that pass", err=True)
    if met or lost:
        raise typer.Exit(EXIT_GATE)
