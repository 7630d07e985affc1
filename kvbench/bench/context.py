"""Owns what a bench prepares before a run and is given for every case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch

from kvbench.bench.outcome import Outcome
from kvbench.config import Experiment
from kvbench.measure import unseen_work
from kvbench.measure.clock import Clock, Clocks, device_clocks
from kvbench.measure.device_copy import copy_gbps, copy_note, device_copy
from kvbench.measure.interleaved import Trial, sample_pairs
from kvbench.measure.nvtx import marked
from kvbench.measure.sampling import StopRule, sample
from kvbench.measure.throttle import ClockLog, Watch, device_watch
from kvbench.plan import Plan
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import Case, Link, PhaseSamples
from kvbench.tensors import registry
from kvbench.tensors.base import KVView
from kvbench.tensors.layout import as_view

if TYPE_CHECKING:
    from torch.cuda import Stream

    from kvbench.bench.compress import TimedCall


@dataclass(frozen=True)
class Preparation:
    """All that is known before the first case: the cases, the link speed they are judged by, lines for the user."""

    plan: Plan
    link: Link | None = None  # None where a command measures the link itself
    notes: tuple[str, ...] = ()


class Bench(Protocol):
    """A measured command: a module with these two functions, named in `kvbench.runner.BENCHES`."""

    def prepare(self, experiment: Experiment, cuda: CudaFacts | str) -> Preparation:
        """The cases of an experiment; `cuda` is the GPU to use, or in one line why there is none.

        Writes nothing. Raises UsageError or UnavailableError where the experiment cannot be run here.
        """

    def run(self, case: Case, context: BenchContext) -> Outcome:
        """Measure one case. Raises CaseSkipped or CaseFailed, with its reason, where there are no numbers to keep."""


@dataclass
class BenchContext:
    """What the cases of a run share. Keeps the last view, so that cases on one tensor load it once.

    `kept` is for what else a bench makes once for several cases, such as a model; `forget` empties it.
    """

    rule: StopRule
    link: Link | None = None
    device_id: int = 0
    run_folder: Path | None = None  # for the files that a bench keeps beside the record
    clocks_of: Callable[[str, int], Clocks] = device_clocks
    kept: dict[str, Any] = field(default_factory=dict, init=False)
    watch_of: Callable[[str, int], Watch | str | None] = device_watch
    _view: KVView | None = field(default=None, init=False)
    _view_key: str = field(default="", init=False)
    _loaded: torch.Tensor | None = field(default=None, init=False)  # on the host, for the other dtypes of a GPU run
    _loaded_key: str = field(default="", init=False)
    _stream: Stream | None = field(default=None, init=False)
    _clock_logs: dict[str, ClockLog | None] = field(default_factory=dict, init=False)
    _unwatched: dict[str, str] = field(default_factory=dict, init=False)  # why there is no log
    _copies: dict[str, PhaseSamples | None] = field(default_factory=dict, init=False)

    def view(self, case: Case) -> KVView:
        """The case's tensor as its codec sees it, on the case's device. Valid until the next call."""
        assert case.tensor is not None
        stored_key = f"{case.tensor.model_dump_json()} {case.seed}"
        key = f"{stored_key} {case.layout} {case.dtype} {case.device}"
        if self._view is None or key != self._view_key:
            self._view = None  # before loading, so that two tensors are never held
            with marked(f"{case.id}/source"):
                view = as_view(self._load(case, stored_key), case.tensor, case.layout, case.dtype)
                if case.device == "cuda":
                    view = replace(view, tensor=view.tensor.to(f"cuda:{self.device_id}"))
            self._view, self._view_key = view, key
        return self._view

    def _load(self, case: Case, key: str) -> torch.Tensor:
        """The tensor as its source gives it. Kept where the view is a copy of it on a GPU, so as not to load again."""
        assert case.tensor is not None
        if self._loaded is None or key != self._loaded_key:
            self._loaded = None
            loaded = registry.load(case.tensor, case.seed)
            if case.device != "cuda":
                return loaded
            self._loaded, self._loaded_key = loaded, key
        return self._loaded

    def forget(self) -> None:
        """Give back the memory of the last view and of what a bench kept."""
        self._view, self._loaded = None, None
        self.kept.clear()

    @contextmanager
    def working_stream(self, case: Case) -> Iterator[None]:
        """On a GPU, make a stream of the run's own the current one; the default stream cannot be captured."""
        if case.device != "cuda":
            yield
            return
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device_id)  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(self.device_id)
        with torch.cuda.stream(self._stream):
            yield

    def clocks(self, case: Case) -> Clocks:
        """The clocks of the case's device."""
        return self.clocks_of(case.device, self.device_id)

    def device_copy_gbps(self, case: Case) -> float | None:
        """Bandwidth of the GPU's own copies, measured at the first call of a run; None on the CPU."""
        if case.device != "cuda":
            return None
        if case.device not in self._copies:
            log = self.clock_log(case)
            self._copies[case.device] = device_copy(self.clocks(case), self.device_id, log)
        return copy_gbps(self._copies[case.device])

    def notes(self) -> list[str]:
        """Lines about the device that hold for the run as a whole, as far as it has gone."""
        copies = [copy_note(timed) for timed in self._copies.values() if timed is not None]
        clocks = [log.note() for log in self._clock_logs.values() if log is not None]
        return [*copies, *clocks, *(f"clock not watched: {why}" for why in self._unwatched.values())]

    def sample(
        self,
        case: Case,
        phase: str,
        call: Callable[[], object],
        clock: Clock,
        batch_of: int = 1,
        cache: Literal["cold", "warm"] | None = None,
        chunk_bytes: int | None = None,
    ) -> PhaseSamples:
        """Time one phase of a case by the run's stop rule; its GB/s are about the case's raw bytes.

        `batch_of` as for `measure.sampling.sample`; `cache` and `chunk_bytes` are only recorded. A phase whose work
        goes on where its clock cannot see it is flagged `unseen_work` and has no median.
        """
        text = f"{case.id}/{phase}"
        with marked(text):
            timed = sample(
                call,
                clock=clock,
                rule=self.rule,
                work_bytes=case.raw_bytes,
                nvtx_text=text,
                batch_of=batch_of,
                clock_log=self.clock_log(case),
            )
            self._note_unseen(case, call, timed)
        timed.cache, timed.chunk_bytes = cache, chunk_bytes
        return timed

    def sample_pairs(
        self, cases: tuple[Case, Case], phase: str, calls: tuple[TimedCall, TimedCall], rng: np.random.Generator
    ) -> tuple[PhaseSamples, PhaseSamples]:
        """Time one phase of two cases in turn, see `measure.interleaved`; everything else is as for `sample`."""
        a, b = (
            Trial(timed.call, timed.clock, case.raw_bytes, f"{case.id}/{phase}", timed.batch_of)
            for case, timed in zip(cases, calls, strict=True)
        )
        both = sample_pairs(a, b, rule=self.rule, rng=rng, clock_log=self.clock_log(cases[0]))
        for case, timed, samples in zip(cases, calls, both, strict=True):
            self._note_unseen(case, timed.call, samples)
            samples.cache, samples.chunk_bytes = timed.cache, timed.chunk_bytes
        return both

    def _note_unseen(self, case: Case, call: Callable[[], object], timed: PhaseSamples) -> None:
        unseen_s = self.clocks(case).unseen_s
        if unseen_s is None:
            return
        timed.unseen_s = unseen_work.least_seen(partial(unseen_s, call, timed.calls_per_sample), timed.median_s)
        if unseen_work.matters(timed.unseen_s, timed.median_s):
            timed.flags.append("unseen_work")
            timed.median_s, timed.ci_low_s, timed.ci_high_s = None, None, None

    def clock_log(self, case: Case) -> ClockLog | None:
        if case.device not in self._clock_logs:
            watch = self.watch_of(case.device, self.device_id)
            if isinstance(watch, str):
                self._unwatched[case.device] = watch
            self._clock_logs[case.device] = None if watch is None or isinstance(watch, str) else ClockLog(watch)
        return self._clock_logs[case.device]
