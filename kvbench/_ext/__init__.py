"""Owns access to the compiled modules: tells an absent one from one that is there and does not load."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def cpu() -> ModuleType:
    """The module `_cpu`, whose types are in `_cpu.pyi`.

    Raises:
        ImportError: the module was not built, or cannot be loaded; the text says which, and what to do.
    """
    return _compiled("_cpu", "build it with `pip install .` in the repository")


def cuda() -> ModuleType:
    """The module `_cuda`, whose types are in `_cuda.pyi`. It loads without a driver.

    Raises:
        ImportError: the module was not built, or cannot be loaded; the text says which, and what to do.
    """
    return _compiled("_cuda", "build it with `pip install .` in the repository where nvcc is on PATH")


def has_cuda_module() -> bool:
    """Whether the CUDA module was built; says nothing about a GPU or a driver being there."""
    return find_spec("kvbench._ext._cuda") is not None


@cache
def cuda_problem() -> str | None:
    """Why the current CUDA device cannot run the codec, in one line, or None when it can; looked up once."""
    if not has_cuda_module():
        return "kvbench was built without CUDA: install it again where nvcc is on PATH"
    try:
        problem: str | None = cuda().device_problem()
    except ImportError as error:
        return str(error)
    return problem


def _compiled(name: str, remedy: str) -> ModuleType:
    spec = find_spec(f"kvbench._ext.{name}")
    if spec is None:
        raise ImportError(f"kvbench's compiled module {name} is missing: {remedy}")
    try:
        return import_module(f"kvbench._ext.{name}")
    except ImportError as error:
        raise ImportError(
            f"kvbench's compiled module {spec.origin} cannot be loaded ({error}): rebuild it with `pip install .`"
        ) from error
