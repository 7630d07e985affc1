"""Owns `Experiment`: what a user asks for, from options or YAML, validated and with defaults filled in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from kvbench.bound import BoundKind, BoundPolicy
from kvbench.errors import UsageError
from kvbench.geometry import DType, parse_dtype, parse_geometry

Command = Literal["baseline", "compress", "sweep"]
Mode = Literal["fixed", "plain", "outlier"]
Layout = Literal["thd", "htd", "hdt"]
Device = Literal["auto", "cpu", "cuda"]


def _listed(value: object) -> object:
    """One value stands for a list of one; options and YAML may give either."""
    if value is None or isinstance(value, (list, tuple)):
        return value
    return (value,)


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


class CodecChoice(BaseModel):
    """A codec by its registry name, with parameters that differ from its defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    params: dict[str, Any] = Field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.name, repr(sorted(self.params.items()))))


def _codec_choice(value: object) -> object:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and "params" not in value:
        return {"name": value.get("name"), "params": {k: v for k, v in value.items() if k != "name"}}
    return value


class Experiment(BaseModel):
    """The product of its list fields is what will be run; every other field applies to all of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Command
    codec: Annotated[tuple[Annotated[CodecChoice, BeforeValidator(_codec_choice)], ...], BeforeValidator(_listed)] = (
        CodecChoice(name="cuszp"),
    )
    mode: Annotated[tuple[Mode, ...], BeforeValidator(_listed)] = ("plain",)
    bound_kind: Annotated[tuple[BoundKind, ...], BeforeValidator(_listed)] = ("rel",)
    error_bound: Annotated[tuple[float, ...], BeforeValidator(_listed)] = (1e-2,)
    bound_policy: Annotated[tuple[BoundPolicy, ...], BeforeValidator(_listed)] = ("strict",)
    dtype: Annotated[tuple[DType, ...], BeforeValidator(_listed)] = Field(
        default=(), description="element types the codec sees; empty keeps the source's own"
    )
    layout: Annotated[tuple[Layout, ...], BeforeValidator(_listed)] = ("thd",)
    source: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        default=(), description="named tensor sources; empty picks `kv` when a size is given, else `sample`"
    )
    input: Annotated[tuple[Path, ...], BeforeValidator(_listed)] = Field(
        default=(), description="tensor files: .npy, .npz, .safetensors"
    )
    tensor: str = Field(default="*", description="glob for tensor names inside a file")
    source_layout: Layout | None = Field(default=None, description="how files store their tensors")
    layers: Annotated[tuple[int, ...], BeforeValidator(_listed)] = Field(default=(), description="empty takes all")
    tensor_size: Annotated[tuple[int, ...], BeforeValidator(_listed)] = Field(default=(), description="in elements")
    geometry: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    device: Device = "auto"
    device_id: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0, description="CPU threads; 0 means all")
    iterations: int | None = Field(default=None, gt=0, description="samples a phase; None stops by precision or time")
    time_limit: float = Field(default=0.15, gt=0, allow_inf_nan=False, description="seconds a phase without iterations")
    link_gbps: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="link speed, GB/s (1e9 bytes)")
    baseline: Path | None = Field(default=None, description="run folder of `kvbench baseline` whose link speed to use")
    seed: int = Field(default=0, ge=0)

    @field_validator("codec", "mode", "bound_kind", "error_bound", "bound_policy", "layout", mode="after")
    @classmethod
    def _axis_not_empty(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values:
            raise ValueError("needs at least one value")
        return _distinct(values)

    @field_validator("error_bound", mode="after")
    @classmethod
    def _bounds_positive(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        for value in values:
            if not math.isfinite(value) or value <= 0:
                raise ValueError(f"error bound {value:g} is not a finite number above 0; try 1e-2")
        return values

    @field_validator("dtype", mode="before")
    @classmethod
    def _canonical_dtypes(cls, values: object) -> object:
        listed = _listed(values)
        if isinstance(listed, (list, tuple)):
            return tuple(parse_dtype(value) if isinstance(value, str) else value for value in listed)
        return listed

    @field_validator("tensor_size", mode="after")
    @classmethod
    def _sizes_positive(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        for value in values:
            if value <= 0:
                raise ValueError(f"tensor size {value} is not above 0; give a number of elements such as 1048576")
        return _distinct(values)

    @field_validator("geometry", mode="after")
    @classmethod
    def _geometries_known(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            parse_geometry(value)
        return _distinct(values)


def build_experiment(command: Command, fields: dict[str, Any], config: Path | None = None) -> Experiment:
    """An Experiment from a YAML file (if any) overlaid by `fields`; None means the option was not given.

    Raises UsageError with one line naming the field, the value and what is allowed.
    """
    merged: dict[str, Any] = {}
    origin = "option"
    if config is not None:
        origin = str(config)
        merged.update(_read_yaml(config))
        asked = merged.get("command", command)
        if asked != command:
            raise UsageError(f"{config}: command is {asked!r}; run it with `kvbench {asked} --config {config}`")
    merged.update({name: value for name, value in fields.items() if value is not None})
    merged["command"] = command
    try:
        return Experiment.model_validate(merged)
    except ValidationError as error:
        raise UsageError(_one_line(error, origin, given=fields)) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read config {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict):
        raise UsageError(f"config {path} holds a {type(loaded).__name__}; it must map field names to values")
    return loaded


def _one_line(error: ValidationError, origin: str, given: dict[str, Any]) -> str:
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{origin}: unknown key {place!r}; known keys: {', '.join(sorted(Experiment.model_fields))}"
    message = str(first["msg"]).removeprefix("Value error, ")
    where = f"--{field.replace('_', '-')}" if given.get(field) is not None else f"{origin}: {place}"
    value = first["input"]
    shown = "" if str(value) in message else f" (got {value!r})"
    return f"{where}: {message[:1].lower()}{message[1:]}{shown}"
