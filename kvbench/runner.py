"""Owns the run: its folder, the loop over its cases, what happens when one fails, and going on with a run."""

from __future__ import annotations

import errno
import shlex
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from kvbench import report
from kvbench.bench import ab, baseline, compress, e2e, quality, swap, tune
from kvbench.bench.context import Bench, BenchContext, Preparation
from kvbench.bench.outcome import Outcome
from kvbench.config import Experiment, recorded_experiment
from kvbench.errors import CaseFailed, CaseSkipped, KvbenchError
from kvbench.measure.capture import captured, profiler_notes
from kvbench.measure.nvtx import marked
from kvbench.measure.sampling import StopRule
from kvbench.record.closing import close_run, remade_later, resumable
from kvbench.record.folder import MANIFEST
from kvbench.record.gpu import cuda_facts
from kvbench.record.host import host_facts
from kvbench.record.schema import Case, CaseResult, RunManifest
from kvbench.record.store import RunFolder, utc_now
from kvbench.record.table import write_tables

# A new measured command is one module with `prepare` and `run`, and one line here.
BENCHES: dict[str, Bench] = {
    "baseline": baseline,
    "compress": compress,
    "e2e": e2e,
    "quality": quality,
    "swap": swap,
    "sweep": compress,
    "tune": tune,
}
ERROR_LOG = "errors.log"
DONE = {"ok", "invalid"}  # statuses that --resume does not try again
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Progress:
    """Told before each case (`result` is None) and after it; `done` counts finished cases, earlier ones included."""

    done: int
    total: int
    case: Case
    result: CaseResult | None


OnProgress = Callable[[Progress], None]


def prepare(experiment: Experiment) -> Preparation:
    """The cases, link and notes of an experiment. Writes nothing, so it serves a dry run.

    Raises UsageError or UnavailableError where the experiment cannot be run here.
    """
    return _bench_of(experiment).prepare(experiment, cuda_facts(experiment.device_id))


def _bench_of(experiment: Experiment) -> Bench:
    return ab if experiment.ab else BENCHES[experiment.command]


def create(experiment: Experiment, preparation: Preparation, *, path: Path | None, argv: Sequence[str]) -> RunFolder:
    """A new run folder with its manifest: `path`, or a new folder under results/ when it is None.

    Raises UsageError where it cannot be written or holds something already.
    """
    plan = preparation.plan
    return RunFolder.create(
        path,
        experiment.command,
        argv,
        experiment=experiment.model_dump(mode="json"),
        seed=experiment.seed,
        host=host_facts(),
        link=preparation.link,
        notes=preparation.notes,
        cases_planned=len(plan.cases) + len(plan.skipped),
    )


def reopen(path: Path) -> tuple[Experiment, RunFolder]:
    """An earlier run to go on with, and the experiment it was for. Raises UsageError where that cannot be."""
    folder = RunFolder.resume(path)
    try:
        return recorded_experiment(folder.manifest().experiment, folder.path / MANIFEST), folder
    except BaseException:
        folder.close()
        raise


def run(
    experiment: Experiment, preparation: Preparation, folder: RunFolder, on_progress: OnProgress | None = None
) -> RunManifest:
    """Run every case that the folder does not hold as done, close the manifest, write tables and plots.

    A case that fails is recorded and the next one runs; the traceback of an error that kvbench does not raise on
    purpose goes to errors.log in the folder. A full disk ends the run with KvbenchError. KeyboardInterrupt closes the
    manifest as `resumable` does and goes on up.
    """
    with resumable(folder):
        manifest = _measure(experiment, preparation, folder, on_progress)
        with remade_later(folder):
            write_tables(folder)
            _draw(folder, manifest)
    return manifest


def _measure(
    experiment: Experiment, preparation: Preparation, folder: RunFolder, on_progress: OnProgress | None
) -> RunManifest:
    manifest = folder.manifest()
    manifest.status, manifest.ended_at = "running", None
    try:
        loop = _Loop(_bench_of(experiment), _context(experiment, manifest, folder.path), folder, on_progress)
        manifest.notes += [*loop.resume_notes(), *profiler_notes()]
        folder.write_manifest(manifest)
        with captured(folder.path):
            loop.run(preparation)
        manifest.notes += [note for note in loop.device_notes() if note not in manifest.notes]
        close_run(folder, manifest, "finished")
    except Exception:
        with suppress(KvbenchError):
            close_run(folder, manifest, "failed")
        raise
    return manifest


