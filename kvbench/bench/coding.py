"""Owns which codec and bound each layer's K and V of a whole cache gets: the case's own, or a profile's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from kvbench.bench.case_codec import codec_of_case
from kvbench.bound import Bound
from kvbench.codecs import profile as profiles
from kvbench.codecs import registry
from kvbench.codecs.base import Codec
from kvbench.codecs.profile import Profile
from kvbench.config import CodecChoice, Device
from kvbench.errors import CaseFailed
from kvbench.plan import CodecFacts
from kvbench.record.schema import Case

PROFILE_CODEC = "profile"  # in place of a codec's name, in a case whose profile gives each layer another
KINDS: tuple[Literal["k"], Literal["v"]] = ("k", "v")


class Coding(NamedTuple):
    """What one layer's K or V goes through."""

    codec: Codec
    bound: Bound | None


CodingOf = Callable[[int, Literal["k", "v"]], Coding]


def coding_of(case: Case) -> CodingOf:
    """What every layer's K and V of a case goes through.

    Raises like `kvbench.bench.case_codec.codec_of_case`, and CaseFailed for a profile that is another by now.
    """
    if case.profile is None:
        return the_same(codec_of_case(case), case.bound)
    profile = profiles.load(Path(case.codec_params["file"]))
    if profile.label != case.profile:
        raise CaseFailed("profile_changed", f"profile {profile.label} was {case.profile} when the run was planned")

    def of_layer(layer: int, kv: Literal["k", "v"]) -> Coding:
        chosen = profile.choose(layer, kv)
        return Coding(profiles.make_codec(chosen, case.threads or 0), chosen.bound)

    return of_layer


def the_same(codec: Codec, bound: Bound | None) -> CodingOf:
    """One codec and bound for all of them."""
    return lambda _layer, _kv: Coding(codec, bound)


def profile_facts(profile: Profile, layers: int, device: Device) -> CodecFacts:
    """What planning must know of a profile for a model of so many layers.

    It runs on CUDA where every codec of it can. Raises UsageError where a rule is missing or cannot be followed.
    """
    choices = [profile.choose(layer, kv).codec for layer in range(layers) for kv in KINDS]
    facts = [registry.facts(choice, device) for choice in dict.fromkeys(choices)]
    if {one.device for one in facts} != {"cuda"}:
        on_cpu: Device = "cpu"
        facts = [registry.facts(choice, on_cpu) for choice in dict.fromkeys(choices)]
    return _together(facts, choices)


def _together(facts: Sequence[CodecFacts], choices: Sequence[CodecChoice]) -> CodecFacts:
    reasons = (
        f"{choice.name}: {one.unavailable}"
        for one, choice in zip(facts, dict.fromkeys(choices), strict=True)
        if one.unavailable is not None
    )
    axes = frozenset({"threads"}) if any("threads" in one.axes for one in facts) else frozenset()
    return CodecFacts(axes=axes, device=facts[0].device, unavailable=next(reasons, None))
