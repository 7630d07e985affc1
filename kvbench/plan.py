"""Owns the step from an Experiment to its cases: a pure product, with reasons for what is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from kvbench.bound import Bound
from kvbench.config import CodecChoice, Experiment
from kvbench.record.schema import Case, SourceLayout, TensorSpec


@dataclass(frozen=True)
class CodecFacts:
    """What planning must know of a codec: which axes it takes, and where it runs."""

    axes: frozenset[str]  # of mode, bound, bound_policy, threads
    device: Literal["cpu", "cuda"]
    unavailable: str | None = None  # why it cannot be used here


@dataclass(frozen=True)
class SkippedCase:
    """A case that is planned but will not be run."""

    case: Case
    reason_code: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """The cases to run, in order, and those left out with reasons."""

    cases: tuple[Case, ...]
    skipped: tuple[SkippedCase, ...]


def expand(experiment: Experiment, specs: Sequence[TensorSpec], facts: Callable[[CodecChoice], CodecFacts]) -> Plan:
    """Cases of `compress` and `sweep`: codec x mode x bound x dtype x layout x tensor.

    An axis that a codec does not declare collapses to one cell.
    """
    cases: dict[str, Case] = {}
    skipped: dict[str, SkippedCase] = {}
    known = {choice: facts(choice) for choice in experiment.codec}
    for (choice, codec), spec in product(known.items(), specs):
        for dtype, layout in product(experiment.dtype or (spec.dtype,), experiment.layout):
            for params, bound in _codec_cells(experiment, choice, codec.axes):
                case = Case(
                    command=experiment.command,
                    codec=choice.name,
                    codec_params=params,
                    mode=params.get("mode"),
                    bound=bound,
                    tensor=spec,
                    layout=layout if spec.source_layout != "flat" else "flat",
                    dtype=dtype,
                    shape=permuted_shape(spec, layout),
                    elements=spec.elements,
                    device=codec.device,
                    threads=experiment.threads if "threads" in codec.axes and codec.device == "cpu" else None,
                    seed=experiment.seed,
                )
                if codec.unavailable is not None:
                    reason = f"codec {choice.name!r} cannot be used here: {codec.unavailable}"
                    skipped.setdefault(case.id, SkippedCase(case, "codec_unavailable", reason))
                elif spec.source_layout == "flat" and layout != "thd":
                    flat = case.model_copy(update={"layout": layout})
                    reason = f"layout {layout} needs a tensor of tokens, heads and head size; this one is flat"
                    skipped.setdefault(flat.id, SkippedCase(flat, "no_layout", reason))
                else:
                    cases.setdefault(case.id, case)
    return Plan(tuple(cases.values()), tuple(skipped.values()))


def _codec_cells(
    experiment: Experiment, choice: CodecChoice, axes: frozenset[str]
) -> Iterable[tuple[dict[str, Any], Bound | None]]:
    modes: tuple[str | None, ...] = experiment.mode if "mode" in axes and "mode" not in choice.params else (None,)
    policies: tuple[str | None, ...] = (None,)
    if "bound_policy" in axes and "bound_policy" not in choice.params:
        policies = experiment.bound_policy
    bounds: list[Bound | None] = [None]
    if "bound" in axes:
        bounds = [Bound(kind=k, value=v) for k, v in product(experiment.bound_kind, experiment.error_bound)]
    for mode, policy, bound in product(modes, policies, bounds):
        params = dict(choice.params)
        if mode is not None:
            params["mode"] = mode
        if policy is not None:
            params["bound_policy"] = policy
        yield params, bound


# Where each axis of [tokens, heads, head_dim] stands in a layout.
LAYOUT_AXES: dict[str, tuple[int, int, int]] = {"thd": (0, 1, 2), "htd": (1, 0, 2), "hdt": (1, 2, 0)}


def permuted_shape(spec: TensorSpec, layout: str) -> tuple[int, ...]:
    """The shape the codec sees when a tensor stored in its source layout is laid out as `layout`."""
    if spec.source_layout == "flat":
        return spec.shape
    return tuple(spec.shape[axis] for axis in permutation(spec.source_layout, layout))


def permutation(source_layout: SourceLayout, layout: str) -> tuple[int, ...]:
    """Axes for tensor.permute that turn `source_layout` into `layout` (neither may be flat)."""
    stored = LAYOUT_AXES[source_layout]
    return tuple(stored.index(axis) for axis in LAYOUT_AXES[layout])