def _draw(folder: RunFolder, manifest: RunManifest) -> None:
    """Plots come last and from the record alone, so a failure here costs a note and not the run."""
    try:
        report.draw(folder)
    except KvbenchError:
        raise
    except Exception as error:  # noqa: BLE001  the measurements are safe and can be drawn again
        _log(folder, "drawing", error)
        manifest.notes.append(
            f"not drawn ({_one_line(error)}); `kvbench report {shlex.quote(str(folder.path))}` tries again"
        )
        folder.write_manifest(manifest)


def _context(experiment: Experiment, manifest: RunManifest, run_folder: Path) -> BenchContext:
    rule = StopRule(
        iterations=experiment.iterations,
        time_limit_s=experiment.time_limit,
        relative_half_width=experiment.precision,
    )
    return BenchContext(rule=rule, link=manifest.link, device_id=experiment.device_id, run_folder=run_folder)


class _Loop:
    """One pass over a plan: what is done already is left alone, everything else ends as one result a case."""

    def __init__(self, bench: Bench, context: BenchContext, folder: RunFolder, on_progress: OnProgress | None) -> None:
        self._bench = bench
        self._context = context
        self._folder = folder
        self._on_progress = on_progress
        self._earlier = {result.case_id: result.status for result in folder.results()}

    def resume_notes(self) -> list[str]:
        """A line on what an earlier start of this run left, or nothing."""
        if not self._earlier:
            return []
        done = sum(status in DONE for status in self._earlier.values())
        failed = sum(status == "failed" for status in self._earlier.values())
        again = f"; {failed} failed ones are tried again" if failed else ""
        return [f"resumed {utc_now()}: {done} cases were done{again}"]

    def device_notes(self) -> list[str]:
        """What the cases so far let one say of the device."""
        return self._context.notes()

    def run(self, preparation: Preparation) -> None:
        plan = preparation.plan
        total = len(plan.cases) + len(plan.skipped)
        for skipped in plan.skipped:
            if self._earlier.get(skipped.case.id) != "skipped":
                outcome = Outcome(status="skipped", reason_code=skipped.reason_code, reason=skipped.reason)
                self._folder.append(outcome.result(skipped.case, utc_now(), 0.0))
        waiting = [case for case in plan.cases if self._earlier.get(case.id) not in DONE]
        left = {case.id for case in waiting}
        for case in waiting:
            if case.id not in left:
                continue  # it was measured beside an earlier one
            self._tell(Progress(total - len(left), total, case, None))
            for result in self._run_case(case):
                self._folder.append(result)
                left.discard(result.case_id)
                self._tell(Progress(total - len(left), total, result.case, result))

    def _tell(self, progress: Progress) -> None:
        if self._on_progress is not None:
            self._on_progress(progress)

    def _run_case(self, case: Case) -> list[CaseResult]:
        """The result of the case, and of those that were measured beside it."""
        started_at, start_s = utc_now(), perf_counter()

        def result(outcome: Outcome) -> list[CaseResult]:
            elapsed_s = perf_counter() - start_s
            return [of.result(one, started_at, elapsed_s) for one, of in [(case, outcome), *outcome.beside]]

        try:
            with marked(f"{case.id} {case.label}"):
                return result(self._bench.run(case, self._context))
        except CaseSkipped as skip:
            return result(Outcome(status="skipped", reason_code=skip.reason_code, reason=skip.reason))
        except CaseFailed as failure:
            return result(Outcome(status="failed", reason_code=failure.reason_code, reason=failure.reason))
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise KvbenchError(
                    "the disk is full; finished cases are kept; "
                    f"make room and go on with --resume {shlex.quote(str(self._folder.path))}"
                ) from error
            self._context.forget()  # after a lack of memory the next case needs what this one held
            if not isinstance(error, KvbenchError):
                _log(self._folder, f"case {case.id} ({case.label})", error)
            return result(Outcome(status="failed", reason_code=_reason_code(error), reason=_one_line(error)))


def _log(folder: RunFolder, what: str, error: Exception) -> None:
    text = f"{utc_now()} {what}\n{''.join(traceback.format_exception(error))}\n"
    # The reason is in the record; a log that cannot be written must not end the run.
    with suppress(OSError), (folder.path / ERROR_LOG).open("a", encoding="utf-8") as log:
        log.write(text)


def _reason_code(error: Exception) -> str:
    # torch reports a lack of host memory as a RuntimeError that says so.
    lacks_memory = isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)
    return "out_of_memory" if lacks_memory else "error"


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, KvbenchError) else f"{type(error).__name__}: {text}"
