"""Owns profiles: which codec, transforms and bound each layer's K and V get, read from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import xxhash
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from kvbench.bound import Bound
from kvbench.codecs import calibration, registry
from kvbench.codecs.base import Codec
from kvbench.codecs.pipeline import Pipeline
from kvbench.codecs.transforms import chain as chains
from kvbench.config import CODEC_JSON_SCHEMA, CodecChoice, ErrorBound, Mode, NamedPath, codec_choice
from kvbench.config_messages import one_line
from kvbench.errors import UsageError
from kvbench.plan import Chosen
from kvbench.yaml_file import YamlFile, read_yaml

Kind = Literal["k", "v"]


def _layer_ranges(value: object) -> object:
    """`3`, `"0-3"`, `"0-3,7"` or a list of those as ((0, 3), (7, 7))."""
    parts = value if isinstance(value, (list, tuple)) else str(value).split(",")
    ranges = []
    for part in parts:
        low, dash, high = str(part).strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()) or int(high or low) < int(low):
            raise ValueError(f"layers {value!r} are no layer numbers; write 3, or '0-3,7'")
        ranges.append((int(low), int(high or low)))
    return tuple(ranges)


def _readable_chain(text: str) -> str:
    return chains.canonical(chains.parse(text))


_LAYERS_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "array", "items": {"type": ["integer", "string"]}}]
}
Layers = Annotated[tuple[tuple[int, int], ...], BeforeValidator(_layer_ranges), WithJsonSchema(_LAYERS_SCHEMA)]
Choice = Annotated[CodecChoice, BeforeValidator(codec_choice), WithJsonSchema(CODEC_JSON_SCHEMA)]


class Rule(BaseModel):
    """One codec for some layers and kinds. A rule without `layers` or `kv` is for all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: Layers | None = Field(default=None, description="from 0: 3, '0-3' or '0-3,7'")
    kv: Kind | None = None
    codec: Choice = CodecChoice(name="cuszp")
    mode: Mode | None = Field(default=None, description="of a codec that has modes")
    transforms: Annotated[str, AfterValidator(_readable_chain)] = Field(
        default="none", description="such as `keep-first=4,center=calibrated,layout=hdt`"
    )
    bound: ErrorBound | None = Field(
        default=None, description="absolute, in the tensor's unit; not for a codec without a bound"
    )

    def is_for(self, layer: int, kv: Kind) -> bool:
        """Whether this rule speaks of K or V of this layer."""
        known = self.layers is None or any(low <= layer <= high for low, high in self.layers)
        return known and self.kv in (None, kv)


class ProfileFile(BaseModel):
    """What a profile's file holds. Of the rules for a layer's K or V the first one counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calibration: NamedPath | None = Field(
        default=None, description=".safetensors file of calibrated vectors, relative to the profile"
    )
    rules: tuple[Rule, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Profile:
    """A profile that was read, with its calibrated vectors."""

    label: str  # file name and 8 hex digits of its content, vectors included
    rules: tuple[Rule, ...]
    vectors: Mapping[tuple[int, str], Mapping[str, str]]  # id by layer and kv, then `mean` or `std`

    def choose(self, layer: int | None, kv: Kind | None) -> Chosen:
        """What K or V of a layer gets.

        Raises UsageError where no rule speaks of it, a calibrated vector is missing, or it is not known which it is.
        """
        if layer is None or kv is None:
            raise UsageError(f"profile {self.label} goes by layer and K or V, which this tensor does not say")
        rule = next((rule for rule in self.rules if rule.is_for(layer, kv)), None)
        if rule is None:
            raise UsageError(
                f"profile {self.label} has no rule for layer {layer} {kv}; add one without layers and kv at the end"
            )
        try:
            chain = chains.with_calibration(chains.parse(rule.transforms), self.vectors.get((layer, kv), {}))
        except UsageError as error:
            raise UsageError(f"profile {self.label}, layer {layer} {kv}: {error}") from None
        bound = None if rule.bound is None else Bound(kind="abs", value=rule.bound)
        return Chosen(_with_mode(rule), chains.canonical(chain) or None, bound, self.label)


def load(path: Path) -> Profile:
    """Read and check a profile and its calibration file.

    Raises UsageError with one line that names file, line and field.
    """
    read = read_yaml(path)
    try:
        held = ProfileFile.model_validate(read.values)
    except ValidationError as error:
        raise UsageError(one_line(error, read, {}, models=(ProfileFile, Rule))) from None
    for number, rule in enumerate(held.rules):
        _check_rule(rule, read, number)
    beside = None if held.calibration is None else path.parent / held.calibration
    try:
        vectors = {} if beside is None else calibration.read(beside)
    except UsageError as error:
        raise UsageError(f"{read.place('calibration')}: calibration: {error}") from None
    digest = xxhash.xxh3_64_hexdigest(path.read_bytes() + repr(sorted(vectors.items())).encode())
    return Profile(f"{path.name} {digest[:8]}", held.rules, vectors)


def make_codec(chosen: Chosen, threads: int = 0) -> Codec:
    """The codec that was chosen, behind its transforms. Raises like `kvbench.codecs.registry.make`."""
    name, params = chosen.codec.name, chosen.codec.params
    if chosen.transforms:
        return Pipeline(codec=name, params=params, transforms=chosen.transforms, threads=threads)
    made = registry.make(name, params)
    return made.model_copy(update={"threads": threads}) if "threads" in made.axes else made


def _check_rule(rule: Rule, read: YamlFile, number: int) -> None:
    """Raises UsageError where the codec cannot be made, or a bound is missing or of no use."""
    try:
        axes = registry.make(rule.codec.name, _with_mode(rule).params).axes
    except UsageError as error:
        raise UsageError(f"{read.place('rules', number, 'codec')}: rules.{number}.codec: {error}") from None
    if "bound" in axes and rule.bound is None:
        raise UsageError(
            f"{read.place('rules', number)}: rules.{number}.bound: codec {rule.codec.name!r} needs one; "
            "give an absolute bound such as 0.05"
        )
    if "bound" not in axes and rule.bound is not None:
        raise UsageError(
            f"{read.place('rules', number, 'bound')}: rules.{number}.bound: codec {rule.codec.name!r} takes none; "
            "remove it"
        )


def _with_mode(rule: Rule) -> CodecChoice:
    """The codec with the mode as one of its parameters."""
    if rule.mode is None:
        return rule.codec
    return CodecChoice(name=rule.codec.name, params={**rule.codec.params, "mode": rule.mode})
