"""Owns the tests of `kvbench decompress`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from kvbench.bound import Bound
from kvbench.cli import app
from kvbench.codecs import frame
from kvbench.codecs.cuszp import Cuszp
from kvbench.tensors.base import KVView


def _frame(path: Path, tensor: torch.Tensor, layout: str = "flat") -> torch.Tensor:
    """Write a frame and give what it decodes to."""
    codec = Cuszp()
    out = torch.empty(codec.capacity(tensor.numel(), tensor.dtype), dtype=torch.uint8)
    encoded = codec.encode(KVView(tensor, layout=layout), out, Bound(kind="rel", value=1e-2))
    frame.save(path, encoded)
    decoded = torch.empty_like(tensor)
    codec.decode(encoded, decoded)
    return decoded


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_to_npy(tmp_path, dtype, capsys):
    tensor = torch.randn(50, 3, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = _frame(tmp_path / "k.cszp", tensor, "thd")
    target = tmp_path / "k.npy"
    assert app.run(["decompress", str(tmp_path / "k.cszp"), "--output", str(target)]) == 0
    assert np.array_equal(np.load(target), expected.numpy())
    assert "[50 x 3 x 32], layout thd" in capsys.readouterr().out


@pytest.mark.parametrize(("shape", "layout"), [((50, 3, 32), "htd"), ((4800,), "flat")])
def test_to_safetensors(tmp_path, shape, layout):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    expected = _frame(tmp_path / "k.cszp", tensor, layout)
    target = tmp_path / "k.safetensors"
    assert app.run(["decompress", str(tmp_path / "k.cszp"), "--threads", "1", "--output", str(target)]) == 0
    with safe_open(target, framework="pt") as file:
        assert torch.equal(file.get_tensor("tensor"), expected)
        assert file.metadata()["layout"] == layout


def _refusal(capsys, *arguments: object) -> tuple[int, str]:
    code = app.run(["decompress", *map(str, arguments)])
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return code, lines[0]


def test_bfloat16_has_no_npy(tmp_path, capsys):
    _frame(tmp_path / "k.cszp", torch.zeros(4, dtype=torch.bfloat16))
    code, line = _refusal(capsys, tmp_path / "k.cszp", "--output", tmp_path / "k.npy")
    assert code == 2
    assert "bfloat16" in line
    assert "--output k.safetensors" in line
    assert not (tmp_path / "k.npy").exists()


def test_other_refusals(tmp_path, capsys, monkeypatch):
    source, target = tmp_path / "k.cszp", tmp_path / "k.npy"
    code, line = _refusal(capsys, source, "--output", target)
    assert (code, "No such file" in line) == (2, True)
    source.write_bytes(b"\x93NUMPY" + bytes(100))
    code, line = _refusal(capsys, source, "--output", target)
    assert code != 0
    assert "k.cszp: not a kvbench frame" in line
    _frame(source, torch.zeros(4))
    code, line = _refusal(capsys, source, "--output", tmp_path / "k.pt")
    assert (code, ".npy or .safetensors" in line) == (2, True)
    code, line = _refusal(capsys, source, "--output", tmp_path / "absent" / "k.npy")
    assert code != 0
    assert "absent" in line
    from kvbench.cli import decompress

    monkeypatch.setattr(decompress, "_available_bytes", lambda: 15)
    code, line = _refusal(capsys, source, "--output", target)
    assert code == 2
    assert "memory" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k.cszp"]
