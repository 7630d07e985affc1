"""Owns what `kvbench nsys` and `kvbench ncu` share: the command they run, checked first, and where its report goes."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from kvbench.cli.app import app
from kvbench.cli.console import say
from kvbench.cli.experiment import TABLE_SUFFIXES
from kvbench.errors import KvbenchError, UsageError
from kvbench.record.store import RESULTS

if TYPE_CHECKING:
    from kvbench.measure.capture import Trigger
    from kvbench.profilers.find import Profiler, ProfilerName
    from kvbench.profilers.process import Ended
    from kvbench.record.store import RunFolder

SERVING = {
    "e2e"
}  # commands whose GPU work is done by processes that they start, so that they have no CUDA of their own
DEFAULT_LIMIT_S = 3600.0

Words = Annotated[
    list[str], typer.Argument(metavar="COMMAND [OPTIONS...]", help="A measuring command and its options.")
]
Limit = Annotated[
    float,
    typer.Option("--limit", metavar="SECONDS", min=1.0, help="Stop everything after so long; what is there is kept."),
]


@dataclass(frozen=True)
class Target:
    """A measuring command that can run: its words, and what they choose."""

    command: str
    words: tuple[str, ...]
    device: str  # auto, cpu or cuda
    device_id: int
    codecs: tuple[str, ...]
    run_folder: Path | None  # an earlier run that it goes on with
    beside: Path  # the folder that its run folder lies in

    @property
    def line(self) -> list[str]:
        """The command line that runs it in this Python."""
        return [sys.executable, "-P", "-m", "kvbench", *self.words]


def checked(profiler: ProfilerName, words: Sequence[str], result: str) -> Target:
    """The command that `words` name, with its own options checked by itself; its --help is shown as ever.

    `result` is the file that profiling adds to a run folder, which must not be there. Raises UsageError.
    """
    from kvbench.config import Command
    from kvbench.record.store import RunFolder

    name, *options = words
    group: Any = typer.main.get_command(app)
    measuring = sorted(set(group.list_commands(None)) & set(get_args(Command)))
    if name.startswith("-"):
        raise UsageError(f"no option {name}; kvbench {profiler} --help lists those before COMMAND")
    found = group.get_command(None, name)
    if found is None:
        raise UsageError(f"no command {name!r}; kvbench {profiler} takes {', '.join(measuring)}")
    with found.make_context(f"kvbench {name}", list(options)) as context:
        params = dict(context.params)
    if name not in measuring:
        raise UsageError(f"kvbench {name} measures nothing; kvbench {profiler} takes {', '.join(measuring)}")
    if params.get("dry_run"):
        raise UsageError("--dry-run measures nothing that could be profiled; leave it out")
    experiment = _experiment(name, params)
    resumed = None if params.get("resume") is None else RunFolder.open(params["resume"]).path
    if resumed is not None and (resumed / result).exists():
        raise UsageError(f"run {resumed} was profiled before: move {resumed / result} away, or start a new run")
    return Target(
        command=name,
        words=tuple(words),
        device=experiment.device,
        device_id=experiment.device_id,
        codecs=tuple(choice.name for choice in experiment.codec),
        run_folder=resumed,
        beside=_beside(resumed, params.get("output")),
    )


def _beside(resumed: Path | None, output: Path | None) -> Path:
    if resumed is not None:
        return resumed.parent
    return RESULTS if output is None or output.suffix.lower() in TABLE_SUFFIXES else output.parent


def _experiment(name: Any, params: dict[str, Any]) -> Any:
    """What the options ask for. Raises UsageError for a value that cannot be."""
    from kvbench.config import Experiment, build_experiment, recorded_experiment
    from kvbench.record.folder import MANIFEST
    from kvbench.record.store import RunFolder

    if params.get("resume") is not None:
        folder = RunFolder.open(params["resume"])
        return recorded_experiment(folder.manifest().experiment, folder.path / MANIFEST)
    fields = {field: params[field] for field in Experiment.model_fields if params.get(field) not in (None, [], ())}
    return build_experiment(name, fields, params.get("config"))


def uses_cuda(target: Target) -> str | None:
    """None where it will run on a GPU, else why not."""
    from kvbench.record.gpu import cuda_unavailable

    return "the device is cpu" if target.device == "cpu" else cuda_unavailable()


def trigger_of(target: Target) -> Trigger:
    """How the profiler is told what to record: a process without CUDA cannot start it through CUDA."""
    return "nvtx" if target.command in SERVING or uses_cuda(target) is not None else "cuda"


@contextmanager
def scratch_folder(target: Target) -> Iterator[Path]:
    """A folder on the disk of the run, for what is not yet whole; a report that is left in it is kept and told of."""
    made = [folder for folder in (target.beside, *target.beside.parents) if not folder.exists()]
    target.beside.mkdir(parents=True, exist_ok=True)
    scratch = Path(mkdtemp(prefix=".profile-", dir=target.beside)).resolve()
    try:
        yield scratch
    finally:
        kept = [path for path in scratch.iterdir() if path.suffix in {".nsys-rep", ".qdstrm", ".ncu-rep"}]
        if kept:
            say(f"kept: {', '.join(map(str, kept))}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()  # where nothing came of it


def run_profiled(
    profiler: Profiler, target: Target, command: Sequence[str], scratch: Path, trigger: Trigger, limit_s: float
) -> tuple[Ended, RunFolder | None]:
    """Run the profiler's command line around the target. Gives how it ended, and the run that the target made."""
    from kvbench.measure.capture import PROFILER, RUN_FILE, TRIGGER
    from kvbench.profilers.process import run_limited
    from kvbench.record.store import RunFolder

    run_file = scratch / "run"
    named = f"{profiler.name} {profiler.version}".strip()
    environment = {RUN_FILE: str(run_file), TRIGGER: trigger, PROFILER: named}
    say(f"{named}: {shlex.join(command)}")
    ended = run_limited(command, target.line, environment, limit_s)
    folder = RunFolder.open(Path(run_file.read_text(encoding="utf-8"))) if run_file.is_file() else None
    return ended, folder


def keep_report(report: Path, folder: RunFolder) -> Path:
    """Move the report into the run folder, beside any that is there under another name."""
    stem, suffix = report.stem, report.suffix
    target, number = folder.path / report.name, 1
    while target.exists():
        number += 1
        target = folder.path / f"{stem}-{number}{suffix}"
    shutil.move(report, target)
    return target


def end_words(profiler: Profiler, command: Sequence[str], ended: Ended, limit_s: float) -> str:
    """What to say of a profiler that left no report: how it ended, and the command it ran."""
    if ended.timed_out:
        how = f"was stopped after {limit_s:g} s (--limit)"
    elif ended.code < 0:
        how = f"was ended by signal {-ended.code}"
    else:
        how = f"ended with exit code {ended.code}"
    return f"{profiler.name} {how} and left no report; it ran: {shlex.join(command)}"


def finish(ended: Ended, profiler: Profiler, limit_s: float) -> None:
    """End as the target did, once its report is in place. Raises typer.Exit, or KvbenchError where it was stopped."""
    if ended.timed_out:
        raise KvbenchError(f"stopped after {limit_s:g} s (--limit); the tables hold what was recorded until then")
    if ended.code < 0:
        raise KvbenchError(f"{profiler.name} was ended by signal {-ended.code}; the tables hold what was recorded")
    if ended.code:
        raise typer.Exit(ended.code)
