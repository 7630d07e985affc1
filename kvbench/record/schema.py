"""Owns the record's vocabulary: tensors, cases, results, manifest, and the unit of every metric."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from kvbench.bound import Bound
from kvbench.geometry import DTYPE_BYTES, DType

SCHEMA_VERSION = 1
GB = 1e9  # bytes, everywhere
SHORTEST_S, LONGEST_S = 1e-12, 1e9  # no time per call is beyond these

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
    "coded_max_abs_error": "value",  # of what the codec saw, where transforms change values
    "coded_rmse": "value",
    "tensor_violations": "count",  # beyond the bound in the tensor, where it is kept on what the codec saw
    "non_finite_count": "count",
    "effective_gbps": "GB/s",
    "effective_out_gbps": "GB/s",
    "effective_in_gbps": "GB/s",
    "break_even_gbps": "GB/s",
    "break_even_out_gbps": "GB/s",
    "break_even_in_gbps": "GB/s",
    "host_numa_node": "1",  # node that holds the host memory of a copy
    "each_way_gbps": "GB/s",  # of copies in both directions at once
    "scratch_bytes": "byte",  # device memory an encode needs beside input and output
    "device_copy_gbps": "GB/s",  # of the GPU's own copies, read and write counted
    "encode_floor_share": "1",  # time the bytes alone would take / time of the kernel
    "decode_floor_share": "1",
}

# Of swaps. Of a run's summary only where they were measured.
SWAP_UNITS: dict[str, str] = {
    "moved_gbps": "GB/s",  # bytes of the streams over the wall time
    "paged_ratio": "1",  # raw bytes / bytes of the pages that slots keep
    "thread_blocks": "count",  # of a kernel at most; threads on the CPU
    "sm_share": "1",  # of the GPU's multiprocessors that those can take
    "beside_slowdown": "1",  # time of the kernel beside, with swaps / without, - 1
    "zero_copy_share": "1",  # wall time that a bare kernel needs for the bytes moved / wall time of the swap
    "raw_streams": "count",
    "operations": "count",
    "checked_blocks": "count",
    "mismatches": "count",  # blocks that came back wrong
    "dropped_slots": "count",
    "limit_bytes": "byte",
    "most_used_bytes": "byte",
    "host_growth_bytes": "byte",  # of the process during a soak
    "device_growth_bytes": "byte",
    "operations_per_s": "1/s",
}
METRIC_UNITS |= SWAP_UNITS

# What a changed cache does to a model's output. Of a run's summary only where it was measured.
QUALITY_UNITS: dict[str, str] = {
    "kl_mean": "nat",  # of the next-token distributions, from the unchanged cache's to the changed one's
    "kl_mean_ci_low": "nat",
    "kl_mean_ci_high": "nat",
    "kl_p99": "nat",
    "perplexity": "1",
    "perplexity_change": "1",  # perplexity / that with the unchanged cache - 1
    "perplexity_change_ci_low": "1",
    "perplexity_change_ci_high": "1",
    "top1_agreement": "1",
    "top1_agreement_ci_low": "1",
    "top1_agreement_ci_high": "1",
    "topk_agreement": "1",
    "topk_agreement_ci_low": "1",
    "topk_agreement_ci_high": "1",
    "greedy_match_tokens": "count",
    "needle_score": "1",
    "needle_score_ci_low": "1",
    "needle_score_ci_high": "1",
}
METRIC_UNITS |= QUALITY_UNITS

# What was expected of a tuned profile on the text it was made with. Of a run's summary only where there is one.
TUNE_UNITS: dict[str, str] = {
    "predicted_kl": "nat",
    "predicted_ratio": "1",
}
METRIC_UNITS |= TUNE_UNITS


# Of servers under load. Of a run's summary only where they were measured. Of the reusing pass unless `cold` is said.
E2E_UNITS: dict[str, str] = {
    "startup_s": "s",
    "requests": "count",
    "failed_requests": "count",
    "empty_outputs": "count",
    "duration_s": "s",
    "requests_per_s": "1/s",
    "good_requests_per_s": "1/s",  # that kept both limits of the service
    "output_tokens_per_s": "1/s",
    "total_tokens_per_s": "1/s",
    **{f"{time}_p{part}_s": "s" for time in ("ttft", "tpot", "itl", "e2el") for part in (50, 90, 99)},
    **{f"cold_ttft_p{part}_s": "s" for part in (50, 90, 99)},
    "cold_tpot_p50_s": "s",
    "cold_output_tokens_per_s": "1/s",
    "prompt_tokens": "count",
    "cold_hit_rate": "1",  # prompt tokens found in any cache / all; 0 is what it has to be
    "gpu_hit_rate": "1",  # found in the GPU's own cache / all
    "host_hit_rate": "1",  # found on the host / all
    "stored_bytes": "byte",  # over the link in both passes
    "loaded_bytes": "byte",
    "stored_raw_bytes": "byte",  # the same blocks uncompressed
    "loaded_raw_bytes": "byte",
    "store_link_share": "1",  # time of the transfers / duration of the passes
    "load_link_share": "1",
    "dropped_slots_of_server": "count",
    "preemptions": "count",
    "resident_slots": "count",  # kept on the host at the end
    "resident_bytes": "byte",
    "server_gpu_bytes": "byte",
    "server_host_bytes": "byte",
    "same_answers": "1",  # share of probes answered as the first start of arm A did
    "same_answer_tokens": "1",  # share of their tokens before the first difference
    "first_difference_tokens": "count",  # mean tokens before it, of answers that differ
    "logprob_distance": "nat",
    "same_texts": "1",  # share of the reusing pass' answers that are the same
}
METRIC_UNITS |= E2E_UNITS


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


class Rival(BaseModel):
    """The codec that a case was timed in turn with, and how it was set: everything else of the two cases is equal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: Literal["a", "b"]  # of the case itself; ratios are B / A
    codec: str
    codec_params: dict[str, Any] = Field(default_factory=dict)
    mode: str | None = None
    bound: Bound | None = None
    threads: int | None = None


