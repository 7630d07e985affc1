"""Owns the steps that `baseline`, `compress` and `sweep` share: options to experiment, plan, run and printed result."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kvbench.cli.app import EXIT_CASES_FAILED
from kvbench.cli.console import progress, say, show
from kvbench.cli.options import Asked
from kvbench.errors import KvbenchError, UsageError

if TYPE_CHECKING:
    from kvbench.bench.context import Preparation
    from kvbench.config import Command, Experiment
    from kvbench.record.schema import Case, CaseResult
    from kvbench.record.store import RunFolder

TIGHT_REL_BOUND = 1e-4
MOST_REASONS = 12
TABLE_SUFFIXES = {".json", ".csv"}
TRACE_NOTE = "traced by torch.profiler (--chrome-trace), whose own work is in these times"


def run_experiment(
    command: Command,
    asked: Asked,
    *,
    defaults: dict[str, Any] | None = None,
    check: Callable[[tuple[Case, ...]], None] | None = None,
) -> Preparation:
    """Plan and run what was asked, or only show the plan; gives back what was planned.

    `check` may refuse the planned cases before anything is written. Raises typer.Exit(1) where cases failed or
    held-out texts missed a target.
    """
    experiment = _resumed(command, asked) if asked.resume else _new(command, asked, defaults)
    table, path = _outputs(asked)
    _check_trace(asked.chrome_trace)
    from kvbench import runner
    from kvbench.record.closing import resumable
    from kvbench.record.store import RunFolder
    from kvbench.report.tuned import tuned

    preparation = _with_warning(runner.prepare(experiment))
    if asked.chrome_trace is not None:
        preparation = replace(preparation, notes=(*preparation.notes, TRACE_NOTE))
    if check is not None:
        check(preparation.plan.cases)
    if asked.dry_run:
        _show_plan(preparation, RunFolder.open(asked.resume).results() if asked.resume else [])
        return preparation
    _require_cases(preparation)
    folder = (
        runner.reopen(asked.resume)[1]
        if asked.resume
        else runner.create(experiment, preparation, path=path, argv=["kvbench", *sys.argv[1:]])
    )
    with folder, resumable(folder):
        with _traced(asked.chrome_trace):
            _run(experiment, preparation, folder)
        if table is not None:
            _write_table(table, folder)
    _show_results(folder, table)
    if asked.chrome_trace is not None:
        show(f"trace: {asked.chrome_trace} (open in https://ui.perfetto.dev or chrome://tracing)")
    if folder.manifest().cases_failed or any(one.verdict == "missed" for one in tuned(folder.results())):
        raise typer.Exit(EXIT_CASES_FAILED)
    return preparation


def _check_trace(path: Path | None) -> None:
    if path is None:
        return
    if path.suffix != ".json" or path.exists():
        raise UsageError(f"--chrome-trace {path}: give a new file name ending in .json")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"--chrome-trace {path}: folder {path.parent} is missing or cannot be written")


def _traced(path: Path | None) -> AbstractContextManager[None]:
    from kvbench.measure.chrome_trace import chrome_trace

    return nullcontext() if path is None else chrome_trace(path)


def _run(experiment: Experiment, preparation: Preparation, folder: RunFolder) -> None:
    from kvbench import runner

    for note in preparation.notes:
        say(note)
    with progress(experiment.command) as on_progress:
        manifest = runner.run(experiment, preparation, folder, on_progress)
    for note in manifest.notes:
        if note not in preparation.notes:
            say(note)


def _write_table(table: Path, folder: RunFolder) -> None:
    from kvbench.record.table import write_single_table

    try:
        write_single_table(table, folder.results(), folder.manifest().run_id)
    except KvbenchError as error:
        kept = folder.path / f"summary{table.suffix.lower()}"
        raise KvbenchError(f"{error}; the run is kept, {kept} is the same table") from error


def _new(command: Command, asked: Asked, defaults: dict[str, Any] | None) -> Experiment:
    from kvbench.config import build_experiment

    return build_experiment(command, asked.fields, asked.config, defaults)


def _resumed(command: Command, asked: Asked) -> Experiment:
    """The experiment of an earlier run. Raises UsageError where options typed beside --resume say something else."""
    from kvbench.config import Experiment, build_experiment, recorded_experiment
    from kvbench.record.folder import MANIFEST
    from kvbench.record.store import RunFolder

    assert asked.resume is not None
    folder = RunFolder.open(asked.resume)
    manifest = folder.manifest()
    if manifest.command != command:
        raise UsageError(f"{asked.resume} is a run of {manifest.command}: kvbench {manifest.command} --resume ...")
    defaults = Experiment(command=command).model_dump(mode="json")
    chosen = {name: value for name, value in manifest.experiment.items() if value != defaults.get(name)}
    experiment = recorded_experiment({**chosen, "command": command}, folder.path / MANIFEST)
    wanted = build_experiment(command, asked.fields, asked.config, defaults=chosen)
    for name in Experiment.model_fields:
        if getattr(wanted, name) != getattr(experiment, name):
            raise UsageError(
                f"--{name.replace('_', '-')} differs from the run to resume, whose {name} is "
                f"{manifest.experiment.get(name)}; leave it out, or start a new run"
            )
    return experiment


def _outputs(asked: Asked) -> tuple[Path | None, Path | None]:
    """The single table and the run folder that --output names; at most one of them."""
    output = asked.output
    if output is None:
        return None, None
    if output.suffix.lower() in TABLE_SUFFIXES:
        if not asked.dry_run:
            from kvbench.record.table import check_single_table

            check_single_table(output)
        return output, None
    if asked.resume:
        raise UsageError(
            f"--output {output}: a resumed run stays in its folder; only a .json or .csv table can be added"
        )
    return None, output


def _with_warning(preparation: Preparation) -> Preparation:
    tight = {
        case.bound.value
        for case in preparation.plan.cases
        if case.bound and case.bound.kind == "rel" and case.bound.value <= TIGHT_REL_BOUND and case.dtype != "float32"
    }
    if not tight:
        return preparation
    named = ", ".join(f"{value:g}" for value in sorted(tight, reverse=True))
    line = f"warning: rel {named} on a 16-bit cache usually costs more bytes than lossless codecs do; done as asked"
    return replace(preparation, notes=(*preparation.notes, line))


def _require_cases(preparation: Preparation) -> None:
    if not preparation.plan.cases:
        reasons = dict.fromkeys(skip.reason for skip in preparation.plan.skipped)
        raise UsageError(f"nothing to run: {'; '.join(reasons) or 'no tensor was chosen'}")


def _show_plan(preparation: Preparation, earlier: Sequence[CaseResult]) -> None:
    from kvbench.cli.tables import plan_table
    from kvbench.runner import DONE

    for note in preparation.notes:
        say(note)
    done = {result.case_id for result in earlier if result.status in DONE}
    waiting = [case for case in preparation.plan.cases if case.id not in done]
    skipped = preparation.plan.skipped
    if waiting:
        show(plan_table(waiting))
    for skip in skipped:
        show(f"skipped: {skip.case.label}: {skip.reason}")
    before = f"{len(done)} done before, " if earlier else ""
    show(f"{before}{len(waiting)} cases to run, {len(skipped)} skipped; nothing was run or written")


def _show_results(folder: RunFolder, table: Path | None) -> None:
    from kvbench.cli.comparison_table import pair_parts
    from kvbench.cli.copy_table import copy_table
    from kvbench.cli.quality_table import quality_table
    from kvbench.cli.served_table import served_table
    from kvbench.cli.speed_table import speed_table
    from kvbench.cli.swap_table import swap_table
    from kvbench.cli.tables import case_table
    from kvbench.cli.tune_table import tune_table
    from kvbench.report.answer import answer
    from kvbench.report.notes import case_words, flag_notes, unwell

    results, manifest = folder.results(), folder.manifest()
    if manifest.command == "baseline":
        copies, notes = copy_table([result for result in results if result.phases])
        show(copies, *notes)
    elif manifest.command == "swap":
        batches, notes = swap_table(results)
        if batches is not None:
            show("", batches, "", *notes)
    elif manifest.command == "e2e":
        servers, notes = served_table(results)
        if servers is not None:
            show("", servers, "", *notes)
    elif manifest.command in ("quality", "tune"):
        targets, notes = tune_table(results)
        if targets is not None:
            show("", targets, "", *notes)
        scores, notes = quality_table(results)
        if scores is not None:
            show("", scores, "", *notes)
    else:
        printed, notes = case_table(results)
        if printed is not None:
            show("", printed, "", *notes)
        speeds, notes = speed_table(results)
        if speeds is not None:
            show("", speeds, "", *notes)
        show(*pair_parts(results))
    show(*flag_notes(results))
    told = [case_words(result) for result in unwell(results)]
    show(*told[:MOST_REASONS])
    if len(told) > MOST_REASONS:
        show(f"and {len(told) - MOST_REASONS} more cases that are not ok; summary.csv has all with reasons")
    show("", " ".join(answer(manifest, results)), "")
    show(f"run folder: {folder.path}")
    if (folder.path / "report.html").exists():
        show(f"report: {folder.path / 'report.html'}")
    if table is not None:
        show(f"table: {table}")
