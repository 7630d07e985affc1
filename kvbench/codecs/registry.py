"""Owns the list of codecs: entry points of the group `kvbench.codecs`, imported when first asked for."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from kvbench.codecs.base import Codec
from kvbench.config import CodecChoice, Device
from kvbench.errors import UnavailableError, UsageError
from kvbench.plan import CodecFacts
from kvbench.record.gpu import cuda_unavailable

GROUP = "kvbench.codecs"


@dataclass(frozen=True)
class CodecInfo:
    """One line of `kvbench codecs`. What only the codec itself can tell is empty where it cannot be loaded."""

    name: str
    origin: str  # the distribution that brings it, with its version
    unavailable: str | None  # why it cannot be used here at all
    summary: str = ""
    lossless: bool | None = None
    axes: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()  # name=default
    devices: tuple[str, ...] = ()  # where it can run here


def names() -> list[str]:
    """Every registered codec, usable or not, in alphabetical order."""
    return sorted(_found())


def load(name: str) -> type[Codec]:
    """The class of a codec.

    Raises:
        UsageError: no codec has this name; the text lists those that exist.
        UnavailableError: it is registered but cannot be used here; the text says why.
    """
    loaded = _load(name)
    if isinstance(loaded, str):
        raise UnavailableError(f"codec {name!r} cannot be used here: {loaded}")
    return loaded


def make(name: str, params: dict[str, Any]) -> Codec:
    """A codec with these parameters, defaults for the rest. Raises what `load` does, and UsageError for a parameter."""
    return _make(name, load(name), params)


def facts(choice: CodecChoice, device: Device) -> CodecFacts:
    """What planning must know: the axes, the device it will run on, and why it cannot if it cannot.

    `auto` takes CUDA where the codec can run there and the CPU otherwise. Raises UsageError for an unknown name or
    a parameter that cannot be used.
    """
    loaded = _load(choice.name)
    if isinstance(loaded, str):
        return CodecFacts(axes=frozenset(), device="cuda" if device == "cuda" else "cpu", unavailable=loaded)
    codec = _make(choice.name, loaded, choice.params)
    without_cuda = codec.problem_on("cuda") or cuda_unavailable()
    if device == "cuda" or (device == "auto" and without_cuda is None):
        return CodecFacts(axes=codec.axes, device="cuda", unavailable=without_cuda)
    return CodecFacts(axes=codec.axes, device="cpu", unavailable=codec.problem_on("cpu"))


def describe() -> list[CodecInfo]:
    """Every registered codec, with the reason beside those that cannot be used here."""
    return [_describe(name) for name in names()]


def _describe(name: str) -> CodecInfo:
    origin = " and ".join(dict.fromkeys(_origin(entry) for entry in _found()[name]))
    loaded = _load(name)
    if isinstance(loaded, str):
        return CodecInfo(name, origin, unavailable=loaded)
    reasons = {"cpu": loaded.unavailable("cpu"), "cuda": _without_cuda(loaded)}
    devices = tuple(device for device, reason in reasons.items() if reason is None)
    return CodecInfo(
        name,
        origin,
        unavailable=None if devices else _joined(reasons),
        summary=loaded.summary,
        lossless=loaded.lossless,
        axes=tuple(sorted(loaded.axes)),
        parameters=tuple(f"{field}={_shown(info)}" for field, info in loaded.model_fields.items()),
        devices=devices,
    )


def _shown(field: FieldInfo) -> object:
    default = field.get_default(call_default_factory=True)
    return "none" if default in ("", {}) else default


def _joined(reasons: dict[str, str | None]) -> str:
    if len(set(reasons.values())) == 1:
        return str(reasons["cpu"])
    return "; ".join(f"{device}: {reason}" for device, reason in reasons.items())


def _without_cuda(codec: type[Codec]) -> str | None:
    return codec.unavailable("cuda") or cuda_unavailable()


def _make(name: str, codec: type[Codec], params: dict[str, Any]) -> Codec:
    try:
        return codec.model_validate(params)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            taken = ", ".join(codec.model_fields) or "none"
            raise UsageError(f"codec {name!r} has no parameter {place!r}; it takes: {taken}") from None
        message = str(first["msg"]).removeprefix("Value error, ")
        raise UsageError(f"codec {name!r}, parameter {place}: {message} (got {first['input']!r})") from None


def _load(name: str) -> type[Codec] | str:
    """The class, or why it cannot be had. Raises UsageError for an unknown name."""
    found = _found()
    if name not in found:
        raise UsageError(f"unknown codec {name!r}; use one of {', '.join(sorted(found)) or 'none (none is installed)'}")
    if len({entry.value for entry in found[name]}) > 1:
        rivals = " and ".join(f"{_origin(entry)} ({entry.value})" for entry in found[name])
        return f"two packages bring a codec of this name, {rivals}: uninstall one"
    entry = found[name][0]
    try:
        loaded = entry.load()
    except Exception as error:  # noqa: BLE001  whatever an import raises is the reason the user needs
        return f"{entry.value} does not load ({type(error).__name__}: {error})"
    if not (isinstance(loaded, type) and issubclass(loaded, Codec)):
        return f"{entry.value} is not a subclass of kvbench.codecs.base.Codec"
    return loaded


def _found() -> dict[str, tuple[EntryPoint, ...]]:
    return _scan(tuple(sys.path))


@cache
def _scan(_path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    """Entry points by name; kept for as long as the import path stays what it was."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in sorted(entry_points(group=GROUP), key=_origin):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def _origin(entry: EntryPoint) -> str:
    return "unknown" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