RIVAL_FIELDS = ("codec", "codec_params", "mode", "bound", "threads")


class Case(BaseModel):
    """One cell of an experiment. `id` is a hash of every field, so equal cases are the same case in any run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    codec: str
    codec_params: dict[str, Any] = Field(default_factory=dict)
    mode: str | None = None
    bound: Bound | None = None
    tensor: TensorSpec | None = None  # None for a copy, which needs only a size
    transforms: str | None = None  # between the tensor in `layout` and the codec; None: there are none
    profile: str | None = None  # file that chose codec, transforms and bound of each layer's K and V
    layout: SourceLayout = "flat"
    dtype: DType = "float32"
    shape: tuple[int, ...] = ()  # as the codec sees it
    elements: int
    device: Literal["cpu", "cuda"]
    direction: str | None = None  # baseline: d2h, h2d, both (at once), d2d, p2p, host_copy; swap: out, in, both (soak)
    memory: Literal["pinned", "pageable", "device"] | None = None
    method: str | None = None  # of a copy of scattered blocks: async_copies, batched_copy, gather_copy, zero_copy
    blocks: int | None = None
    block_bytes: int | None = None
    numa_node: int | None = None  # where the host memory of a copy was asked to be
    peer_id: int | None = None  # the GPU that a copy from one GPU to another goes to
    threads: int | None = None
    path: Literal["auto", "fused", "staged", "raw"] | None = None  # of a swap, whose direction is out or in
    beside: Literal["nothing", "gemm", "attention"] | None = None  # what the GPU computes during a swap
    planes: int | None = None  # blocks of a swap's slot
    checksum: bool | None = None  # of every stream of a swap
    soak: str | None = None  # random traffic of so many operations or seconds, in place of a timed swap
    keep_first: int | None = None  # tokens at the front that stay as they are, before `transforms`; None: not asked
    rival: Rival | None = None  # in an A/B run
    arm: Literal["S", "A", "B", "F"] | None = None  # e2e: vLLM's own offloading, kvbench's raw, compressed, fp8 cache
    trial: int | None = None  # number of this start of the arm's server, from 1
    workload: str | None = None
    budget: Literal["same-residency", "capacity"] | None = None  # how host memory is counted
    request_rate: float | None = None  # a second, open loop; None: the next one starts when one ends
    serving: dict[str, Any] | None = None  # what else starts the server and makes its load
    seed: int = 0

    @property
    def raw_bytes(self) -> int:
        return self.elements * DTYPE_BYTES[self.dtype]

    @property
    def before_codec(self) -> str:
        """What the tensor goes through before the codec, such as `keep-first=4,center=block`; '' for nothing."""
        kept = f"keep-first={self.keep_first}" if self.keep_first else None
        return ",".join(step for step in (kept, self.transforms) if step)

    @property
    def id(self) -> str:
        # Without the fields that are None, so that a field added later leaves the ids of earlier cases as they were.
        fields = self.model_dump(mode="json", exclude_none=True)
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def against(self, other: Case, side: Literal["a", "b"]) -> Case:
        """This case as one side of an A/B pair with `other`, which agrees with it in all but RIVAL_FIELDS."""
        theirs = {name: getattr(other, name) for name in RIVAL_FIELDS}
        return self.model_copy(update={"rival": Rival(side=side, **theirs)})

    def rival_case(self) -> Case:
        """The other side of an A/B pair. Raises ValueError for a case that is none."""
        if self.rival is None:
            raise ValueError(f"case {self.id} has no rival")
        theirs = self.model_copy(update={name: getattr(self.rival, name) for name in RIVAL_FIELDS})
        return theirs.against(self, "b" if self.rival.side == "a" else "a")

    @property
    def label(self) -> str:
        """A short text for progress lines and messages."""
        bound = None if self.bound is None else str(self.bound)
        params = [
            f"{name}={value}" for name, value in self.codec_params.items() if name not in ("mode", "bound_policy")
        ]
        params = params if self.profile is None else [self.profile]
        if self.arm is not None:
            return self._arm_label(bound)
        parts: list[object] = [self.codec if self.direction is None else self.direction, *params, self.mode, bound]
        if self.tensor is not None:
            parts += [f"{self.tensor.source}:{self.tensor.tensor}", self.layout, self.dtype]
            parts.append(self.before_codec)
            if self.path is not None:
                parts += [f"path {self.path}", f"{self.blocks} blocks of {self.block_bytes} bytes"]
                parts += [
                    f"beside {self.beside}" if self.beside not in (None, "nothing") else None,
                    self.soak and f"soak {self.soak}",
                ]
        else:
            blocks = self.blocks and f"{self.blocks} blocks of {self.block_bytes} bytes"
            parts += [self.memory, self.method, blocks or f"{self.elements} {self.dtype}"]
            parts.append(self.threads and f"{self.threads} threads")
        return " ".join(str(part) for part in parts if part)

    def _arm_label(self, bound: str | None) -> str:
        coding = " ".join(part for part in (self.profile or self.codec, self.mode, bound) if part)
        rate = None if self.request_rate is None else f"{self.request_rate:g} requests/s"
        parts = [f"arm {self.arm} ({coding})", self.workload, self.budget, rate, f"start {self.trial}"]
        return ", ".join(part for part in parts if part)


def _sane_seconds(seconds: float) -> float:
    """Seconds a clock can give; 0 is what it cannot tell from nothing. Raises ValueError for any other number."""
    if seconds != 0 and not SHORTEST_S <= seconds <= LONGEST_S:  # NaN too
        raise ValueError(f"{seconds:g} s is no time that a clock gives")
    return seconds


Seconds = Annotated[float, AfterValidator(_sane_seconds)]


class PhaseSamples(BaseModel):
    """All timings of one phase. Each sample is seconds per call, averaged over `calls_per_sample` calls."""

    model_config = ConfigDict(extra="forbid")

    samples_s: list[Seconds] = Field(min_length=1)
    calls_per_sample: int = 1
    warmup_calls: int = 0
    clock: Literal["host", "cuda_event", "cuda_graph"] = "host"
    cache: Literal["cold", "warm"] | None = None  # warm: the same buffers every time; None: not said
    stop_reason: str = ""  # iterations, precision, time_limit
    work_bytes: int  # bytes the GB/s of this phase is about: uncompressed bytes of the tensor
    median_s: Seconds | None = None
    ci_low_s: Seconds | None = None  # bootstrap 95 % interval of the median
    ci_high_s: Seconds | None = None
    chunk_bytes: int | None = None  # of the tensor, where it goes through in chunks
    sm_clock_low_mhz: int | None = None  # of the clocks seen between the samples on a GPU
    sm_clock_high_mhz: int | None = None
    throttle_reasons: list[str] = Field(default_factory=list)  # what held the clock down meanwhile
    involuntary_switches: int | None = None  # times the host took a core from this process meanwhile
    unseen_s: float | None = None  # GPU: work left beside the clock after a batch of calls, see measure.unseen_work
    flags: list[str] = Field(default_factory=list)  # noisy, throttled, unresolved, ...


class Histogram(BaseModel):
    """Counts of the signed error x - x' in units of the effective bound."""

    model_config = ConfigDict(extra="forbid")

    edges: list[float]
    counts: list[int]
    below: int = 0  # errors under the first edge: violations
    above: int = 0  # errors over the last edge: violations
    unit: str = "effective error bound"


class LayerFigures(BaseModel):
    """Metrics of each layer's K and V alone, from layer 0 on, of a case that is a whole cache; None where undefined."""

    model_config = ConfigDict(extra="forbid")

    k: dict[str, list[float | None]]  # by the metric's name
    v: dict[str, list[float | None]]


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
    layers: LayerFigures | None = None
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
    """The link that effective GB/s and break-even are about, and where its numbers came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out_gbps: float  # device to host, GB/s
    in_gbps: float
    out_latency_s: float = 0.0  # what a transfer costs beside its bytes: C bytes take latency + C / speed
    in_latency_s: float = 0.0
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
