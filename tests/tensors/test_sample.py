"""The packaged sample: small, whole, real, and what its header says."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files

import pytest
import torch
from safetensors import safe_open

from kvbench import cuszp
from kvbench.config import Experiment
from kvbench.errors import UsageError
from kvbench.record.schema import TensorSpec
from kvbench.tensors import registry
from kvbench.tensors.sample import SAMPLE_NAME

DATA = files("kvbench.tensors") / "data"


def specs(**fields: object) -> list[TensorSpec]:
    return registry.specs(Experiment.model_validate({"command": "sweep", **fields}))


def metadata() -> dict[str, str]:
    with safe_open(str(DATA / SAMPLE_NAME), framework="np") as archive:
        return dict(archive.metadata())


def test_it_is_the_default() -> None:
    found = specs()
    assert [spec.tensor for spec in found] == [f"layers.{layer}.{kv}" for layer in (0, 1, 14, 29) for kv in "kv"]
    assert {(spec.source, spec.shape, spec.dtype, spec.source_layout) for spec in found} == {
        ("sample", (512, 3, 64), "bfloat16", "thd")
    }


def test_it_is_at_most_two_megabytes() -> None:
    assert len((DATA / SAMPLE_NAME).read_bytes()) <= 2_000_000


def test_its_header_tells_where_it_comes_from() -> None:
    header = metadata()
    assert header["layers"] == "0 1 14 29"
    assert header["tokens"] == "512"
    assert header["weights_file"] == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert json.loads(header["geometry"]) == {
        "layers": 30,
        "heads": 3,
        "head_dim": 64,
        "query_heads": 9,
        "dtype": "bfloat16",
        "tokens": 512,
    }
    assert json.loads(header["rotary"])["k"] == "after"
    assert "Apache-2.0" in header["note"]
    assert "zlib licence" in header["note"]
    assert float(header["perplexity"]) < 30
    assert not any("/" in value for name, value in header.items() if name != "note" and not value.startswith("{"))


def test_its_text_is_beside_it() -> None:
    text = (DATA / metadata()["text_file"]).read_bytes()
    assert hashlib.sha256(text).hexdigest() == metadata()["text_sha256"]


def test_its_values_are_those_of_a_real_cache() -> None:
    for spec in specs():
        values = registry.load(spec, 0).double().reshape(512, -1)
        assert torch.isfinite(values).all()
        share = (values.mean(dim=0).var(correction=0) / values.var(correction=0)).item()
        assert (0.4 < share < 0.7) if spec.kv == "k" else (0.05 < share < 0.4)
        assert 10 < ((values.max() - values.min()) / values.std()).item() < 25


@pytest.mark.parametrize(("kv", "low", "high"), [("k", 2.9, 3.2), ("v", 3.1, 3.5)])
def test_it_compresses_as_real_caches_do(kv: str, low: float, high: float) -> None:
    ratios = []
    for spec in specs(tensor=f"*.{kv}"):
        values = registry.load(spec, 0)
        bound = 1e-2 * (values.float().max() - values.float().min()).item()
        ratios.append(2 * spec.elements / len(cuszp.compress(values, bound, mode="fixed")))
    assert low < sum(ratios) / len(ratios) < high


def test_layers_glob_and_size_choose() -> None:
    assert [spec.tensor for spec in specs(layers=14, tensor="*.k", tensor_size=192, source="sample")] == ["layers.14.k"]
    (spec,) = specs(layers=14, tensor="*.k", tensor_size=3 * 192, source="sample")
    assert registry.load(spec, 0).shape == (3, 3, 64)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layers": 2}, "sample holds no layer 2; it has layers 0, 1, 14, 29"),
        ({"source": "sample", "tensor_size": 100}, "of sample has 192 elements a token"),
        ({"source": "sample", "geometry": "smollm2-135m"}, "sample has its own shapes"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        specs(**fields)
