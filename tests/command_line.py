"""Owns command lines of tests that give an option in the place of one they have."""

from __future__ import annotations

from collections.abc import Sequence


def in_place(line: Sequence[str], options: Sequence[str]) -> list[str]:
    """`line` with `options`; the first of them replaces the one of its name, since an option may be given once."""
    kept = list(line)
    if options[0] in kept:
        at = kept.index(options[0])
        del kept[at : at + 2]
    return [*kept, *options]
