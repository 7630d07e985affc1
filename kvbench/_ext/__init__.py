"""Owns access to the compiled modules: tells an absent one from one that is there and does not load."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def cpu() -> ModuleType:
    """The module `_cpu`, whose types are in `_cpu.pyi`.

    Raises:
        ImportError: the module was not built, or cannot be loaded; the text says which, and what to do.
    """
    spec = find_spec("kvbench._ext._cpu")
    if spec is None:
        raise ImportError("kvbench's compiled module _cpu is missing: build it with `pip install .` in the repository")
    try:
        return import_module("kvbench._ext._cpu")
    except ImportError as error:
        raise ImportError(
            f"kvbench's compiled module {spec.origin} cannot be loaded ({error}): rebuild it with `pip install .`"
        ) from error


def has_cuda_module() -> bool:
    """Whether the CUDA module was built; says nothing about a GPU or a driver being there."""
    return find_spec("kvbench._ext._cuda") is not None
