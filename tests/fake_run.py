"""Owns made-up but plausible runs, for tests of what reads runs. No number in them was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kvbench.bound import Bound
from kvbench.record.schema import Case, CaseResult, Histogram, Link, PhaseSamples, TensorSpec
from kvbench.record.store import RunFolder

MODES = ("fixed", "plain", "outlier")
BOUNDS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4)
LINK = Link(out_gbps=25.0, in_gbps=25.0, origin="assumed", detail="no --link-gbps and no --baseline was given")
STARTED = "2026-01-02T03:04:05Z"
HOST = {
    "name": "fakehost",
    "os": "Debian GNU/Linux 12 (bookworm)",
    "cpu": "Made-up CPU 9000",
    "cores_physical": 8,
    "cores_logical": 16,
    "memory_bytes": 64_000_000_000,
    "python": "CPython 3.11.7",
    "kvbench": {"version": "0.1.0", "commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
    "packages": {"numpy": "2.4.6", "torch": "2.13.0"},
    "cuda": "unavailable",
    "cuda_reason": "no NVIDIA driver (libcuda.so.1 is not found)",
    "gpus": [],
    "unknown": {},
}


def tensor(layer: int | None, kv: str | None, tokens: int = 512, source: str = "sample") -> TensorSpec:
    name = "values" if kv is None else f"layers.{layer}.{kv}"
    return TensorSpec.model_validate(
        {
            "source": source,
            "tensor": name,
            "layer": layer,
            "kv": kv,
            "dtype": "bfloat16",
            "shape": (tokens, 3, 64),
            "source_layout": "thd",
        }
    )


def phase(median_s: float, work_bytes: int, rng: np.random.Generator, samples: int = 12, **fields: Any) -> PhaseSamples:
    drawn = np.sort(median_s * (1 + 0.04 * np.abs(rng.standard_normal(samples))))
    interval = {"ci_low_s": float(drawn[samples // 4]), "ci_high_s": float(drawn[3 * samples // 4])}
    return PhaseSamples(
        samples_s=drawn.tolist(),
        stop_reason="precision",
        work_bytes=work_bytes,
        median_s=float(np.median(drawn)),
        **({} if samples == 1 else interval),
        **fields,
    )


def codec_case(
    spec: TensorSpec, mode: str | None = "plain", bound: float | None = 1e-2, policy: str = "strict", **fields: Any
) -> Case:
    """A cuszp case, or one of `raw` when `mode` is None."""
    params = {} if mode is None else {"mode": mode, "bound_policy": policy}
    given: dict[str, Any] = {
        "command": "sweep",
        "codec": "raw" if mode is None else "cuszp",
        "codec_params": params,
        "mode": mode,
        "bound": None if mode is None or bound is None else Bound(value=bound),
        "tensor": spec,
        "layout": "thd",
        "dtype": "bfloat16",
        "shape": spec.shape,
        "elements": spec.elements,
        "device": "cpu",
        "threads": None if mode is None else 0,
    }
    return Case.model_validate(given | fields)


def result(case: Case, **fields: Any) -> CaseResult:
    return CaseResult(case_id=case.id, case=case, started_at=STARTED, elapsed_s=0.5, **{"status": "ok"} | fields)


def finished(case: Case, link: Link = LINK, samples: int = 12, **fields: Any) -> CaseResult:
    """A case that ran: numbers that follow from its own fields alone, so that equal cases have equal numbers."""
    rng = np.random.default_rng(int(case.id, 16))
    value = None if case.bound is None else case.bound.value
    bits = 16.0 if value is None else _bits(value, str(case.mode), case.tensor, rng)
    compressed = round(bits * case.elements / 8)
    encode_gbps, decode_gbps = (8.0, 9.0) if value is None else (30 / bits, 44 / bits)
    encode = phase(case.raw_bytes / encode_gbps / 1e9, case.raw_bytes, rng, samples)
    decode = phase(case.raw_bytes / decode_gbps / 1e9, case.raw_bytes, rng, samples)
    metrics = _sizes(case, compressed) | _errors(value) | _speeds(case.raw_bytes, compressed, encode, decode, link)
    histogram = None
    if value is not None:
        edges = np.linspace(-1, 1, 65)
        counts = rng.poisson(
            case.elements / 80 * np.exp(-(edges[1:-1:2].repeat(2) ** 2) / (4 if value < 2e-2 else 0.5))
        )
        histogram = Histogram(edges=edges.tolist(), counts=counts.tolist())
    shown = {"metrics": metrics, "histogram": histogram, "phases": {"encode_call": encode, "decode_call": decode}}
    return result(case, **shown | fields)


def _bits(bound: float, mode: str, spec: TensorSpec | None, rng: np.random.Generator) -> float:
    kv, layer = (spec.kv, spec.layer or 0) if spec else (None, 0)
    base = 1.2 + 3.1 * max(0.0, -math.log10(bound) - 0.6) + 0.8
    factor = {"fixed": 0.96, "plain": 1.0, "outlier": 0.9 if kv == "k" else 1.01}[mode]
    return base * factor * (0.92 if kv == "v" else 1.05) * float(rng.uniform(0.97, 1.03)) * (1.2 if layer else 1.0)


def _sizes(case: Case, compressed: int) -> dict[str, float | int | None]:
    return {
        "stream_bytes": compressed - 96,
        "compressed_bytes": compressed,
        "ratio": case.raw_bytes / compressed,
        "bits_per_value": 8 * compressed / case.elements,
    }


def _errors(bound: float | None) -> dict[str, float | int | None]:
    value_range = 40.0
    if bound is None:
        zero = dict.fromkeys(("max_abs_error", "mean_abs_error", "rmse", "nrmse"), 0.0)
        return {"value_range": value_range, **zero, "psnr_db": None, "non_finite_count": 0}
    absolute = bound * value_range
    rmse = absolute * (0.577 if bound < 2e-2 else 0.4)
    return {
        "effective_error_bound": absolute,
        "quantizer_error_bound": absolute * (1 - 1e-6),
        "value_range": value_range,
        "max_abs_error": absolute * 0.9999,
        "mean_abs_error": absolute / 2,
        "rmse": rmse,
        "nrmse": rmse / value_range,
        "psnr_db": 20 * math.log10(value_range / rmse),
        "violations": 0,
        "violations_after_cast": 12 if bound < 2e-3 else 0,
        "max_excess": None,
        "non_finite_count": 0,
    }


def _speeds(
    raw: int, compressed: int, encode: PhaseSamples, decode: PhaseSamples, link: Link
) -> dict[str, float | int | None]:
    encode_s, decode_s = encode.median_s or 0.0, decode.median_s or 0.0
    out_s, in_s = compressed / link.out_gbps / 1e9, compressed / link.in_gbps / 1e9
    saved = (raw - compressed) / 1e9
    return {
        "effective_gbps": 2 * raw / (encode_s + decode_s + out_s + in_s) / 1e9,
        "effective_out_gbps": raw / (encode_s + out_s) / 1e9,
        "effective_in_gbps": raw / (decode_s + in_s) / 1e9,
        "break_even_gbps": 2 * saved / (encode_s + decode_s) if saved > 0 else None,
        "break_even_out_gbps": saved / encode_s if saved > 0 else None,
        "break_even_in_gbps": saved / decode_s if saved > 0 else None,
    }


def sweep_results(link: Link = LINK, bounds: Sequence[float] = BOUNDS) -> list[CaseResult]:
    """Three modes over `bounds` and `raw` on K and V of two layers; then a failed, an invalid, a skipped, a one-sample
    case, and two whose tensor is neither K nor V."""
    specs = [tensor(layer, kv) for layer in (0, 29) for kv in ("k", "v")]
    cells = [codec_case(spec, mode, bound) for spec in specs for mode in MODES for bound in bounds]
    results = [finished(case, link) for case in cells + [codec_case(spec, None, None) for spec in specs]]
    first, flat = specs[0], tensor(None, None, source="values.npy")
    broken = {"status": "failed", "reason_code": "bound_broken", "reason": "3 values exceed the bound 0.4 by up to 2 %"}
    over = {"status": "invalid", "reason_code": "bound_exceeded", "reason": "7 values exceed the bound, up to 1.0002 E"}
    skipped = {"status": "skipped", "reason_code": "no_layout", "reason": "layout hdt needs tokens, heads, head size"}
    results += [
        finished(codec_case(tensor(3, "k"), "plain", 1e-2), link, **broken),
        finished(codec_case(first, "plain", 1e-3, policy="compatible"), link, **over),
        result(codec_case(first, "plain", 1e-3, layout="hdt"), **skipped, flags=["noisy"]),
        finished(codec_case(tensor(29, "v", tokens=256), "fixed", 1e-2), link, samples=1, flags=["few_samples"]),
        finished(codec_case(flat, "plain", 1e-2), link),
        finished(codec_case(flat, "plain", 1e-3), link),
    ]
    return results


def copy_case(direction: str, elements: int, memory: str | None = None, threads: int | None = None) -> Case:
    gpu = direction != "host_copy"
    given = {"codec": "raw", "elements": elements, "dtype": "float32", "device": "cuda" if gpu else "cpu"}
    return Case.model_validate(
        {"command": "baseline", "direction": direction, "memory": memory, "threads": threads, **given}
    )


def baseline_results(gpu: bool = True) -> list[CaseResult]:
    """Copies of six sizes: in host memory with one and with all threads, and with `gpu` to and from a GPU."""
    results = []
    kinds: list[tuple[str, str | None, int | None, float, float]] = [
        ("host_copy", "pageable", 1, 11.0, 2e-7),
        ("host_copy", "pageable", 16, 38.0, 4e-6),
    ]
    if gpu:
        kinds += [
            ("d2h", "pinned", None, 55.0, 8e-6),
            ("h2d", "pinned", None, 53.0, 9e-6),
            ("d2h", "pageable", None, 11.6, 1.6e-5),
            ("h2d", "pageable", None, 13.0, 2.4e-5),
        ]
    for direction, memory, threads, peak_gbps, start_s in kinds:
        for elements in (64, 1024, 16_384, 262_144, 4_194_304, 67_108_864):
            case = copy_case(direction, elements, memory, threads)
            rng = np.random.default_rng(int(case.id, 16))
            timed = phase(start_s + case.raw_bytes / peak_gbps / 1e9, case.raw_bytes, rng)
            if direction == "host_copy" and elements == 64:
                unresolved = timed.model_copy(update={"median_s": None, "ci_low_s": None, "ci_high_s": None})
                unresolved.flags.append("unresolved")
                results.append(result(case, phases={direction: unresolved}, flags=["unresolved"]))
            else:
                results.append(result(case, phases={direction: timed}))
    return results


def make_run(
    path: Path,
    /,
    results: Iterable[CaseResult] | None = None,
    command: str = "sweep",
    link: Link | None = LINK,
    **fields: Any,
) -> RunFolder:
    """A finished run at `path`, opened for reading."""
    results = list(sweep_results() if results is None else results)
    experiment = {"command": command, "source": ["sample"], "error_bound": list(BOUNDS), "bound_kind": ["rel"]}
    argv = ["kvbench", command, "--error-bound", "1e-1", "1e-2"]
    with RunFolder.create(path, command, argv, experiment=experiment | fields, host=HOST, link=link) as folder:
        for one in results:
            folder.append(one)
        count = {status: sum(one.status == status for one in results) for status in ("failed", "invalid", "skipped")}
        reasons = [one.reason for one in results if one.reason]
        finished_manifest = folder.manifest().model_copy(
            update={
                "run_id": f"20260102T030405Z-{command}-abc123",
                "status": "finished",
                "started_at": STARTED,
                "ended_at": "2026-01-02T03:05:06Z",
                "cases_planned": len(results),
                "cases_done": len(results) - count["skipped"] - count["failed"],
                **{f"cases_{status}": number for status, number in count.items()},
                "reasons": {reason: reasons.count(reason) for reason in reasons},
                "notes": ["device cpu: no NVIDIA driver was found", "GB = 1e9 bytes"],
            }
        )
        folder.write_manifest(finished_manifest)
    return RunFolder.open(path)
