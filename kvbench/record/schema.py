"""Owns the record's vocabulary: tensors, cases, results, manifest, and the unit of every metric."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from kvbench.bound import Bound
from kvbench.geometry import DTYPE_BYTES, DType

SCHEMA_VERSION = 1

SourceLayout = Literal["thd", "htd", "hdt", "flat"]
CaseStatus = Literal["ok", "failed", "skipped", "invalid"]
RunStatus = Literal["running", "finished", "interrupted", "failed"]

# Every metric a case may carry, with its unit. A metric that is undefined for a case is None.
METRIC_UNITS: dict[str, str] = {
    "effective_error_bound": "value",  # absolute bound the verdict used
    "quantizer_error_bound": "value",  # float32 bound the codec ran with
    "value_range": "value",
    "stream_bytes": "byte",
    "compressed_bytes": "byte",
    "ratio": "1",
    "bits_per_value": "bit",
    "max_abs_error": "value",
    "mean_abs_error": "value",
    "rmse": "value",
    "nrmse": "1",
    "psnr_db": "dB",
    "violations": "count",
    "violations_after_cast": "count",
    "max_excess": "1",  # largest |x - x'| / effective bound where that is above 1
    "non_finite_count": "count",
    "effective_gbps": "GB/s",
    "effective_out_gbps": "GB/s",
    "effective_in_gbps": "GB/s",
    "break_even_gbps": "GB/s",
    "break_even_out_gbps": "GB/s",
    "break_even_in_gbps": "GB/s",
}


class TensorSpec(BaseModel):
    """A tensor a source can load: known from its header alone, before any byte of data is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str  # registry name, or the file's path as given
    tensor: str  # name inside the source
    layer: int | None = None
    kv: Literal["k", "v"] | None = None
    dtype: DType
    shape: tuple[
        int, ...
    ]  # as stored: [tokens, heads, head_dim] permuted by source_layout; any shape when flat, [n] when cut
    source_layout: SourceLayout = "flat"
    params: dict[str, Any] = Field(default_factory=dict)  # what the source needs to make it again

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


class Case(BaseModel):
    """One cell of an experiment. `id` is a hash of every field, so equal cases are the same case in any run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    codec: str
    codec_params: dict[str, Any] = Field(default_factory=dict)
    mode: str | None = None
    bound: Bound | None = None
    tensor: TensorSpec | None = None  # None for a copy, which needs only a size
    layout: SourceLayout = "flat"
    dtype: DType = "float32"
    shape: tuple[int, ...] = ()  # as the codec sees it
    elements: int
    device: Literal["cpu", "cuda"]
    direction: str | None = None  # baseline: d2h, h2d, d2d, host_copy
    memory: Literal["pinned", "pageable", "device"] | None = None
    threads: int | None = None
    seed: int = 0

    @property
    def raw_bytes(self) -> int:
        return self.elements * DTYPE_BYTES[self.dtype]

    @property
    def id(self) -> str:
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def label(self) -> str:
        """A short text for progress lines and messages."""
        bound = None if self.bound is None else str(self.bound)
        parts: list[object] = [self.codec if self.direction is None else self.direction, self.mode, bound]
        if self.tensor is not None:
            parts += [f"{self.tensor.source}:{self.tensor.tensor}", self.layout, self.dtype]
        else:
            parts += [self.memory, f"{self.elements} {self.dtype}", self.threads and f"{self.threads} threads"]
        return " ".join(str(part) for part in parts if part)


class PhaseSamples(BaseModel):
    """All timings of one phase. Each sample is seconds per call, averaged over `calls_per_sample` calls."""

    model_config = ConfigDict(extra="forbid")

    samples_s: list[float]
    calls_per_sample: int = 1
    warmup_calls: int = 0
    clock: Literal["host", "cuda_event"] = "host"
    stop_reason: str = ""  # iterations, precision, time_limit
    work_bytes: int  # bytes the GB/s of this phase is about: uncompressed bytes of the tensor
    median_s: float | None = None
    ci_low_s: float | None = None  # bootstrap 95 % interval of the median
    ci_high_s: float | None = None
    flags: list[str] = Field(default_factory=list)  # noisy, unresolved, ...


class Histogram(BaseModel):
    """Counts of the signed error x - x' in units of the effective bound."""

    model_config = ConfigDict(extra="forbid")

    edges: list[float]
    counts: list[int]
    below: int = 0  # errors under the first edge: violations
    above: int = 0  # errors over the last edge: violations
    unit: str = "effective error bound"


class CaseResult(BaseModel):
    """What one line of cases.jsonl holds."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    case_id: str
    case: Case
    status: CaseStatus
    reason_code: str | None = None
    reason: str | None = None
    flags: list[str] = Field(default_factory=list)
    metrics: dict[str, float | int | None] = Field(default_factory=dict)
    phases: dict[str, PhaseSamples] = Field(default_factory=dict)
    histogram: Histogram | None = None
    started_at: str
    elapsed_s: float

    @field_validator("metrics")
    @classmethod
    def _known_and_finite(cls, metrics: dict[str, float | int | None]) -> dict[str, float | int | None]:
        for name, value in metrics.items():
            if name not in METRIC_UNITS:
                raise ValueError(f"unknown metric {name!r}; add it to METRIC_UNITS with its unit")
            if value is not None and not math.isfinite(value):
                raise ValueError(f"metric {name} is {value}; undefined is None")
        return metrics


class Link(BaseModel):
    """The link speed that effective GB/s and break-even are about, and where it came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out_gbps: float  # device to host, GB/s
    in_gbps: float
    origin: Literal["option", "baseline", "assumed"]
    detail: str = ""


class RunManifest(BaseModel):
    """manifest.json: written first with status `running`, closed last."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    run_id: str
    command: str
    argv: list[str]
    experiment: dict[str, Any]
    seed: int
    status: RunStatus = "running"
    started_at: str
    ended_at: str | None = None
    host: dict[str, Any] = Field(default_factory=dict)
    link: Link | None = None
    cases_planned: int = 0
    cases_done: int = 0
    cases_failed: int = 0
    cases_invalid: int = 0
    cases_skipped: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)  # reason text -> how many cases
    notes: list[str] = Field(default_factory=list)  # lines the user was told: device chosen, unit of GB, ...
