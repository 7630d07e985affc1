"""Owns the bench of `compress` and `sweep`: a codec's times on one tensor, then what came back."""

from __future__ import annotations

import math
from functools import partial

import torch

from kvbench.bench.breakeven import Transfer, link_note, resolve_link
from kvbench.bench.context import BenchContext, Preparation
from kvbench.bench.device import busy_notes, device_notes, require_cuda, require_memory
from kvbench.bench.outcome import Outcome
from kvbench.bench.verify import Checked, check
from kvbench.bound import Bound
from kvbench.codecs import registry as codecs
from kvbench.codecs.base import Codec, Encoded
from kvbench.config import Experiment
from kvbench.plan import expand
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import Case, PhaseSamples
from kvbench.tensors import registry as tensors
from kvbench.tensors.base import KVView

COPIES = 4  # of the tensor that a case holds at most, see run


def prepare(experiment: Experiment, cuda: CudaFacts | str) -> Preparation:
    """The cases of every tensor, codec, mode, bound, dtype and layout asked for.

    Raises UsageError where a source, codec or link cannot be used, UnavailableError for a GPU that is not there.
    """
    require_cuda(experiment, cuda)
    link = resolve_link(experiment)
    plan = expand(experiment, tensors.specs(experiment), partial(codecs.facts, device=experiment.device))
    notes = [*device_notes(experiment, cuda, plan.cases), *busy_notes(), link_note(link)]
    if any(case.bound is not None and case.bound.kind == "rel" for case in plan.cases):
        notes.append("bound rel: a fraction of max - min of each tensor")
    return Preparation(plan, link, tuple(notes))


def run(case: Case, context: BenchContext) -> Outcome:
    """Time the phases of one case, then encode, decode and compare once more outside the timing.

    Memory beside the tensor: `out` of the codec's capacity, of which only what is written takes room, one decoded
    tensor, and small pieces. Raises CaseFailed where decoding is incomplete or contradicts itself.
    """
    require_memory(COPIES * case.raw_bytes)
    view = context.view(case)
    threads = {} if case.threads is None else {"threads": case.threads}
    codec = codecs.make(case.codec, {**case.codec_params, **threads})
    capacity = codec.capacity(view.tensor.numel(), view.tensor.dtype)
    out = torch.empty(capacity, dtype=torch.uint8, device=view.tensor.device)
    phases = _stage_phases(case, context, codec, view, out)
    decoded = torch.empty_like(view.tensor)
    phases |= _call_phases(case, context, codec, view, out, decoded)
    checked = check(codec, view, out, decoded, case.bound)
    outcome = Outcome(
        phases=phases,
        metrics=_metrics(case, context, checked, phases),
        histogram=checked.errors.histogram(),
        flags=list(checked.encoded.flags),
    )
    _judge(outcome, case, codec, checked)
    return outcome


def _stage_phases(
    case: Case, context: BenchContext, codec: Codec, view: KVView, out: torch.Tensor
) -> dict[str, PhaseSamples]:
    clock = context.clocks(case).work
    stages = codec.stages(view, out, case.bound)
    return {phase: context.sample(case, phase, stage, clock) for phase, stage in stages.items()}


def _call_phases(
    case: Case, context: BenchContext, codec: Codec, view: KVView, out: torch.Tensor, decoded: torch.Tensor
) -> dict[str, PhaseSamples]:
    clock = context.clocks(case).call
    encode = context.sample(case, "encode_call", partial(codec.encode, view, out, case.bound), clock)
    encoded = codec.encode(view, out, case.bound)
    decode = context.sample(case, "decode_call", partial(codec.decode, encoded, decoded), clock)
    phases = {"encode_call": encode, "decode_call": decode}
    if case.device == "cuda":
        stored = torch.empty(encoded.nbytes(), dtype=torch.uint8, pin_memory=True)
        away = partial(_encode_and_send, codec, view, out, case.bound, stored)
        back = partial(_fetch_and_decode, codec, encoded, out, stored, decoded)
        phases["encode_transfer"] = context.sample(case, "encode_transfer", away, clock)
        phases["decode_transfer"] = context.sample(case, "decode_transfer", back, clock)
    return phases


def _encode_and_send(codec: Codec, view: KVView, out: torch.Tensor, bound: Bound | None, stored: torch.Tensor) -> None:
    """Encode, then copy as many bytes as are stored to pinned host memory, one after the other."""
    sent = codec.encode(view, out, bound).stream_bytes
    stored[:sent].copy_(out[:sent], non_blocking=True)


def _fetch_and_decode(
    codec: Codec, encoded: Encoded, out: torch.Tensor, stored: torch.Tensor, decoded: torch.Tensor
) -> None:
    """Copy the stored bytes back from pinned host memory, then decode."""
    sent = encoded.stream_bytes
    out[:sent].copy_(stored[:sent], non_blocking=True)
    codec.decode(encoded, decoded)


def _metrics(
    case: Case, context: BenchContext, checked: Checked, phases: dict[str, PhaseSamples]
) -> dict[str, float | int | None]:
    effective, encoded = checked.effective_error_bound, checked.encoded
    compressed_bytes = encoded.nbytes()
    metrics: dict[str, float | int | None] = {
        "effective_error_bound": effective if effective is not None and math.isfinite(effective) else None,
        "quantizer_error_bound": encoded.quantizer_error_bound,
        "stream_bytes": encoded.stream_bytes,
        "compressed_bytes": compressed_bytes,
        "ratio": case.raw_bytes / compressed_bytes if compressed_bytes else None,
        "bits_per_value": 8 * compressed_bytes / case.elements if case.elements else None,
        **checked.errors.metrics(),
    }
    if context.link is not None:
        encode_s, decode_s = phases["encode_call"].median_s, phases["decode_call"].median_s
        metrics |= Transfer(case.raw_bytes, compressed_bytes, encode_s, decode_s).metrics(context.link)
    return metrics


def _judge(outcome: Outcome, case: Case, codec: Codec, checked: Checked) -> None:
    """Set the verdict; the numbers stay whatever it is."""
    wrong = checked.errors.mismatches
    if not wrong:
        return
    if case.bound is None:
        if codec.lossless:
            outcome.status, outcome.reason_code = "failed", "not_lossless"
            outcome.reason = f"{wrong} of {case.elements} values came back different from a lossless codec"
        return
    largest = checked.errors.max_abs_error
    worst = "a finite value came back non-finite" if largest is None else f"largest error {largest:.6g}"
    outcome.reason = (
        f"{wrong} of {case.elements} values break the bound {case.bound} "
        f"(absolute {checked.effective_error_bound:.6g}): {worst}"
    )
    if getattr(codec, "bound_policy", "strict") == "compatible":
        # The original's arithmetic was asked for, so this is what it does and no fault of the run.
        outcome.status, outcome.reason_code = "invalid", "bound_exceeded"
    else:
        outcome.status, outcome.reason_code = "failed", "bound_broken"
