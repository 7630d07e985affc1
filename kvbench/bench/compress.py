"""Owns the bench of `compress` and `sweep`: a codec's times on one tensor, then what came back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch

from kvbench.bench import floor
from kvbench.bench.breakeven import Transfer, link_note, resolve_link
from kvbench.bench.buffers import BufferSet, Turns, buffer_sets, cache_state, l2_bytes_of
from kvbench.bench.case_codec import TRANSFORM_NOTE, codec_of_case, profile_of, transform_fault, with_known_transforms
from kvbench.bench.context import BenchContext, Preparation
from kvbench.bench.device import busy_notes, device_notes, require_cuda, require_memory
from kvbench.bench.outcome import Outcome
from kvbench.bench.overlap import overlap_of
from kvbench.bench.scratch import scratch_bytes
from kvbench.bench.verify import Checked, check
from kvbench.bound import Bound
from kvbench.codecs import registry as codecs
from kvbench.codecs.base import Codec, Encoded
from kvbench.config import Experiment
from kvbench.measure.clock import Clock, Clocks
from kvbench.plan import expand
from kvbench.record.checked_on import side_words
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import Case, PhaseSamples
from kvbench.tensors import registry as tensors
from kvbench.tensors.base import KVView

COPIES = 4  # of the tensor that a case holds at most in host memory, see run


def prepare(experiment: Experiment, cuda: CudaFacts | str) -> Preparation:
    """The cases of every tensor, codec, mode, bound, dtype and layout asked for.

    Raises UsageError where a source, codec or link cannot be used, UnavailableError for a GPU that is not there.
    """
    require_cuda(experiment, cuda)
    link = resolve_link(experiment)
    experiment, chosen = with_known_transforms(experiment), profile_of(experiment)
    facts = partial(codecs.facts, device=experiment.device)
    plan = expand(experiment, tensors.specs(experiment), facts, transform_fault, chosen)
    notes = [*device_notes(experiment, cuda, plan.cases), *busy_notes(), link_note(link)]
    if any(case.bound is not None and case.bound.kind == "rel" for case in plan.cases):
        notes.append("bound rel: a fraction of max - min of each tensor")
    if any(case.transforms or case.keep_first for case in plan.cases):
        notes.append(TRANSFORM_NOTE)
    return Preparation(plan, link, tuple(notes))


class TimedCall(NamedTuple):
    """What a phase calls and how it is timed: the parameters of `BenchContext.sample` from `call` on."""

    call: Callable[[], object]
    clock: Clock
    batch_of: int = 1
    cache: Literal["cold", "warm"] | None = None
    chunk_bytes: int | None = None


@dataclass(frozen=True)
class Ready:
    """One case before its timing: the codec, and its tensor with the memory that encoding and decoding write to.

    On a GPU there are several sets of equal content, see `buffers`; the first one is checked.
    """

    case: Case
    codec: Codec
    sets: tuple[BufferSet, ...]
    cache: Literal["cold", "warm"]

    def turns(self, calls: Sequence[Callable[[], object]], clock: Clock) -> TimedCall:
        """Calls, one a buffer set, that take turns while they are timed."""
        return TimedCall(Turns(calls), clock, len(calls), self.cache)


def run(case: Case, context: BenchContext) -> Outcome:
    """Time the phases of one case, then encode, decode and compare once more outside the timing.

    Memory beside the tensor: `out` of the codec's capacity, of which only what is written takes room, one decoded
    tensor, and small pieces; on a GPU also the further sets of `buffers`, and for `overlap` two buffers of a chunk.
    Raises CaseFailed where decoding is incomplete or contradicts itself.
    """
    with context.working_stream(case):
        ready = make_ready(case, context)
        phases: dict[str, PhaseSamples] = {}
        for calls in timed_calls(ready, context.clocks(case)):
            phases |= {phase: context.sample(case, phase, *timed) for phase, timed in calls.items()}
            del calls  # and the memory they hold, before the next ones take theirs
        return finish(ready, context, phases)


def make_ready(case: Case, context: BenchContext) -> Ready:
    """Load the tensor, make the codec, allocate once. Raises CaseFailed where the host has too little memory."""
    require_memory(COPIES * case.raw_bytes)
    view = context.view(case)
    codec = codec_of_case(case)
    l2_bytes = l2_bytes_of(view.tensor)
    sets = buffer_sets(codec, view, l2_bytes)
    return Ready(case, codec, sets, cache_state(sets, l2_bytes))


def timed_calls(ready: Ready, clocks: Clocks) -> Iterator[dict[str, TimedCall]]:
    """What each phase calls and the clock it is timed by, in groups of phases that share memory.

    Each group is made when it is asked for: time its phases in their order, then let go of it before the next.
    """
    yield _stage_calls(ready, clocks)
    yield _library_calls(ready, clocks.call)
    yield _codec_calls(ready, clocks.call)


def _stage_calls(ready: Ready, clocks: Clocks) -> dict[str, TimedCall]:
    stages = [ready.codec.stages(one.view, one.out, ready.case.bound) for one in ready.sets]
    calls: dict[str, TimedCall] = {}
    for phase in stages[0]:
        kernels = [of_set[phase] for of_set in stages]
        calls[phase] = ready.turns(kernels, clocks.kernel(kernels[0]))
    return calls


def _library_calls(ready: Ready, clock: Clock) -> dict[str, TimedCall]:
    library = [ready.codec.library_calls(one.view, one.out, ready.case.bound) for one in ready.sets]
    return {phase: ready.turns([of_set[phase] for of_set in library], clock) for phase in library[0]}


def _codec_calls(ready: Ready, clock: Clock) -> dict[str, TimedCall]:
    case, codec, sets = ready.case, ready.codec, ready.sets
    encode = [partial(codec.encode, one.view, one.out, case.bound) for one in sets]
    encoded = [call() for call in encode]
    decode = [partial(codec.decode, result, one.decoded) for result, one in zip(encoded, sets, strict=True)]
    calls = {"encode_call": ready.turns(encode, clock), "decode_call": ready.turns(decode, clock)}
    if case.device == "cuda":
        calls |= _transfer_calls(ready, encoded, clock)
        calls |= _overlap_calls(ready, encoded, clock)
    return calls


def finish(ready: Ready, context: BenchContext, phases: dict[str, PhaseSamples]) -> Outcome:
    """Check the codec outside the timing and put numbers and verdict together. Raises CaseFailed like `check`."""
    case, codec, first = ready.case, ready.codec, ready.sets[0]
    checked = check(codec, first.view, first.out, first.decoded, case.bound)
    outcome = Outcome(
        phases=phases,
        metrics={
            **_metrics(case, context, checked, phases),
            "scratch_bytes": scratch_bytes(codec, first.view, first.out, case.bound),
            **floor.metrics(case.raw_bytes, checked.encoded.stream_bytes, phases, context.device_copy_gbps(case)),
        },
        histogram=checked.judged.histogram(),
        flags=list(checked.encoded.flags),
    )
    _judge(outcome, case, codec, checked)
    return outcome


def _transfer_calls(ready: Ready, encoded: Sequence[Encoded], clock: Clock) -> dict[str, TimedCall]:
    codec, bound = ready.codec, ready.case.bound
    stored = torch.empty(encoded[0].nbytes(), dtype=torch.uint8, pin_memory=True)
    away = [partial(_encode_and_send, codec, one.view, one.out, bound, stored) for one in ready.sets]
    back = [
        partial(_fetch_and_decode, codec, result, one.out, stored, one.decoded)
        for result, one in zip(encoded, ready.sets, strict=True)
    ]
    return {"encode_transfer": ready.turns(away, clock), "decode_transfer": ready.turns(back, clock)}


def _overlap_calls(ready: Ready, encoded: Sequence[Encoded], clock: Clock) -> dict[str, TimedCall]:
    """The phases in chunks, checked before they are timed; none where the tensor is too small for two chunks."""
    pairs = zip(ready.sets, encoded, strict=True)
    overlaps = [overlap_of(ready.codec, one.view, one.decoded, result, ready.case.bound) for one, result in pairs]
    usable = [overlap for overlap in overlaps if overlap is not None]
    if not usable:
        return {}
    for overlap in usable:
        overlap.verify()
    chunk_bytes = usable[0].chunk_bytes
    return {
        "encode_overlap": ready.turns([one.encode for one in usable], clock)._replace(chunk_bytes=chunk_bytes),
        "decode_overlap": ready.turns([one.decode for one in usable], clock)._replace(chunk_bytes=chunk_bytes),
    }


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
        **checked.metrics(),
    }
    if context.link is not None:
        encode_s, decode_s = phases["encode_call"].median_s, phases["decode_call"].median_s
        metrics |= Transfer(case.raw_bytes, compressed_bytes, encode_s, decode_s).metrics(context.link)
    return metrics


def _judge(outcome: Outcome, case: Case, codec: Codec, checked: Checked) -> None:
    """Set the verdict; the numbers stay whatever it is."""
    wrong = checked.mismatches
    if not wrong:
        return
    if case.bound is None:
        if codec.lossless:
            outcome.status, outcome.reason_code = "failed", "not_lossless"
            outcome.reason = f"{wrong} of {case.elements} values came back different from a lossless codec"
        elif special := checked.errors.special_mismatches:
            outcome.status, outcome.reason_code = "failed", "non_finite_changed"
            outcome.reason = f"{special} of {case.elements} values became or stopped being NaN or infinite"
        return
    largest = checked.judged.max_abs_error
    worst = "a finite value came back non-finite" if largest is None else f"largest error {largest:.6g}"
    outcome.reason = (
        f"{wrong} of {case.elements} values break the bound {case.bound} "
        f"(absolute {checked.effective_error_bound:.6g}): {worst}; "
        f"{side_words(case.dtype, coded=checked.coded is not None)}"
    )
    if getattr(codec, "bound_policy", "strict") == "compatible":
        # The original's arithmetic was asked for, so this is what it does and no fault of the run.
        outcome.status, outcome.reason_code = "invalid", "bound_exceeded"
    else:
        outcome.status, outcome.reason_code = "failed", "bound_broken"
