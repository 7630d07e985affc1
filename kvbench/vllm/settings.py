"""Owns what a user asks of the plugin: the keys of vLLM's connector configuration, read and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from kvbench.bound import Bound, BoundKind
from kvbench.config import Mode
from kvbench.errors import UsageError

MODULE = "kvbench.vllm.plugin"
CONNECTOR = "KVBenchConnector"
SPEC = "KVBenchSpec"
STOCK_CONNECTOR = "OffloadingConnector"

CodecName = Literal["raw", "cuszp", "fp8"]
Pool = Literal["paged", "fixed"]
PathChoice = Literal["auto", "fused", "staged", "raw"]

_NAMES_OF_VLLM = frozenset({"spec_name", "spec_module_path"})
_DEFAULT_BOUND = 1e-2


def _whole(value: object) -> object:
    """A number of bytes; `8e9` counts as one."""
    if isinstance(value, str):
        value = float(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


Bytes = Annotated[int, BeforeValidator(_whole), Field(gt=0)]


class Settings(BaseModel):
    """kvbench's keys of `kv_connector_extra_config`, with the budget that vLLM's own spec has under the same name.

    `paged` counts real bytes, so that compressed blocks take less of the budget; `fixed` counts every block at its raw
    size, so that the same blocks stay resident as without compression and the link alone makes the difference.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu_bytes_to_use: Bytes = Field(description="host memory of all ranks together, in bytes")
    codec: CodecName = Field(default="cuszp", description="raw; cuszp; fp8: the bytes of vLLM's own fp8 cache")
    error_bound: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="of cuszp without a profile [default: 1e-2]"
    )
    bound_kind: BoundKind | None = Field(default=None, description="rel, abs or std [default: rel]")
    mode: Mode | None = Field(default=None, description="of cuszp without a profile [default: plain]")
    profile: str | None = Field(default=None, description="file with a codec and a bound for each layer's K and V")
    pool: Pool = Field(default="paged", description="how the budget is counted: paged, in real bytes; fixed, raw size")
    path: PathChoice | None = Field(
        default=None, description="fused, staged, raw, or auto: the quickest of them [default: fused; fixed pool: auto]"
    )
    staging_mb: Annotated[float, Field(gt=0)] = Field(
        default=64, description="MB beside the cache for the staged path, each way"
    )
    most_ratio: Annotated[float, Field(ge=1)] = Field(
        default=8, description="of a paged pool: blocks that can be kept, in multiples of the raw count"
    )
    verify: bool = Field(default=False, description="a checksum for every stream, looked at when it is restored")
    numa_node: int | None = Field(default=None, ge=0, description="where the host memory comes from")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = [name for name in ("error_bound", "bound_kind", "mode", "profile") if getattr(self, name) is not None]
        if self.codec != "cuszp" and given:
            raise ValueError(f"codec {self.codec} takes no {given[0]}; leave it out, or use codec cuszp")
        if self.profile is not None and len(given) > 1:
            raise ValueError(f"a profile has its own {given[0]}; give one of the two")
        return self

    @property
    def bound(self) -> Bound:
        """Of cuszp without a profile."""
        value = _DEFAULT_BOUND if self.error_bound is None else self.error_bound
        return Bound(kind=self.bound_kind or "rel", value=value)

    @property
    def way(self) -> PathChoice:
        """The path of batches. A paged pool codes always, as only coded blocks take less of it."""
        return self.path or ("fused" if self.pool == "paged" else "auto")

    @property
    def staging_bytes(self) -> int:
        return int(self.staging_mb * 1e6)


def read(
    extra_config: Mapping[str, Any], place: Callable[[str], str] = "kv_connector_extra_config: {}".format
) -> Settings:
    """kvbench's settings among the keys of `kv_connector_extra_config`; vLLM's own keys are passed over.

    `place` gives a key the name under which the user knows it. Raises UsageError that has it, the value and the remedy.
    """
    given = {name: value for name, value in extra_config.items() if name in Settings.model_fields}
    if "cpu_bytes_to_use" not in given:
        raise UsageError(
            f"{place('cpu_bytes_to_use')} is missing: give the host memory for all ranks together, in bytes"
        )
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        text = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise UsageError(text) from None
        raise UsageError(f"{place(str(first['loc'][0]))} {first['input']!r}: {text}") from None


def transfer_config(settings: Settings) -> dict[str, Any]:
    """What `--kv-transfer-config` needs for kvbench's connector with these settings."""
    said = settings.model_dump(exclude_defaults=True)
    said["codec"], said["pool"] = settings.codec, settings.pool
    if settings.profile is not None:
        said["profile"] = str(Path(settings.profile).absolute())
    elif settings.codec == "cuszp":
        said |= {"error_bound": settings.bound.value, "bound_kind": settings.bound.kind}
    return {
        "kv_connector": CONNECTOR,
        "kv_connector_module_path": MODULE,
        "kv_role": "kv_both",
        "kv_load_failure_policy": "recompute",
        "kv_connector_extra_config": {"spec_name": SPEC, "spec_module_path": MODULE, **said},
    }


def stock_transfer_config(cpu_bytes_to_use: int) -> dict[str, Any]:
    """The same for vLLM's own offloading connector with the same host memory, to compare with. It needs CUDA."""
    return {
        "kv_connector": STOCK_CONNECTOR,
        "kv_role": "kv_both",
        "kv_load_failure_policy": "recompute",
        "kv_connector_extra_config": {"cpu_bytes_to_use": cpu_bytes_to_use},
    }


def with_names(extra_config: dict[str, Any]) -> None:
    """Name kvbench's spec where the user named none: the connector alone is enough to ask for it."""
    if not _NAMES_OF_VLLM & set(extra_config):
        extra_config |= {"spec_name": SPEC, "spec_module_path": MODULE}
