"""Owns the figures of one start of a server: times of its requests, bytes, hits, memory and what it answered."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kvbench.bench.outcome import Outcome
from kvbench.measure.sampling import median_interval
from kvbench.record.schema import Case, PhaseSamples
from kvbench.serving.agreement import Agreement
from kvbench.serving.client import Sent
from kvbench.serving.scrape import Counts
from kvbench.serving.trial import Trial

PARTS = (50, 90, 99)
PAGE_BYTES = 4096
Metrics = dict[str, float | int | None]


def figures(case: Case, trial: Trial) -> Outcome:
    """Metrics and samples of the passes. What vLLM does not tell is None."""
    assert case.serving is not None
    reuse, cold = trial.reuse, trial.cold
    assert reuse is not None
    metrics: Metrics = _pass_metrics(reuse, case.serving["slo_ttft"], case.serving["slo_tpot"])
    metrics |= _cold_metrics(cold) if cold is not None else {}
    metrics |= _count_metrics(trial)
    metrics |= {"server_host_bytes": trial.host_bytes or None}
    phases = {"ttft": reuse.ttft_s, "tpot": reuse.tpot_s, "e2el": reuse.e2el_s}
    if cold is not None:
        phases |= {"cold_ttft": cold.ttft_s, "cold_tpot": cold.tpot_s}
    return Outcome(
        phases={name: _phase(samples) for name, samples in phases.items() if samples},
        metrics=metrics,
        flags=list(trial.flags),
    )


def agreement_metrics(found: Agreement) -> Metrics:
    """How the answers of the probes agree with the reference's."""
    return {
        "same_answers": found.exact,
        "same_answer_tokens": found.tokens,
        "first_difference_tokens": found.first_divergence_tokens,
        "logprob_distance": found.logprob_distance,
    }


def same_texts(reference: Sequence[str | None], texts: Sequence[str | None]) -> float | None:
    """Share of requests answered alike; None where they cannot be compared."""
    if not reference or len(reference) != len(texts):
        return None
    return sum(a is not None and a == b for a, b in zip(reference, texts, strict=True)) / len(texts)


def _phase(samples: Sequence[float]) -> PhaseSamples:
    interval = median_interval(samples)
    return PhaseSamples(
        samples_s=list(samples),
        clock="host",
        stop_reason="iterations",
        work_bytes=0,
        median_s=float(np.median(samples)),
        ci_low_s=None if interval is None else interval[0],
        ci_high_s=None if interval is None else interval[1],
    )


def _parts(name: str, samples: Sequence[float]) -> Metrics:
    return {f"{name}_p{part}_s": float(np.percentile(samples, part)) if samples else None for part in PARTS}


def _pass_metrics(sent: Sent, slo_ttft_s: float, slo_tpot_s: float) -> Metrics:
    done = sent.requests - sent.failed
    found: Metrics = {
        "requests": sent.requests,
        "failed_requests": sent.failed,
        "empty_outputs": sent.empty,
        "duration_s": sent.duration_s,
        "requests_per_s": _share(done, sent.duration_s),
        "good_requests_per_s": _share(sent.good(slo_ttft_s, slo_tpot_s), sent.duration_s),
        "output_tokens_per_s": _share(sent.output_tokens, sent.duration_s),
        "total_tokens_per_s": _share(sent.input_tokens + sent.output_tokens, sent.duration_s),
    }
    times = {"ttft": sent.ttft_s, "tpot": sent.tpot_s, "itl": sent.itl_s, "e2el": sent.e2el_s}
    for name, samples in times.items():
        found |= _parts(name, samples)
    return found


def _cold_metrics(cold: Sent) -> Metrics:
    return {
        **_parts("cold_ttft", cold.ttft_s),
        "cold_tpot_p50_s": float(np.percentile(cold.tpot_s, 50)) if cold.tpot_s else None,
        "cold_output_tokens_per_s": _share(cold.output_tokens, cold.duration_s),
    }


def _count_metrics(trial: Trial) -> Metrics:
    passes = [counts for counts in (trial.cold_counts, trial.reuse_counts) if counts is not None]
    duration_s = sum(sent.duration_s for sent in (trial.cold, trial.reuse) if sent is not None)
    reuse = trial.reuse_counts or Counts()
    cold = trial.cold_counts
    raw, moved = _both(passes, "raw_bytes"), _both(passes, "moved_bytes")
    pages = trial.last.total("vllm:kvbench_pages_in_use")
    return {
        "prompt_tokens": reuse.prompt_tokens,
        "cold_hit_rate": None
        if cold is None
        else _share(_added(cold.gpu_hit_tokens, cold.host_hit_tokens), cold.prompt_tokens),
        "gpu_hit_rate": _share(reuse.gpu_hit_tokens, reuse.prompt_tokens),
        "host_hit_rate": _share(reuse.host_hit_tokens, reuse.prompt_tokens),
        "stored_bytes": _total(passes, "stored_bytes"),
        "loaded_bytes": _total(passes, "loaded_bytes"),
        "stored_raw_bytes": _total(passes, "stored_raw_bytes"),
        "loaded_raw_bytes": _total(passes, "loaded_raw_bytes"),
        "ratio": _share(raw, moved),
        "store_link_share": _share(_total(passes, "store_s"), duration_s),
        "load_link_share": _share(_total(passes, "load_s"), duration_s),
        "dropped_slots_of_server": _total(passes, "dropped_slots"),
        "preemptions": _total(passes, "preemptions"),
        "resident_slots": trial.last.total("vllm:kvbench_slots_in_use"),
        "resident_bytes": None if pages is None else pages * PAGE_BYTES,
    }


def _total(passes: Sequence[Counts], field: str) -> float | None:
    known = [value for counts in passes if (value := getattr(counts, field)) is not None]
    return math.fsum(known) if known else None


def _both(passes: Sequence[Counts], kind: str) -> float | None:
    return _added(_total(passes, f"stored_{kind}"), _total(passes, f"loaded_{kind}"))


def _added(one: float | None, other: float | None) -> float | None:
    return None if one is None and other is None else (one or 0.0) + (other or 0.0)


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
