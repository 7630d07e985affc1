"""Checks the bench of `compress` and `sweep` on a GPU: the clock of each phase, cold buffers, and what goes unseen."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from fake_bench import Shifting, context

from kvbench.bench import compress
from kvbench.bound import Bound
from kvbench.config import build_experiment
from kvbench.measure.clock import device_clocks
from kvbench.measure.throttle import device_watch
from kvbench.record.gpu import cuda_facts
from kvbench.record.schema import Case
from kvbench.tensors.base import KVView

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


def gpu_case(**fields: object) -> Case:
    experiment = build_experiment("sweep", {"device": "cuda", **fields})
    return compress.prepare(experiment, cuda_facts(0)).plan.cases[0]


def known(value: float | None) -> float:
    assert value is not None
    return value


def test_a_codec_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress.codecs, "make", lambda name, params: Shifting())
    case = gpu_case(source="gaussian", tensor_size=100_000)
    outcome = compress.run(case, context(clocks_of=device_clocks))
    assert outcome.status == "ok"
    # It reads values back to the host, which a graph cannot hold.
    assert outcome.phases["encode_kernel"].clock == "cuda_event"
    assert outcome.phases["encode_call"].clock == "host"
    assert outcome.metrics["violations"] == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_kernels_on_the_gpu_are_timed_cold_by_replays(dtype: str) -> None:
    case = gpu_case(source="kv", tensor_size=1 << 18, dtype=dtype)
    outcome = compress.run(case, context(clocks_of=device_clocks, watch_of=device_watch))
    assert outcome.status == "ok"
    for phase in ("range", "encode_kernel", "decode_kernel"):
        assert outcome.phases[phase].clock == "cuda_graph"
        assert outcome.phases[phase].cache == "cold"
        assert "unseen_work" not in outcome.phases[phase].flags
    assert (outcome.phases["encode_kernel"].sm_clock_high_mhz or 0) > 0
    assert known(outcome.metrics["scratch_bytes"]) > 0
    assert known(outcome.metrics["device_copy_gbps"]) > 0
    for name in ("encode_floor_share", "decode_floor_share"):
        assert 0 < known(outcome.metrics[name]) < 1.2
    assert "encode_overlap" not in outcome.phases


class Elsewhere(Shifting):
    """Puts its kernel on a stream of its own and does not wait for it."""

    def stages(self, view: KVView, out: torch.Tensor, bound: Bound | None) -> Mapping[str, Callable[[], object]]:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

        def kernel() -> None:
            with torch.cuda.stream(stream):
                torch.cuda._sleep(2_000_000)  # type: ignore[no-untyped-call]

        return {"encode_kernel": kernel}


def test_a_kernel_on_another_stream_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress.codecs, "make", lambda name, params: Elsewhere())
    outcome = compress.run(gpu_case(source="gaussian", tensor_size=1 << 24), context(clocks_of=device_clocks))
    assert "unseen_work" in outcome.phases["encode_kernel"].flags
    assert outcome.phases["encode_kernel"].median_s is None
    assert outcome.metrics["encode_floor_share"] is None
