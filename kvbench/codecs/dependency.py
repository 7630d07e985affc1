"""Owns the question whether a codec and the package it needs can be used here."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from kvbench.errors import UnavailableError

if TYPE_CHECKING:
    import torch

    from kvbench.codecs.base import Codec


@cache
def import_problem(module: str, package: str, extra: str | None) -> str | None:
    """Why `module` cannot be imported, with the remedy, or None when it can.

    `package` is what an index calls it, `extra` the extra of kvbench that installs it; None for a package that comes
    with kvbench.
    """
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        wanted = "kvbench" if extra is None else f"kvbench[{extra}]"
        found = "" if error.name is None or module.startswith(error.name) else f" ({error})"
        return f"package {package} is not installed{found}; pip install {wanted}"
    except Exception as error:  # noqa: BLE001  whatever an import raises is the reason the user needs
        return f"package {package} does not load ({type(error).__name__}: {error})"
    return None


def require_usable(codec: type[Codec], tensor: torch.Tensor) -> None:
    """Raises UnavailableError, with its reason, where `codec` cannot work on the device that `tensor` is on."""
    reason = codec.unavailable("cuda" if tensor.is_cuda else "cpu")
    if reason is not None:
        raise UnavailableError(f"codec {codec.name!r} cannot be used here: {reason}")
