"""Owns `kvbench ncu`: chosen kernels of a measuring command under Nsight Compute, and a table of their counters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kvbench.cli.multi import WrappingCommand
from kvbench.cli.profiled import DEFAULT_LIMIT_S, Limit, Words
from kvbench.errors import KvbenchError, UnavailableError, UsageError

if TYPE_CHECKING:
    from kvbench.profilers.find import Profiler
    from kvbench.record.profile import KernelProfile
    from kvbench.record.store import RunFolder

Kernel = Annotated[
    str | None,
    typer.Option("--kernel", metavar="REGEX", help="Kernels, by demangled name [default: those of the codec]"),
]
Skip = Annotated[
    int, typer.Option("--launch-skip", metavar="N", min=0, help="Launches of each kernel and size to pass over first.")
]
Count = Annotated[
    int, typer.Option("--launch-count", metavar="N", min=1, help="Launches of each kernel and size to profile then.")
]
Set = Annotated[
    Literal["table", "full"],
    typer.Option("--set", metavar="SET", help="table: the counters of the table; full: all that ncu has, slowly."),
]


def ncu(
    words: Words,
    kernel: Kernel = None,
    launch_skip: Skip = 0,
    launch_count: Count = 2,
    counters: Set = "table",
    limit: Limit = DEFAULT_LIMIT_S,
) -> None:
    """Run a measuring command under Nsight Compute; its kernels' counters go into its run folder.

    Options of ncu stand before COMMAND. The run folder gets the report (ncu.ncu-rep), kernels.json, kernels.csv, a
    roofline and a section of report.html. ncu repeats every profiled launch, so the run's own times do not count.
    """
    from kvbench.cli import profiled
    from kvbench.cli.console import say
    from kvbench.profilers.find import find_profiler
    from kvbench.profilers.ncu import REPORT_SUFFIX, Choice, codec_kernels, last_words, ncu_command, require_counters
    from kvbench.record.profile import KERNELS

    target = profiled.checked("ncu", words, KERNELS)
    choice = Choice(kernel or codec_kernels(target.codecs), launch_skip, launch_count, counters)
    _require_regex(choice.kernel)
    profiler = find_profiler("ncu")
    if (without := profiled.uses_cuda(target)) is not None:
        raise UnavailableError(
            f"ncu profiles kernels of a GPU, and {without}; take --device cuda on a machine with one"
        )
    trigger = profiled.trigger_of(target)
    with profiled.scratch_folder(target) as scratch:
        report, log = scratch / f"ncu{REPORT_SUFFIX}", scratch / "log"
        command = ncu_command(profiler, report, log, target.line, choice, trigger)
        ended, folder = profiled.run_profiled(profiler, target, command, scratch, trigger, limit)
        if folder is None and ended.code > 0 and not ended.timed_out and not report.is_file():
            require_counters(log, choice)
            say(profiled.end_words(profiler, command, ended, limit))
            raise typer.Exit(ended.code)  # the one that failed, the command or the profiler, has said why
        if not report.is_file() or folder is None:
            require_counters(log, choice)
            raise KvbenchError(f"{profiled.end_words(profiler, command, ended, limit)} {last_words(log)}")
        kept = profiled.keep_report(report, folder)
        require_counters(log, choice)
        _tell(_kernels(profiler, kept, command, folder), folder)
    profiled.finish(ended, profiler, limit)


def _require_regex(pattern: str) -> None:
    import re

    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--kernel {pattern!r} is no regular expression: {error}") from None


def _kernels(profiler: Profiler, report: Path, command: list[str], folder: RunFolder) -> KernelProfile:
    """Import the report, make the table, and put it into the run folder and its page."""
    from kvbench.profilers.kernels import kernel_rows
    from kvbench.profilers.ncu import report_csv
    from kvbench.record.profile import KernelProfile, ProfilerFacts, write_kernels
    from kvbench.report import draw

    facts = ProfilerFacts(name="ncu", version=profiler.version, command=command, report=report.name)
    copies = [result.metrics.get("device_copy_gbps") for result in folder.results()]
    profile = KernelProfile(
        profiler=facts,
        copy_gbps=next((speed for speed in copies if speed is not None), None),
        rows=kernel_rows(report_csv(profiler, report)),
    )
    write_kernels(folder.path, profile)
    draw(folder)
    return profile


def _tell(profile: KernelProfile, folder: RunFolder) -> None:
    from kvbench.cli.console import show
    from kvbench.cli.profile_table import printed
    from kvbench.report.kernel_table import kernel_table
    from kvbench.report.runs import read_runs

    file = folder.path / "kernels.csv"
    show(*printed(kernel_table(read_runs([folder])), str(file)))
    show(f"kernels: {file}")
    show(f"report for Nsight Compute: {folder.path / profile.profiler.report}")


vars(ncu)["command_class"] = WrappingCommand
