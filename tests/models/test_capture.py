"""Capturing with a fake model: values, header, and everything that is refused before the work starts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fake_model import HEAD_DIM, HEADS, LAYERS, VOCABULARY, FakeModel, fake_config
from safetensors import safe_open

from kvbench.config import Experiment
from kvbench.errors import KvbenchError, UnavailableError, UsageError
from kvbench.models import forward, load
from kvbench.models.capture import CaptureRequest, capture
from kvbench.tensors import registry

TEXT = "The quick brown fox jumps over the lazy dog. " * 20


@pytest.fixture
def request_(fake_model: Path, tmp_path: Path) -> CaptureRequest:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    return CaptureRequest(model=str(fake_model), text=text, tokens=20, output=tmp_path / "out.safetensors")


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(str(path), framework="pt") as archive:
        return {name: archive.get_tensor(name) for name in archive.keys()}, archive.metadata()  # noqa: SIM118


def expected_keys(layer: int, tokens: int) -> torch.Tensor:
    ids = torch.tensor(list(TEXT.encode())[:tokens], dtype=torch.float32)
    return ((ids + layer)[:, None] * torch.arange(1.0, 1 + HEADS * HEAD_DIM)).reshape(tokens, HEADS, HEAD_DIM)


@pytest.mark.parametrize("chunk", [1, 7, 20, 256])
def test_k_and_v_of_every_layer(request_: CaptureRequest, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(forward, "CHUNK_TOKENS", chunk)
    captured = capture(replace(request_, pre_rope=True))
    tensors, metadata = read(request_.output)
    assert set(tensors) == set(captured.names)
    assert len(tensors) == 3 * LAYERS
    sign = (1.0 - 2.0 * (torch.arange(20) % 2))[:, None, None]
    for layer in range(LAYERS):
        keys = expected_keys(layer, 20)
        assert torch.equal(tensors[f"layers.{layer}.k"], (keys * sign).to(torch.bfloat16))
        assert torch.equal(tensors[f"layers.{layer}.v"], (-keys / 3).to(torch.bfloat16))
        assert torch.equal(tensors[f"layers.{layer}.k_pre"], keys.to(torch.bfloat16))
    assert float(metadata["perplexity"]) == VOCABULARY


def test_the_header(request_: CaptureRequest) -> None:
    captured = capture(replace(request_, layers=(2, 0, 2), dtype="float16", note="Licence: none."))
    tensors, metadata = read(request_.output)
    assert metadata == captured.metadata
    assert sorted(tensors) == ["layers.0.k", "layers.0.v", "layers.2.k", "layers.2.v"]
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert {name: metadata[name] for name in ("kvbench_schema", "model", "revision", "tokens", "text_tokens")} == {
        "kvbench_schema": "1",
        "model": "fake-model",
        "revision": "a local folder",
        "tokens": "20",
        "text_tokens": "0:20",
    }
    assert metadata["layers"] == "2 0"
    assert (metadata["layout"], metadata["dtype"], metadata["arithmetic"]) == ("thd", "float16", "float32")
    assert metadata["text_sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert metadata["note"] == "Licence: none."
    assert metadata["created_by"].startswith("kvbench ")
    assert json.loads(metadata["geometry"]) == {
        "layers": LAYERS,
        "heads": HEADS,
        "head_dim": HEAD_DIM,
        "query_heads": 4,
        "dtype": "float16",
        "tokens": 20,
    }
    assert json.loads(metadata["rotary"]) == {
        "k": "after",
        "parameters": {"rope_theta": 123.0, "rope_type": "default"},
    }
    assert str(request_.model) not in "".join(metadata.values())


def test_what_capture_writes_is_what_files_read(request_: CaptureRequest) -> None:
    capture(request_)
    specs = registry.specs(Experiment(command="sweep", input=(request_.output,), layers=(1,)))
    assert [(spec.tensor, spec.source_layout, spec.kv) for spec in specs] == [
        ("layers.1.k", "thd", "k"),
        ("layers.1.v", "thd", "v"),
    ]
    assert registry.load(specs[0], 0).shape == (20, HEADS, HEAD_DIM)


def test_the_file_is_readable_like_any_other(request_: CaptureRequest) -> None:
    capture(request_)
    assert request_.output.stat().st_mode == request_.text.stat().st_mode


def test_the_gguf_file_is_recorded(request_: CaptureRequest, fake_model: Path) -> None:
    (fake_model / "w.gguf").write_bytes(b"weights")
    captured = capture(replace(request_, gguf="w.gguf"))
    assert captured.metadata["weights_file"] == "w.gguf"
    assert captured.metadata["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize(
    ("named", "dtype"), [(None, "bfloat16"), (torch.float16, "float16"), ("float32", "float32"), ("int8", "bfloat16")]
)
def test_the_cache_dtype_is_the_models_own(
    request_: CaptureRequest, monkeypatch: pytest.MonkeyPatch, named: object, dtype: str
) -> None:
    config = fake_config()
    config.dtype = named
    monkeypatch.setattr(load, "load_config", lambda place: config)
    assert capture(request_).metadata["dtype"] == dtype


@pytest.mark.parametrize(
    ("config", "rotary"),
    [
        ({"rope_parameters": None}, {"k": "none"}),
        ({"rope_parameters": None, "rope_theta": 5.0}, {"k": "after", "parameters": {"rope_theta": 5.0}}),
    ],
)
def test_the_rotary_state_of_other_models(
    request_: CaptureRequest, monkeypatch: pytest.MonkeyPatch, config: dict[str, object], rotary: dict[str, object]
) -> None:
    monkeypatch.setattr(load, "load_config", lambda place: SimpleNamespace(**{**vars(fake_config()), **config}))
    assert json.loads(capture(request_).metadata["rotary"]) == rotary


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": 1500}, r"gives 900 tokens, --tokens asks 1500; give a longer text"),
        ({"tokens": 2001}, r"--tokens 2001: the model was made for 2000 positions at most"),
        ({"layers": (0, 3)}, r"--layers 3: the model has layers 0 to 2"),
        ({"layers": (-1,)}, r"--layers -1: the model has layers 0 to 2"),
        ({"output": "x.npz"}, r"--output x.npz: use a name that ends in .safetensors"),
        ({"output": "no/such/x.safetensors"}, r"the folder no.such does not exist; make it first"),
        ({"text": "nosuch.txt"}, r"--text nosuch.txt cannot be read: No such file"),
        ({"revision": "main"}, r"--revision main is of a model on the hub; .* is a folder here"),
    ],
)
def test_refused_before_any_weight_is_read(
    request_: CaptureRequest, monkeypatch: pytest.MonkeyPatch, fields: dict[str, object], message: str
) -> None:
    monkeypatch.setattr(load, "load_model", lambda place, device: pytest.fail("weights were read"))
    paths = {name: Path(str(value)) for name, value in fields.items() if name in ("output", "text")}
    with pytest.raises(UsageError, match=message) as caught:
        capture(replace(request_, **{**fields, **paths}))
    assert "\n" not in str(caught.value)
    assert not request_.output.exists()


def test_an_existing_output_is_kept(request_: CaptureRequest) -> None:
    request_.output.write_text("precious")
    with pytest.raises(UsageError, match=r"out.safetensors exists; choose another name"):
        capture(request_)
    assert request_.output.read_text() == "precious"


def test_a_text_that_is_not_text(request_: CaptureRequest) -> None:
    request_.text.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        capture(request_)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there(request_: CaptureRequest) -> None:
    with pytest.raises(UnavailableError, match="--device cuda: torch finds no usable GPU"):
        capture(replace(request_, device="cuda"))


def test_a_failed_write_leaves_nothing(request_: CaptureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(KvbenchError, match="the disk is full"):
        capture(request_)
    assert sorted(path.name for path in request_.output.parent.iterdir()) == ["fake-model", "text.txt"]


def test_keys_that_are_not_rotated_ones_are_refused(request_: CaptureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    model.layers[1].self_attn.k_norm = model.layers[1].self_attn.k_proj
    model.layers[1].self_attn.k_norm.register_forward_hook(lambda *_: None)
    monkeypatch.setattr(load, "load_model", lambda place, device: model)
    capture(replace(request_, pre_rope=True))  # a k_norm that is the rotation's input is right

    def scaled(_module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output * torch.arange(1.0, 1 + output.shape[-1])

    model.layers[1].self_attn.k_proj = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity())
    model.layers[1].self_attn.k_norm = model.layers[1].self_attn.k_proj[0]
    model.layers[1].self_attn.k_proj[1].register_forward_hook(scaled)
    with pytest.raises(KvbenchError, match="change otherwise than by rotation"):
        capture(replace(request_, pre_rope=True, output=request_.output.with_name("two.safetensors")))


def test_a_model_without_key_projection(request_: CaptureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    model.layers = torch.nn.ModuleList()
    monkeypatch.setattr(FakeModel, "base_model", SimpleNamespace())
    with pytest.raises(UsageError, match="FakeModel has no k_proj"):
        capture(replace(request_, pre_rope=True))


def test_a_model_that_drops_tokens(request_: CaptureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def windowed() -> SimpleNamespace:
        last = SimpleNamespace(keys=torch.zeros(1, HEADS, 4, HEAD_DIM), values=torch.zeros(1, HEADS, 4, HEAD_DIM))
        return SimpleNamespace(layers=[last] * LAYERS, tokens=lambda: 0, add=lambda *_: None)

    monkeypatch.setattr(forward, "new_cache", windowed)
    with pytest.raises(UsageError, match="layer 0 of this model does not keep K and V of every token"):
        capture(request_)


def test_the_forward_hooks_are_removed(request_: CaptureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    monkeypatch.setattr(load, "load_model", lambda place, device: model)
    capture(replace(request_, pre_rope=True))
    assert not any(module._forward_hooks for module in model.modules())
