"""Owns the tests of how the compiled modules are found: absent, broken, there."""

from __future__ import annotations

from importlib.machinery import ModuleSpec

import pytest

from kvbench import _ext


def test_the_cpu_module_has_the_documented_names() -> None:
    module = _ext.cpu()
    assert module.MODES == {"fixed": 0, "plain": 1, "outlier": 2}
    assert module.DTYPES == {"float32": 0, "bfloat16": 1, "float16": 2}
    assert module.CodecError.__module__ == "kvbench._ext._cpu"
    assert isinstance(_ext.has_cuda_module(), bool)


def test_an_absent_module_says_that_it_was_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ext, "find_spec", lambda name: None)
    assert not _ext.has_cuda_module()
    with pytest.raises(ImportError, match=r"_cpu is missing.*pip install \."):
        _ext.cpu()


def test_a_broken_module_keeps_the_loader_s_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        raise ImportError("undefined symbol: x")

    monkeypatch.setattr(_ext, "find_spec", lambda name: ModuleSpec(name, None, origin="/somewhere/_cpu.so"))
    monkeypatch.setattr(_ext, "import_module", load)
    with pytest.raises(ImportError, match=r"/somewhere/_cpu\.so cannot be loaded \(undefined symbol: x\)"):
        _ext.cpu()
