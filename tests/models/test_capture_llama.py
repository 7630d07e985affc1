"""Capturing from real transformers models, tiny and with random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import saved

from kvbench.models.capture import CaptureRequest, capture

transformers = pytest.importorskip("transformers", reason="the extra `capture` is not installed")

TEXT = " ".join(f"w{index * 7 % 61}" for index in range(150))


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_the_cache_is_that_of_one_whole_forward(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvbench.models.forward.CHUNK_TOKENS", 32)
    folder = saved(tmp_path / kind, kind)
    (tmp_path / "text.txt").write_text(TEXT)
    captured = capture(
        CaptureRequest(
            model=str(folder),
            text=tmp_path / "text.txt",
            tokens=100,
            output=tmp_path / "out.safetensors",
            layers=(0, 2),
            dtype="float32",
            pre_rope=True,
            device="cpu",
        )
    )
    tensors = load_file(captured.path)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([[index * 7 % 61 for index in range(100)]])
    with torch.inference_mode():
        whole = model(input_ids=ids, use_cache=True, labels=ids)
        positions = torch.arange(100)[None]
        cosine, sine = model.model.rotary_emb(torch.zeros(1), positions)
    cache = getattr(whole, "cache", None) or whole.past_key_values
    for layer in (0, 2):
        keys = cache.layers[layer].keys[0].transpose(0, 1)
        torch.testing.assert_close(tensors[f"layers.{layer}.k"], keys, atol=1e-5, rtol=1e-4)
        values = cache.layers[layer].values[0].transpose(0, 1)
        torch.testing.assert_close(tensors[f"layers.{layer}.v"], values, atol=1e-5, rtol=1e-4)
        before = tensors[f"layers.{layer}.k_pre"]
        turned = torch.cat([-before[..., 4:], before[..., :4]], dim=-1)
        again = before * cosine[0][:, None] + turned * sine[0][:, None]
        torch.testing.assert_close(again, tensors[f"layers.{layer}.k"], atol=1e-5, rtol=1e-4)
    assert float(captured.metadata["perplexity"]) == pytest.approx(whole.loss.exp().item(), rel=1e-3)


def test_the_header_of_a_real_model(tmp_path: Path) -> None:
    folder = saved(tmp_path / "tiny", "llama")
    (tmp_path / "text.txt").write_text(TEXT)
    captured = capture(
        CaptureRequest(model=str(folder), text=tmp_path / "text.txt", tokens=10, output=tmp_path / "o.safetensors")
    )
    assert captured.metadata["dtype"] == "float16"
    assert json.loads(captured.metadata["geometry"])["query_heads"] == 4
    assert json.loads(captured.metadata["rotary"])["parameters"]["rope_theta"] == pytest.approx(10000.0)
    assert set(captured.names) == {f"layers.{layer}.{kv}" for layer in range(3) for kv in "kv"}
