"""Owns `Experiment`: what a user asks for, from options or YAML, validated and with defaults filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from kvbench.bound import BoundKind, BoundPolicy
from kvbench.config_messages import one_line
from kvbench.config_values import (
    OneOrManySchema,
    as_dtype,
    known_geometry,
    known_soak,
    named_path,
    not_bool,
    usable_bound,
    usable_size,
)
from kvbench.errors import UsageError
from kvbench.geometry import MOST_ELEMENTS, DType
from kvbench.yaml_file import YamlFile, read_yaml

Command = Literal["baseline", "compress", "e2e", "quality", "swap", "sweep", "tune"]
Mode = Literal["fixed", "plain", "outlier"]
Layout = Literal["thd", "htd", "hdt"]
Device = Literal["auto", "cpu", "cuda"]
SwapPath = Literal["auto", "fused", "staged", "raw"]
SwapDirection = Literal["out", "in"]
Neighbour = Literal["nothing", "gemm", "attention"]
Arm = Literal["S", "A", "B", "F"]
Workload = Literal["two-pass", "multi-turn", "shared-prefix", "trace"]
Budget = Literal["same-residency", "capacity"]
MOST_BLOCKS = 1 << 20
MOST_BLOCK_BYTES = 1 << 30
T = TypeVar("T")


class CodecChoice(BaseModel):
    """A codec by its registry name, with parameters that differ from its defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    params: dict[str, Any] = Field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.name, repr(sorted(self.params.items()))))


