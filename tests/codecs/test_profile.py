"""Owns the tests of profiles: which rule counts, calibrated vectors, and one line for whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import torch
import yaml

from kvbench.bound import Bound
from kvbench.codecs import calibration, profile
from kvbench.codecs.pipeline import Pipeline
from kvbench.codecs.profile import ProfileFile
from kvbench.errors import UsageError
from kvbench.tensors.base import KVView

SCHEMA = Path(__file__).parents[2] / "configs" / "profile.schema.json"

TEXT = """\
calibration: means.safetensors
rules:
  - {layers: 0, kv: k, codec: raw}
  - layers: 1-3,7
    kv: k
    mode: outlier
    codec: {name: cuszp, bound_policy: compatible}
    transforms: keep-first=4,center=calibrated,layout=hdt
    bound: 0.05
  - {kv: v, codec: cuszp, mode: fixed, bound: 2e-2}
  - {codec: {name: groupwise, bits: 3}}
"""


def keys(tokens: int = 300) -> torch.Tensor:
    return torch.randn(tokens, 2, 16, generator=torch.Generator().manual_seed(4)) + torch.linspace(-5, 5, 16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    measured = calibration.measure(keys())
    vectors = {(layer, "k", name): values + layer for layer in (1, 2, 3) for name, values in measured.items()}
    calibration.write(tmp_path / "means.safetensors", vectors)
    (tmp_path / "p.yaml").write_text(TEXT)
    return tmp_path


def refusal(folder: Path, text: str) -> str:
    (folder / "bad.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        profile.load(folder / "bad.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestChoose:
    def test_the_first_rule_that_fits_counts(self, folder):
        found = profile.load(folder / "p.yaml")
        assert found.choose(0, "k").codec.name == "raw"
        assert found.choose(0, "k").bound is None
        second = found.choose(2, "k")
        assert second.codec.params == {"bound_policy": "compatible", "mode": "outlier"}
        assert second.bound == Bound(kind="abs", value=0.05)
        assert found.choose(5, "v").bound == Bound(kind="abs", value=0.02)
        assert found.choose(5, "v").transforms is None
        assert found.choose(5, "k").codec.name == "groupwise"

    def test_every_layer_gets_its_own_vector(self, folder):
        found = profile.load(folder / "p.yaml")
        chains = [found.choose(layer, "k").transforms for layer in (1, 2, 3)]
        assert len(set(chains)) == 3
        id_of_2 = found.vectors[2, "k"]["mean"]
        assert chains[1] == f"keep-first=4,center={id_of_2},layout=hdt"
        assert torch.allclose(calibration.vector(id_of_2), keys().mean(dim=0) + 2, atol=1e-5)

    def test_what_is_chosen_can_be_made(self, folder):
        found = profile.load(folder / "p.yaml")
        assert isinstance(profile.make_codec(found.choose(1, "k"), threads=2), Pipeline)
        assert profile.make_codec(found.choose(1, "k"), threads=2).threads == 2
        assert profile.make_codec(found.choose(9, "v"), threads=3).threads == 3
        assert profile.make_codec(found.choose(0, "k")).name == "raw"

    def test_a_layer_without_rule_or_vector_is_named(self, folder):
        found = profile.load(folder / "p.yaml")
        with pytest.raises(UsageError, match="layer 7 k: center=calibrated needs the channels' mean"):
            found.choose(7, "k")
        with pytest.raises(UsageError, match="does not say"):
            found.choose(None, "k")
        (folder / "short.yaml").write_text("rules: [{kv: k, codec: raw}]")
        with pytest.raises(UsageError, match="has no rule for layer 4 v"):
            profile.load(folder / "short.yaml").choose(4, "v")

    def test_the_label_follows_the_content(self, folder):
        before = profile.load(folder / "p.yaml").label
        assert before.startswith("p.yaml ")
        assert profile.load(folder / "p.yaml").label == before
        (folder / "p.yaml").write_text(TEXT.replace("0.05", "0.06"))
        assert profile.load(folder / "p.yaml").label != before

    def test_stored_again_a_block_stays_as_it_is(self, folder):
        chosen = profile.load(folder / "p.yaml").choose(1, "k")
        codec = profile.make_codec(chosen)
        tensor, restored = (keys() + 1).to(torch.bfloat16), []
        for _ in range(3):
            room = torch.empty(codec.capacity(tensor.numel(), tensor.dtype), dtype=torch.uint8)
            out = torch.empty_like(tensor)
            codec.decode(codec.encode(KVView(tensor, 1, "k", "thd"), room, chosen.bound), out)
            restored.append(out)
            tensor = out
        assert not torch.equal(restored[0], (keys() + 1).to(torch.bfloat16))
        assert torch.equal(restored[0], restored[1])
        assert torch.equal(restored[0], restored[2])


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("rules:\n  - kv: k\n    bond: 3", ["bad.yaml line 3", "rules.0.bond", "did you mean 'bound'?"]),
            ("rule: []", ["line 1", "unknown key 'rule'", "'rules'"]),
            ("rules:\n- {codec: raw}\n- {layers: 3-1}", ["line 3", "rules.1.layers", "3-1", "write 3, or '0-3,7'"]),
            ("rules:\n- {kv: q, codec: raw}", ["line 2", "rules.0.kv", "'q' is not known; use k or v"]),
            ("rules:\n- bound: 0.1\n  mode: quick", ["line 3", "rules.0.mode", "'quick'", "fixed, plain or outlier"]),
            ("rules:\n- {bound: -1}", ["line 2", "rules.0.bound", "-1 is not a finite number above 0"]),
            ("rules:\n- {codec: cuszp}", ["line 2", "rules.0.bound", "'cuszp' needs one"]),
            ("rules:\n- codec: raw\n  bound: 0.1", ["line 3", "rules.0.bound", "'raw' takes none"]),
            ("rules:\n- codec: zcus", ["line 2", "rules.0.codec", "unknown codec 'zcus'"]),
            ("rules:\n- {codec: raw, mode: fixed}", ["line 2", "rules.0.codec", "no parameter 'mode'"]),
            ("rules:\n- {codec: raw, transforms: centre}", ["line 2", "rules.0.transforms", "'centre'"]),
            ("rules: []", ["line 1", "rules"]),
            ("calibration: means.safetensors", ["bad.yaml: rules is missing"]),
            ("calibration: gone.safetensors\nrules: [{codec: raw}]", ["line 1", "calibration", "gone.safetensors"]),
            ("- a", ["holds no mapping"]),
        ],
    )
    def test_one_line_names_file_line_and_field(self, folder, text, words):
        message = refusal(folder, text)
        assert [word for word in words if word not in message] == []

    def test_a_file_with_other_tensors(self, folder):
        from safetensors.torch import save_file

        save_file({"layers.0.k": torch.zeros(2, 2)}, folder / "other.safetensors")
        message = refusal(folder, "calibration: other.safetensors\nrules: [{codec: raw}]")
        assert "tensor 'layers.0.k' is not one of k.LAYER.mean" in message
        save_file({"k.0.mean": torch.full((2, 2), float("nan"))}, folder / "other.safetensors")
        assert "is finite" in refusal(folder, "calibration: other.safetensors\nrules: [{codec: raw}]")


class TestSchema:
    def test_the_schema_file_is_current(self):
        """Remake it with the line in configs/README.md."""
        assert json.loads(SCHEMA.read_text()) == ProfileFile.model_json_schema()

    def test_the_schema_takes_what_the_model_takes(self):
        validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
        assert list(validator.iter_errors(yaml.safe_load(TEXT.replace("2e-2", "0.02")))) == []
        assert list(validator.iter_errors({"rules": [{"kv": "q"}]}))
