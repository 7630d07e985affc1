"""Owns the NVTX ranges a profiler shows around samples; without a listener they do nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache
from typing import Any

import nvtx

DOMAIN = "kvbench"
_INJECTED = "NVTX_INJECTION64_PATH"  # set by a tool that listens, in the processes it starts

Mark = Callable[[str], AbstractContextManager[object]]
_NOTHING = nullcontext()
_also: list[Mark] = []


def marked(text: str) -> AbstractContextManager[object]:
    """A range named `text` in the domain `kvbench`. A range costs time: put it around a timed call, never inside."""
    domain = _domain()
    own = _NOTHING if domain is None else _Range(domain, text)
    return _together(own, text) if _also else own


@contextmanager
def also_marked(mark: Mark) -> Iterator[None]:
    """Until the block ends every range of `marked` is one of `mark` too."""
    _also.append(mark)
    try:
        yield
    finally:
        _also.remove(mark)


@contextmanager
def _together(own: AbstractContextManager[object], text: str) -> Iterator[None]:
    with ExitStack() as ranges:
        ranges.enter_context(own)
        for mark in _also:
            ranges.enter_context(mark(text))
        yield


class _Range:
    """One range of an NVTX domain, from enter to exit."""

    __slots__ = ("_attributes", "_domain")

    def __init__(self, domain: Any, text: str) -> None:
        self._domain = domain
        self._attributes = domain.get_event_attributes(message=text)

    def __enter__(self) -> None:
        self._domain.push_range(self._attributes)

    def __exit__(self, *_: object) -> None:
        self._domain.pop_range()


@cache
def _domain() -> Any:
    """The domain, or None where nothing listens."""
    domain = nvtx.get_domain(DOMAIN)
    if type(domain).__name__ != "DummyDomain":
        return domain
    return _unasked_domain() if _INJECTED in os.environ else None


def _unasked_domain() -> Any:
    """A domain of a tool that takes ranges but cannot say so, as Nsight Systems before 2023 cannot; None without one.

    The package asks `nvtxDomainIsEnabled` and gives a dummy where the answer is no, which is also that of a tool that
    does not know the question.
    """
    try:
        from nvtx._lib.lib import Domain, DomainHandle

        domain = object.__new__(Domain)
        domain.handle = DomainHandle(DOMAIN)
        domain.__init__(DOMAIN)
    except (AttributeError, ImportError, TypeError):  # parts that the package may rename
        return None
    return domain