def codec_choice(value: object) -> object:
    """A name, or a mapping with parameters beside the name, as the fields of a CodecChoice."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and "params" not in value and "name" in value:
        return {"name": value["name"], "params": {k: v for k, v in value.items() if k != "name"}}
    return value


CODEC_JSON_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "description": "a codec with parameters, beside its name or under `params`",
            "properties": {"name": {"type": "string"}, "params": {"type": "object"}},
            "required": ["name"],
        },
    ]
}
SIZE_JSON_SCHEMA: JsonDict = {"exclusiveMinimum": 0, "maximum": MOST_ELEMENTS}
OneOrMany = Annotated[tuple[T, ...], OneOrManySchema()]
Codecs = OneOrMany[Annotated[CodecChoice, BeforeValidator(codec_choice), WithJsonSchema(CODEC_JSON_SCHEMA)]]
Whole = Annotated[int, BeforeValidator(not_bool)]
NamedPath = Annotated[Path, BeforeValidator(named_path)]
Real = Annotated[float, BeforeValidator(not_bool)]
ErrorBound = Annotated[Real, AfterValidator(usable_bound), Field(json_schema_extra={"exclusiveMinimum": 0})]
Positive = Annotated[Real, Field(gt=0, allow_inf_nan=False)]
Elements = Annotated[Whole, AfterValidator(usable_size), Field(json_schema_extra=SIZE_JSON_SCHEMA)]


class Experiment(BaseModel):
    """The product of its list fields is what will be run; every other field applies to all of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Command
    codec: Codecs = (CodecChoice(name="cuszp"),)
    mode: OneOrMany[Mode] = ("plain",)
    bound_kind: OneOrMany[BoundKind] = ("rel",)
    error_bound: OneOrMany[ErrorBound] = (1e-2,)
    bound_policy: OneOrMany[BoundPolicy] = ("strict",)
    dtype: OneOrMany[Annotated[DType, BeforeValidator(as_dtype)]] = Field(
        default=(), description="element types the codec sees; empty keeps the source's own"
    )
    layout: OneOrMany[Layout] = ("thd",)
    transform: OneOrMany[str] = Field(
        default=("none",),
        description="chains of transforms between tensor and codec, such as `center,hadamard`; `none` for no transform",
    )
    profile: NamedPath | None = Field(
        default=None, description="YAML file that gives each layer's K and V its codec, transforms and bound"
    )
    source: OneOrMany[str] = Field(
        default=(), description="named tensor sources; empty picks `kv` when a size is given, else `sample`"
    )
    input: OneOrMany[NamedPath] = Field(default=(), description="tensor files: .npy, .npz, .safetensors")
    tensor: str = Field(default="*", description="glob for tensor names inside a file")
    source_layout: Layout | None = Field(default=None, description="how files store their tensors")
    layers: OneOrMany[Annotated[Whole, Field(ge=0)]] = Field(default=(), description="from 0; empty takes all")
    tensor_size: OneOrMany[Elements] = Field(default=(), description="in elements")
    geometry: OneOrMany[Annotated[str, AfterValidator(known_geometry)]] = ()
    device: Device = "auto"
    device_id: Whole = Field(default=0, ge=0)
    threads: Whole = Field(default=0, ge=0, le=1024, description="CPU threads; 0 means all")
    iterations: Whole | None = Field(default=None, gt=0, description="samples a phase; None stops by precision or time")
    time_limit: Real = Field(default=0.15, gt=0, allow_inf_nan=False, description="seconds a phase without iterations")
    precision: Real = Field(
        default=0.02, gt=0, lt=1, description="half-width of the median's interval, of it, that ends a phase early"
    )
    blocks: OneOrMany[Annotated[Whole, Field(gt=0, le=MOST_BLOCKS)]] = Field(
        default=(), description="baseline, swap: numbers of scattered blocks; empty: 32 to 2048 if no size is asked"
    )
    block_bytes: OneOrMany[Annotated[Whole, Field(gt=0, le=MOST_BLOCK_BYTES)]] = Field(
        default=(), description="baseline, swap: bytes of a scattered block; empty: 32768"
    )
    numa_node: Whole | None = Field(default=None, ge=0, description="baseline, swap: NUMA node of the host memory")
    link_gbps: Real | None = Field(default=None, gt=0, allow_inf_nan=False, description="link speed, GB/s (1e9 bytes)")
    baseline: NamedPath | None = Field(
        default=None, description="run folder of `kvbench baseline` whose link speed to use"
    )
    model: str | None = Field(default=None, description="quality: folder or hub name of a decoder-only model")
    gguf: str | None = Field(default=None, description="quality: the file in `model` that holds the weights")
    revision: str | None = Field(default=None, description="quality: branch, tag or commit of a hub model")
    text: OneOrMany[str] = Field(
        default=(), description="quality: names or files; empty takes the two registered scoring texts"
    )
    prefix_tokens: Whole = Field(default=1024, gt=0, description="quality: tokens whose cache is replaced")
    score_tokens: Whole = Field(default=512, gt=0, description="quality: tokens after them that are scored")
    greedy_tokens: Whole = Field(default=64, ge=0, description="quality: tokens the model writes; 0 leaves it out")
    keep_first: OneOrMany[Annotated[Whole, Field(ge=0)]] = Field(
        default=(0,), description="tokens at the front kept as they are, counted in the ratio"
    )
    ab: bool = Field(default=False, description="time the two codecs in turn, in pairs, and judge the second")
    path: OneOrMany[SwapPath] = Field(
        default=("raw", "fused", "staged", "auto"), description="swap: ways of a batch between the cache and the host"
    )
    direction: OneOrMany[SwapDirection] = Field(default=("out", "in"), description="swap: from the cache, or to it")
    beside: OneOrMany[Neighbour] = Field(
        default=("nothing", "gemm"), description="swap: what the GPU computes on another stream meanwhile"
    )
    planes: Whole = Field(default=64, gt=0, le=4096, description="swap: blocks of a slot, K and V of every layer")
    checksum: bool = Field(default=False, description="swap: give every stream a checksum and look at it on the way in")
    soak: Annotated[str, AfterValidator(known_soak)] | None = Field(
        default=None, description="swap: random traffic for so many operations, or seconds as in `300s`, all checked"
    )
    max_kl: OneOrMany[Positive] = Field(default=(), description="tune: mean KL in nat that a profile may have")
    min_ratio: OneOrMany[Positive] = Field(default=(), description="tune: ratio that a profile must reach")
    held_out: OneOrMany[str] = Field(
        default=(), description="tune: names or files the profile never sees; empty takes the two registered ones"
    )
    save_profile: NamedPath | None = Field(
        default=None, description="tune: the .yaml file to write; with several targets each is added to its name"
    )
    arms: OneOrMany[Arm] = Field(
        default=(), description="e2e: S, A, B, F; empty takes S A B on a GPU and A B on the CPU"
    )
    workload: Workload = Field(default="two-pass", description="e2e: what the servers are asked")
    trace: NamedPath | None = Field(default=None, description="e2e: JSON lines with the requests of workload trace")
    request_rate: OneOrMany[Positive] = Field(
        default=(), description="e2e: requests a second, open loop; empty sends the next one when one ends"
    )
    rounds: Whole = Field(default=3, gt=0, le=1000, description="e2e: times that the servers start in order A B B A")
    budget: OneOrMany[Budget] = Field(
        default=("same-residency",), description="e2e: blocks counted at raw size, or in real bytes"
    )
    cpu_bytes: Annotated[Real, Field(ge=1, lt=2**63)] = Field(default=2e9, description="e2e: host memory for blocks")
    gpu_blocks: Whole | None = Field(
        default=None, gt=0, description="e2e: blocks of the GPU's cache [default: 2048; CPU: 80]"
    )
    documents: Whole | None = Field(
        default=None, gt=0, le=100_000, description="e2e: prefixes; by default three times what the GPU's cache holds"
    )
    output_tokens: Whole = Field(default=16, gt=0, description="e2e: tokens of every answer")
    concurrency: Whole = Field(default=4, gt=0, le=4096, description="e2e: requests at once, at most")
    probes: Whole = Field(default=8, ge=0, description="e2e: prompts, one at a time, whose answers are compared")
    max_model_len: Whole | None = Field(
        default=None, gt=0, description="e2e: tokens of prompt and answer, at most [default: 8192; CPU: 2048]"
    )
    slo_ttft: Positive = Field(default=1.0, description="e2e: seconds to the first token that a good request takes")
    slo_tpot: Positive = Field(default=0.1, description="e2e: seconds a token after it")
    server_python: NamedPath | None = Field(default=None, description="e2e: the python that has vLLM; default our own")
    server_prefix: str | None = Field(
        default=None, description="e2e: words before each server's command, {arm} and {folder} filled in"
    )
    server_args: str | None = Field(default=None, description="e2e: further options of each server")
    ready_timeout: Positive = Field(default=600.0, description="e2e: seconds until a server has to answer")
    port: Whole | None = Field(default=None, gt=0, lt=65536, description="e2e: port on loopback; default a free one")
    seed: Whole = Field(default=0, ge=0, lt=2**63)  # a 64-bit column holds it

    @field_validator(
        "codec", "mode", "bound_kind", "error_bound", "bound_policy", "layout", "transform", "keep_first", mode="after"
    )
    @classmethod
    def _axis_not_empty(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values:
            raise ValueError("needs at least one value")
        return values

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        if self.link_gbps is not None and self.baseline is not None:
            raise ValueError("link_gbps and baseline both give a link speed; keep one")
        for name in sorted(type(self).model_fields.keys() - fields_of(self.command)):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"`kvbench {self.command}` does not use {name}; remove it")
        for name in PROFILE_CHOOSES if self.profile is not None else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"the profile {self.profile} chooses {name}; remove {name}, or the profile")
        if self.ab and len(self.codec) != 2:
            named = ", ".join(choice.name for choice in self.codec)
            raise ValueError(f"ab compares two codecs, not {len(self.codec)} ({named}); give --codec two names")
        return self


