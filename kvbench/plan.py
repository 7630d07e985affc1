"""Owns the step from an Experiment to its cases: a pure product, with reasons for what is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, NamedTuple

from kvbench.bound import Bound
from kvbench.config import CodecChoice, Experiment, Layout
from kvbench.geometry import DType
from kvbench.record.schema import Case, SourceLayout, TensorSpec

NO_TRANSFORM = "none"


@dataclass(frozen=True)
class CodecFacts:
    """What planning must know of a codec: which axes it takes, and where it runs."""

    axes: frozenset[str]  # of mode, bound, bound_policy, threads
    device: Literal["cpu", "cuda"]
    unavailable: str | None = None  # why it cannot be used here


@dataclass(frozen=True)
class Chosen:
    """What a profile says of one layer's K or V."""

    codec: CodecChoice
    transforms: str | None  # in canonical form, calibrated vectors named by id; None for none
    bound: Bound | None  # absolute; None for a codec without one
    profile: str  # which one says so


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


class Cell(NamedTuple):
    """Everything of a case that is not the tensor's."""

    choice: CodecChoice
    params: dict[str, Any]
    bound: Bound | None
    dtype: DType
    layout: Layout
    transforms: str | None = None
    keep_first: int | None = None
    profile: str | None = None


def expand(
    experiment: Experiment,
    specs: Sequence[TensorSpec],
    facts: Callable[[CodecChoice], CodecFacts],
    transform_fault: Callable[[str, TensorSpec], str | None] = lambda _transforms, _spec: None,
    chosen: Callable[[TensorSpec], Chosen] | None = None,
) -> Plan:
    """Cases of `compress` and `sweep`: codec x mode x bound x dtype x layout x transforms x kept tokens x tensor.

    An axis that a codec does not declare collapses to one cell, and so do transforms and kept tokens for `raw`.
    `transform_fault` says why a tensor cannot go through transforms. With `chosen`, a profile, each tensor has the one
    codec, chain and bound that it says.
    """
    cases: dict[str, Case] = {}
    skipped: dict[str, SkippedCase] = {}
    if chosen is None:
        known = {choice: facts(choice) for choice in experiment.codec}
        planned = [
            (cell, codec, spec)
            for (choice, codec), spec in product(known.items(), specs)
            for cell in _grid(experiment, choice, codec, spec)
        ]
    else:
        planned = [
            (cell, facts(cell.choice), spec) for spec in specs for cell in _by_profile(experiment, spec, chosen(spec))
        ]
    for cell, codec, spec in planned:
        case = _case(experiment, cell, spec, codec)
        reason = _skip_reason(cell, spec, codec, transform_fault)
        if reason is None:
            cases.setdefault(case.id, case)
            continue
        shown = case.model_copy(update={"layout": cell.layout}) if cell.layout != "thd" else case
        skipped.setdefault(shown.id, SkippedCase(shown, *reason))
    return Plan(tuple(cases.values()), tuple(skipped.values()))


def _grid(experiment: Experiment, choice: CodecChoice, codec: CodecFacts, spec: TensorSpec) -> Iterator[Cell]:
    # A copy is the same whatever is done before and undone after it.
    plain = choice == CodecChoice(name="raw")
    chains = (NO_TRANSFORM,) if plain else experiment.transform
    kept = (0,) if plain else experiment.keep_first
    for dtype, layout, chain, keep_first in product(experiment.dtype or (spec.dtype,), experiment.layout, chains, kept):
        for params, bound in codec_cells(experiment, choice, codec.axes):
            transforms = None if chain == NO_TRANSFORM else chain
            yield Cell(choice, params, bound, dtype, layout, transforms, keep_first or None)


def _by_profile(experiment: Experiment, spec: TensorSpec, chosen: Chosen) -> Iterator[Cell]:
    for dtype, layout in product(experiment.dtype or (spec.dtype,), experiment.layout):
        params, transforms = dict(chosen.codec.params), chosen.transforms
        yield Cell(chosen.codec, params, chosen.bound, dtype, layout, transforms, profile=chosen.profile)


def _case(experiment: Experiment, cell: Cell, spec: TensorSpec, codec: CodecFacts) -> Case:
    return Case(
        command=experiment.command,
        codec=cell.choice.name,
        codec_params=cell.params,
        mode=cell.params.get("mode"),
        bound=cell.bound,
        tensor=spec,
        transforms=cell.transforms,
        profile=cell.profile,
        layout=cell.layout if spec.source_layout != "flat" else "flat",
        dtype=cell.dtype,
        shape=permuted_shape(spec, cell.layout),
        elements=spec.elements,
        device=codec.device,
        threads=experiment.threads if "threads" in codec.axes and codec.device == "cpu" else None,
        keep_first=cell.keep_first,
        seed=experiment.seed,
    )


def _skip_reason(
    cell: Cell, spec: TensorSpec, codec: CodecFacts, transform_fault: Callable[[str, TensorSpec], str | None]
) -> tuple[str, str] | None:
    """(reason code, reason) why a cell cannot be run on a tensor, None where it can."""
    if codec.unavailable is not None:
        return "codec_unavailable", f"codec {cell.choice.name!r} cannot be used here: {codec.unavailable}"
    if spec.source_layout == "flat" and cell.layout != "thd":
        return "no_layout", f"layout {cell.layout} needs a tensor of tokens, heads and head size; this one is flat"
    if spec.source_layout == "flat" and (cell.transforms or cell.keep_first):
        return "no_layout", "transforms and kept tokens need a tensor of tokens, heads and head size; this one is flat"
    fault = transform_fault(cell.transforms, spec) if cell.transforms else None
    return None if fault is None else ("transform_does_not_fit", fault)


def codec_cells(
    experiment: Experiment, choice: CodecChoice, axes: frozenset[str]
) -> Iterable[tuple[dict[str, Any], Bound | None]]:
    """The parameters and bounds of one codec choice: mode x policy x bound of the axes it takes."""
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
