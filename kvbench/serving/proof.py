"""Owns whether an arm's numbers count: what its metrics have to show, and the reason where they do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kvbench.serving.client import Sent
from kvbench.serving.scrape import Counts

Arm = Literal["S", "A", "B", "F"]
_STILL_RAW = 0.99  # of the raw bytes: streams this large are no compressed ones


@dataclass(frozen=True)
class Witnessed:
    """What one start of a server was seen to do; a pass that did not take place is None."""

    start: Counts
    cold: Counts | None
    reuse: Counts | None
    sent: tuple[Sent, ...]
    may_go_raw: bool = False  # whether the cost model may send blocks as they are


@dataclass(frozen=True)
class Fault:
    """Why an arm does not count."""

    reason_code: str
    reason: str


def faults(arm: Arm, seen: Witnessed) -> list[Fault]:
    """Everything that keeps this start of a server from counting, the gravest first; empty where it counts."""
    return [*_warm(seen), *_bad_answers(seen), *_preempted(seen), *_idle(seen), *_raw(arm, seen)]


def _warm(seen: Witnessed) -> list[Fault]:
    found = []
    for when, counts in (("at the start", seen.start), ("in the cold pass", seen.cold)):
        hits = 0.0 if counts is None else (counts.gpu_hit_tokens or 0) + (counts.host_hit_tokens or 0)
        if hits > 0:
            found.append(Fault("contaminated", f"caches were warm {when}: {hits:.0f} prompt tokens hit, none should"))
    return found


def _bad_answers(seen: Witnessed) -> list[Fault]:
    failed, empty = sum(sent.failed for sent in seen.sent), sum(sent.empty for sent in seen.sent)
    requests = sum(sent.requests for sent in seen.sent)
    found = []
    if failed:
        errors = "; ".join(dict.fromkeys(error for sent in seen.sent for error in sent.errors))
        found.append(Fault("failed_requests", f"{failed} of {requests} requests failed: {errors or 'no reason given'}"))
    if empty:
        found.append(Fault("empty_outputs", f"{empty} of {requests} requests were answered by nothing"))
    return found


def _preempted(seen: Witnessed) -> list[Fault]:
    count = sum(counts.preemptions or 0 for counts in (seen.cold, seen.reuse) if counts is not None)
    if not count:
        return []
    remedy = "give the GPU's cache more blocks, or lower --concurrency"
    return [Fault("preempted", f"{count:.0f} requests were preempted, which costs what is not asked about; {remedy}")]


def _idle(seen: Witnessed) -> list[Fault]:
    if seen.reuse is None:
        return []
    stored = sum(counts.stored_bytes or 0 for counts in (seen.cold, seen.reuse) if counts is not None)
    if not stored:
        return [Fault("nothing_stored", "no byte was offloaded to the host (vllm:kv_offload_store_bytes)")]
    if not (seen.reuse.loaded_bytes and seen.reuse.host_hit_tokens):
        loaded, hits = seen.reuse.loaded_bytes or 0, seen.reuse.host_hit_tokens or 0
        remedy = "make the documents outgrow the GPU's cache, and the host memory hold them"
        return [
            Fault(
                "nothing_restored",
                f"{loaded:.0f} bytes were restored and {hits:.0f} prompt tokens hit on the host; {remedy}",
            )
        ]
    return []


def _raw(arm: Arm, seen: Witnessed) -> list[Fault]:
    if arm != "B" or seen.may_go_raw:
        return []
    found = []
    for way, raw, moved in _ways(seen):
        if raw is None or moved is None:
            found.append(Fault("not_proven", f"no kvbench metrics of the bytes {way}: was kvbench's connector used?"))
        elif raw and moved >= _STILL_RAW * raw:
            found.append(Fault("moved_raw", f"{moved:.0f} of {raw:.0f} raw bytes {way} were moved: not compressed"))
    return found


def _ways(seen: Witnessed) -> list[tuple[str, float | None, float | None]]:
    passes = [counts for counts in (seen.cold, seen.reuse) if counts is not None]
    return [
        (
            way,
            _sum([getattr(counts, f"{field}_raw_bytes") for counts in passes]),
            _sum([getattr(counts, f"{field}_moved_bytes") for counts in passes]),
        )
        for way, field in (("stored", "stored"), ("restored", "loaded"))
    ]


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