COPY_FIELDS = {"blocks", "block_bytes", "numa_node"}
# A baseline measures copies: codecs, bounds and tensor contents mean nothing to it.
BASELINE_FIELDS = (
    {"command", "seed", "device", "device_id", "threads"}
    | {"dtype", "tensor_size", "geometry"}
    | COPY_FIELDS
    | {"iterations", "time_limit", "precision"}
)
# Quality has a model and texts in place of tensors, and no link.
MODEL_FIELDS = {"model", "gguf", "revision", "text", "prefix_tokens", "score_tokens", "greedy_tokens"}
TENSOR_FIELDS = {"source", "input", "tensor", "source_layout", "layers", "tensor_size", "geometry"}
LINK_FIELDS = {"link_gbps", "baseline"}
AB_FIELDS = {"ab"}
SWAP_FIELDS = {"path", "direction", "beside", "planes", "checksum", "soak"}
SWAP_TAKES = (
    {"command", "codec", "mode", "bound_kind", "error_bound", "profile", "source", "dtype", "device", "device_id"}
    | {"threads", "iterations", "time_limit", "precision", "seed"}
    | COPY_FIELDS
)
TUNE_FIELDS = {"max_kl", "min_ratio", "held_out", "save_profile"}
TUNE_TAKES = {"command", "dtype", "device", "device_id", "threads", "iterations", "time_limit", "precision", "seed"}
E2E_FIELDS = {"arms", "workload", "trace", "request_rate", "rounds", "budget", "cpu_bytes", "gpu_blocks", "documents"}
E2E_FIELDS |= {"output_tokens", "concurrency", "probes", "max_model_len", "slo_ttft", "slo_tpot", "server_python"}
E2E_FIELDS |= {"server_prefix", "server_args", "ready_timeout", "port"}
E2E_TAKES = {"command", "model", "text", "prefix_tokens", "mode", "error_bound", "bound_kind", "profile", "device"}
E2E_TAKES |= {"device_id", "seed"}
PROFILE_CHOOSES = ("codec", "mode", "error_bound", "bound_kind", "bound_policy", "transform", "keep_first", "ab")


