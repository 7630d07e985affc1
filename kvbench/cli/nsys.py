"""Owns `kvbench nsys`: a measuring command under Nsight Systems, and a table of where each phase's time went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvbench.cli.multi import WrappingCommand
from kvbench.cli.profiled import DEFAULT_LIMIT_S, Limit, Words
from kvbench.errors import KvbenchError

if TYPE_CHECKING:
    from kvbench.profilers.find import Profiler
    from kvbench.record.profile import Timeline
    from kvbench.record.store import RunFolder

Osrt = Annotated[bool, typer.Option("--osrt", help="Trace calls of the operating system's libraries too.")]


def nsys(words: Words, osrt: Osrt = False, limit: Limit = DEFAULT_LIMIT_S) -> None:
    """Run a measuring command under Nsight Systems; where each phase's time went goes into its run folder.

    Options of nsys stand before COMMAND. The run folder gets the report (nsys.nsys-rep), timeline.json, timeline.csv
    and a section of report.html.
    """
    from kvbench.cli import profiled
    from kvbench.cli.console import say
    from kvbench.profilers.find import find_profiler
    from kvbench.profilers.nsys import REPORT_SUFFIX, nsys_command, written_report
    from kvbench.record.profile import TIMELINE

    target = profiled.checked("nsys", words, TIMELINE)
    profiler = find_profiler("nsys")
    trigger = profiled.trigger_of(target)
    with profiled.scratch_folder(target) as scratch:
        report = scratch / f"nsys{REPORT_SUFFIX}"
        command = nsys_command(profiler, report, target.line, trigger=trigger, osrt=osrt)
        ended, folder = profiled.run_profiled(profiler, target, command, scratch, trigger, limit)
        if folder is None and ended.code > 0 and not ended.timed_out:
            say(profiled.end_words(profiler, command, ended, limit))
            raise typer.Exit(ended.code)  # the one that failed, the command or the profiler, has said why
        written = written_report(profiler, report)
        if written is None or folder is None:
            raise KvbenchError(profiled.end_words(profiler, command, ended, limit))
        kept = profiled.keep_report(written, folder)
        _tell(_timeline(profiler, kept, command, scratch / "nsys.sqlite", folder), folder)
    profiled.finish(ended, profiler, limit)


def _timeline(profiler: Profiler, report: Path, command: list[str], exported: Path, folder: RunFolder) -> Timeline:
    """Export the report, make the table, and put it into the run folder and its page."""
    from kvbench.profilers.nsys import export_sqlite
    from kvbench.profilers.timeline import timeline_rows
    from kvbench.profilers.trace import read_trace
    from kvbench.record.profile import ProfilerFacts, Timeline, write_timeline
    from kvbench.report import draw

    trace = read_trace(export_sqlite(profiler, report, exported))
    notes = [] if trace.has_gpu else ["the report holds no GPU work, so the table has wall times alone"]
    facts = ProfilerFacts(name="nsys", version=profiler.version, command=command, report=report.name, notes=notes)
    timeline = Timeline(profiler=facts, rows=timeline_rows(trace, folder.results()))
    write_timeline(folder.path, timeline)
    draw(folder)
    return timeline


def _tell(timeline: Timeline, folder: RunFolder) -> None:
    from kvbench.cli.console import show
    from kvbench.cli.profile_table import printed
    from kvbench.report.runs import read_runs
    from kvbench.report.timeline_table import timeline_table

    file = folder.path / "timeline.csv"
    for note in timeline.profiler.notes:
        show(note)
    if not timeline.rows:
        raise KvbenchError(
            f"{folder.path / timeline.profiler.report} holds no phase of a case, so there is no table: every case "
            "ended before its first phase, or nsys recorded nothing"
        )
    show(*printed(timeline_table(read_runs([folder])), str(file)))
    show(f"timeline: {file}")
    show(f"report for Nsight Systems: {folder.path / timeline.profiler.report}")


vars(nsys)["command_class"] = WrappingCommand
