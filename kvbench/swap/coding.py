"""Owns what happens to each plane's values on the way out: from a bound, or from a profile's rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from kvbench.bound import Bound
from kvbench.codecs import calibration
from kvbench.codecs.profile import Profile
from kvbench.codecs.transforms import chain as chains
from kvbench.codecs.transforms.center import Center
from kvbench.codecs.transforms.keep_first import KeepFirst
from kvbench.codecs.transforms.layout import Layout
from kvbench.config import Mode
from kvbench.errors import UsageError
from kvbench.plan import Chosen
from kvbench.swap.planes import Plane

Form = Literal["raw", "fixed", "plain", "outlier"]
FUSED = "keep-first, center=calibrated, layout=hdt and layout=thd"


@dataclass(frozen=True)
class PlaneCoding:
    """What one plane's streams are. Raw ones have no bound, layout or means."""

    form: Form = "raw"
    bound: Bound | None = None
    layout: Literal["thd", "hdt"] = "thd"
    means: torch.Tensor | None = None  # float32 [heads, head size] on the CPU, taken away before the codec


RAW = PlaneCoding()


@dataclass(frozen=True)
class Coding:
    """What an engine does to its planes, `by_plane` in their order; tokens that stay raw where a sequence starts."""

    by_plane: tuple[PlaneCoding, ...]
    keep_first: int = 0

    @property
    def raw(self) -> bool:
        """Whether nothing is coded at all."""
        return all(one.form == "raw" for one in self.by_plane)


def raw_coding(planes: Sequence[Plane]) -> Coding:
    """Every plane as it is."""
    return Coding((RAW,) * len(planes))


def cuszp_coding(planes: Sequence[Plane], bound: Bound, mode: Mode = "plain") -> Coding:
    """One bound and mode for all planes whose values a codec can take; planes of bytes stay raw."""
    return Coding(tuple(PlaneCoding(mode, bound) if plane.coded else RAW for plane in planes))


def profile_coding(planes: Sequence[Plane], profile: Profile) -> Coding:
    """What a profile says of each plane; planes of bytes stay raw.

    Raises UsageError where the profile goes by what a plane does not say, has a codec other than cuszp and raw, a
    transform that the kernels do not do, or kept tokens that differ from plane to plane.
    """
    found: list[PlaneCoding] = []
    kept: dict[int, str] = {}
    for plane in planes:
        if not plane.coded:
            found.append(RAW)
            continue
        chosen = profile.choose(plane.layer, plane.kv)
        coding, tokens = _of_choice(chosen, plane, f"profile {profile.label}, {plane.name}")
        found.append(coding)
        if coding.form != "raw":
            kept.setdefault(tokens, plane.name)
    if len(kept) > 1:
        said = " and ".join(f"{tokens} for {name}" for tokens, name in kept.items())
        raise UsageError(f"profile {profile.label}: keep-first is {said}; the swap engine keeps the same in all planes")
    return Coding(tuple(found), next(iter(kept), 0))


def _of_choice(chosen: Chosen, plane: Plane, where: str) -> tuple[PlaneCoding, int]:
    """A plane's coding and the tokens kept raw."""
    name, params = chosen.codec.name, chosen.codec.params
    chain = chains.parse(chosen.transforms or "")
    if name == "raw" and not chain:
        return RAW, 0
    if name not in ("cuszp", "raw"):
        raise UsageError(f"{where}: codec {name!r} cannot be used by the swap engine; it has cuszp and raw")
    if name == "raw":
        raise UsageError(f"{where}: codec raw with transforms {chosen.transforms!r}; take the transforms away")
    if set(params) - {"mode", "threads"}:
        odd = ", ".join(sorted(set(params) - {"mode", "threads"}))
        raise UsageError(f"{where}: the swap engine's cuszp takes a mode alone, not {odd}; remove it")
    tokens, layout, means = 0, "thd", None
    for one in chain:
        if isinstance(one, KeepFirst):
            tokens = one.tokens
        elif isinstance(one, Layout) and one.to in ("thd", "hdt"):
            layout = one.to
        elif isinstance(one, Center) and one.means != "block":
            fault = calibration.fault(one.means, plane.block_shape, one.name)
            if fault is not None:
                raise UsageError(f"{where}: {fault}")
            means = calibration.rounded(one.means, plane.values.dtype, torch.device("cpu"))
        else:
            raise UsageError(f"{where}: the swap engine cannot do transform {one.text()!r}; it has {FUSED}")
    form = params.get("mode", "plain")
    return PlaneCoding(form, chosen.bound, "hdt" if layout == "hdt" else "thd", means), tokens
