"""Tensor files: what headers say, which tensors are taken, and their values."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kvbench.config import Experiment
from kvbench.errors import UsageError
from kvbench.record.schema import TensorSpec
from kvbench.tensors import registry

RNG = np.random.default_rng(0)
THD = RNG.standard_normal((6, 2, 4)).astype(np.float32)


def specs(*paths: Path, **fields: object) -> list[TensorSpec]:
    return registry.specs(Experiment.model_validate({"command": "compress", "input": paths, **fields}))


def loaded(path: Path, **fields: object) -> torch.Tensor:
    (spec,) = specs(path, **fields)
    tensor = registry.load(spec, 0)
    assert tuple(tensor.shape) == spec.shape
    assert str(tensor.dtype) == f"torch.{spec.dtype}"
    return tensor


def npy(path: Path, array: np.ndarray[Any, Any]) -> Path:
    np.save(path, array)
    return path


@pytest.fixture
def captured(tmp_path: Path) -> Path:
    """A file as `kvbench capture` writes it, with token ids beside K and V."""
    path = tmp_path / "cache.safetensors"
    tensors = {
        f"layers.{layer}.{kv}": torch.from_numpy(THD + layer).to(torch.bfloat16) for layer in (10, 2) for kv in "vk"
    }
    save_file({**tensors, "tokens": torch.arange(6)}, path, metadata={"kvbench_schema": "1", "layout": "thd"})
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path: Path, dtype: Any, order: Any) -> None:
    array = np.asarray(THD, dtype=dtype, order=order)
    tensor = loaded(npy(tmp_path / "x.npy", array), source_layout="thd")
    assert np.array_equal(tensor.numpy(), array)


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **{"layers.0.k": THD, "layers.0.v": THD.astype(np.float16), "mask": np.ones(3, bool)})
    compressed = tmp_path / "y.npz"
    np.savez_compressed(compressed, **{"layers.0.k": THD})
    assert [(spec.tensor, spec.dtype, spec.kv) for spec in specs(path)] == [
        ("layers.0.k", "float32", "k"),
        ("layers.0.v", "float16", "v"),
    ]
    assert np.array_equal(loaded(path, tensor="*.v").numpy(), THD.astype(np.float16))
    assert np.array_equal(loaded(compressed).numpy(), THD)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_safetensors(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "x.safetensors"
    tensor = torch.from_numpy(THD).to(dtype)
    save_file({"layers.7.v": tensor}, path)
    assert torch.equal(loaded(path), tensor)


def test_a_captured_file_says_its_layout_and_layers(captured: Path) -> None:
    found = specs(captured)
    assert [(spec.tensor, spec.layer, spec.kv) for spec in found] == [
        ("layers.2.k", 2, "k"),
        ("layers.2.v", 2, "v"),
        ("layers.10.k", 10, "k"),
        ("layers.10.v", 10, "v"),
    ]
    assert {(spec.source, spec.shape, spec.source_layout, spec.dtype) for spec in found} == {
        (str(captured), (6, 2, 4), "thd", "bfloat16")
    }


def test_layers_choose(captured: Path) -> None:
    assert [spec.tensor for spec in specs(captured, layers=10)] == ["layers.10.k", "layers.10.v"]
    with pytest.raises(UsageError, match=r"cache.safetensors holds no layer 3; it has layers 2, 10"):
        specs(captured, layers=3)


def test_the_option_wins_over_the_header(captured: Path) -> None:
    assert {spec.source_layout for spec in specs(captured, source_layout="htd")} == {"htd"}


def test_a_foreign_header_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"k": torch.zeros(6, 2, 4)}, path, metadata={"layout": "thd"})
    assert specs(path)[0].source_layout == "flat"


def test_without_a_stated_layout_a_tensor_is_flat_and_keeps_its_shape(tmp_path: Path) -> None:
    path = npy(tmp_path / "x.npy", THD)
    (spec,) = specs(path)
    assert (spec.source_layout, spec.shape) == ("flat", (6, 2, 4))
    with pytest.raises(UsageError, match=r"'x' does not say how it is stored.*hdt; add --source-layout"):
        specs(path, layout="hdt")
    assert specs(path, layout="hdt", source_layout="thd")[0].source_layout == "thd"


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 4, 5)])
def test_other_ranks_are_flat(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = RNG.standard_normal(shape).astype(np.float32)
    path = npy(tmp_path / "x.npy", np.asarray(array))
    (spec,) = specs(path)
    assert (spec.source_layout, spec.shape) == ("flat", shape or (1,))
    assert np.array_equal(registry.load(spec, 0).numpy().reshape(shape), array)
    with pytest.raises(UsageError, match=r"--source-layout thd: no chosen tensor of .* has three axes"):
        specs(path, source_layout="thd")


@pytest.mark.parametrize(("layout", "order"), [("thd", (0, 1, 2)), ("htd", (1, 0, 2)), ("hdt", (1, 2, 0))])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_a_size_cuts_to_the_first_tokens(tmp_path: Path, layout: str, order: tuple[int, ...], suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    stored = np.ascontiguousarray(THD.transpose(order))
    if suffix == ".npy":
        np.save(path, stored)
    elif suffix == ".npz":
        np.savez(path, x=stored)
    else:
        save_file({"x": torch.from_numpy(stored)}, path)
    tensor = loaded(path, source_layout=layout, tensor_size=24)
    assert np.array_equal(tensor.numpy(), THD[:3].transpose(order))


def test_a_size_cuts_a_flat_tensor_anywhere(tmp_path: Path) -> None:
    path = npy(tmp_path / "x.npy", THD)
    assert np.array_equal(loaded(path, tensor_size=13).numpy(), THD.reshape(-1)[:13])
    assert [spec.elements for spec in specs(path, tensor_size=(13, 48))] == [13, 48]


def test_npy_values_are_mapped_and_the_file_stays(tmp_path: Path) -> None:
    path = npy(tmp_path / "x.npy", THD)
    before = path.read_bytes()
    loaded(path, source_layout="thd").zero_()
    assert path.read_bytes() == before


def test_many_files_come_in_order(tmp_path: Path) -> None:
    first, second = npy(tmp_path / "b.npy", THD), npy(tmp_path / "a.npy", THD)
    assert [spec.tensor for spec in specs(first, second)] == ["b", "a"]


def test_integers_are_passed_over_unless_named(captured: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tensor 'tokens' is int64; cast it to one of float32"):
        specs(captured, tensor="tok*")
    with pytest.raises(UsageError, match=r"tensor 'x' is int64"):
        specs(npy(tmp_path / "x.npy", np.arange(3)))


def test_specs_need_no_torch(captured: Path) -> None:
    code = (
        "import sys; from kvbench.config import Experiment; from kvbench.tensors import registry;"
        f"registry.specs(Experiment(command='sweep', input=({str(captured)!r},)));"
        "registry.specs(Experiment(command='sweep', source=('kv', 'sample')));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_bfloat16_in_npy_is_refused(tmp_path: Path) -> None:
    path = npy(tmp_path / "x.npy", THD.astype(ml_dtypes.bfloat16).view(np.dtype("V2")))
    with pytest.raises(UsageError, match=r"tensor 'x' is void16; .*bfloat16 in .safetensors only"):
        specs(path)


@pytest.mark.parametrize("change", ["gone", "shorter", "other type"])
def test_a_file_that_changed_after_planning_is_refused(tmp_path: Path, change: str) -> None:
    path = npy(tmp_path / "x.npy", THD)
    (spec,) = specs(path, source_layout="thd")
    if change == "gone":
        path.unlink()
    else:
        np.save(path, THD[:2] if change == "shorter" else THD.astype(np.float16))
    with pytest.raises(UsageError, match="no such file" if change == "gone" else "has changed"):
        registry.load(spec, 0)
