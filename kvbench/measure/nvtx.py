"""Owns the NVTX ranges a profiler shows around samples; without a profiler they do nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager

import nvtx

DOMAIN = "kvbench"


def marked(text: str) -> AbstractContextManager[object]:
    """A range named `text` in the domain `kvbench`. A range costs time: put it around a timed call, never inside."""
    annotation: AbstractContextManager[object] = nvtx.annotate(text, domain=DOMAIN)
    return annotation