def fields_of(command: Command) -> set[str]:
    """The fields of Experiment that a command uses."""
    every = set(Experiment.model_fields) - COPY_FIELDS - SWAP_FIELDS - TUNE_FIELDS - E2E_FIELDS
    if command == "baseline":
        return set(BASELINE_FIELDS)
    if command == "swap":
        return SWAP_TAKES | SWAP_FIELDS
    if command == "e2e":
        return E2E_TAKES | E2E_FIELDS
    if command == "tune":
        return TUNE_TAKES | TUNE_FIELDS | MODEL_FIELDS
    unused = TENSOR_FIELDS | LINK_FIELDS | AB_FIELDS if command == "quality" else MODEL_FIELDS
    return every - unused


def build_experiment(
    command: Command,
    fields: dict[str, Any],
    config: Path | None = None,
    defaults: dict[str, Any] | None = None,
) -> Experiment:
    """An Experiment from a command's defaults, overlaid by a YAML file (if any), overlaid by `fields`.

    None in `fields` means that the option was not given. Raises UsageError with one line naming the field, its
    value and what is allowed.
    """
    read = read_yaml(config) if config is not None else YamlFile()
    asked = read.values.get("command", command)
    if asked not in get_args(Command):
        raise UsageError(f"{read.place('command')}: command {asked!r} is not known; use {', '.join(get_args(Command))}")
    if asked != command:
        raise UsageError(f"{config}: command is {asked!r}; run it with `kvbench {asked} --config {config}`")
    given = {name: value for name, value in fields.items() if value is not None}
    chosen = PROFILE_CHOOSES if "profile" in {**read.values, **given} else ()
    usual = {name: value for name, value in (defaults or {}).items() if name not in chosen}
    merged = {**usual, **read.values, **given, "command": command}
    for name, rival in (("link_gbps", "baseline"), ("baseline", "link_gbps")):
        if name in given and rival not in given:
            merged.pop(rival, None)
    return _validated(merged, read, given)


def recorded_experiment(values: dict[str, Any], place: Path) -> Experiment:
    """The Experiment that a record at `place` holds. Raises UsageError with one line naming place, field and value."""
    try:
        return _validated(values, YamlFile(place, values), {})
    except UsageError as error:
        raise UsageError(f"{error}; restore the record, or start a new run") from None


def _validated(values: dict[str, Any], read: YamlFile, given: dict[str, Any]) -> Experiment:
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        raise UsageError(one_line(error, read, given, models=(Experiment, CodecChoice))) from None
