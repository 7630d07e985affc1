"""Owns what a bench prepares before a run and is given for every case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from kvbench.bench.outcome import Outcome
from kvbench.config import Experiment
from kvbench.measure.clock import Clock, Clocks, device_clocks
from kvbench.measure.sampling import StopRule, sample
from kvbench.plan import Plan
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import Case, Link, PhaseSamples
from kvbench.tensors import registry
from kvbench.tensors.base import KVView
from kvbench.tensors.layout import as_view


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
    """What the cases of a run share. Keeps the last view, so that cases on one tensor load it once."""

    rule: StopRule
    link: Link | None = None
    device_id: int = 0
    clocks_of: Callable[[str, int], Clocks] = device_clocks
    _view: KVView | None = field(default=None, init=False)
    _view_key: str = field(default="", init=False)

    def view(self, case: Case) -> KVView:
        """The case's tensor as its codec sees it, on the case's device. Valid until the next call."""
        assert case.tensor is not None
        key = f"{case.tensor.model_dump_json()} {case.layout} {case.dtype} {case.device} {case.seed}"
        if self._view is None or key != self._view_key:
            self.forget()  # before loading, so that two tensors are never held
            view = as_view(registry.load(case.tensor, case.seed), case.tensor, case.layout, case.dtype)
            if case.device == "cuda":
                view = replace(view, tensor=view.tensor.to(f"cuda:{self.device_id}"))
            self._view, self._view_key = view, key
        return self._view

    def forget(self) -> None:
        """Give back the memory of the last view."""
        self._view = None

    def clocks(self, case: Case) -> Clocks:
        """The clocks of the case's device."""
        return self.clocks_of(case.device, self.device_id)

    def sample(self, case: Case, phase: str, call: Callable[[], object], clock: Clock) -> PhaseSamples:
        """Time one phase of a case by the run's stop rule; its GB/s are about the case's raw bytes."""
        text = f"{case.id}/{phase}"
        return sample(call, clock=clock, rule=self.rule, work_bytes=case.raw_bytes, nvtx_text=text)
