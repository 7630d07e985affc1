"""Owns what a tensor's name tells: its layer, whether it is K or V; and the choice of tensors by glob and layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from kvbench.errors import UsageError

_KV_WORDS: dict[str, Literal["k", "v"]] = {
    "k": "k",
    "key": "k",
    "keys": "k",
    "v": "v",
    "value": "v",
    "values": "v",
}
_LAYER_WORD = re.compile(r"(?:layers?|blocks?|blk|h)(?P<joined>\d*)")
_LISTED_AT_MOST = 12


def parse_name(name: str) -> tuple[int | None, Literal["k", "v"] | None]:
    """The layer and kind a name tells, None for what it does not.

    Understood are `layers.0.k`, `layers.1.k_pre`, `layer_3_key`, `blk12.v`, `key_cache.7`, `past_key_values.2.value`:
    the last word for a key or value counts, and a number stands for a layer after a word such as `layers`, or when
    it is the only number of a name that tells K or V.
    """
    words = re.split(r"[^a-z0-9]+", name.lower())
    kinds = [_KV_WORDS[word] for word in words if word in _KV_WORDS]
    kind = kinds[-1] if kinds else None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        number = _LAYER_WORD.fullmatch(word)
        if number and (number["joined"] or following.isdigit()):
            return int(number["joined"] or following), kind
    numbers = [int(word) for word in words if word.isdigit()]
    return (numbers[0] if kind is not None and len(numbers) == 1 else None), kind


def select(names: Sequence[str], *, pattern: str, layers: Sequence[int], where: str) -> list[str]:
    """The names that match the glob and belong to one of `layers` (all when empty), in their given order.

    Raises UsageError naming `where` and what exists, when nothing matches or an asked layer is absent.
    """
    matching = [name for name in names if fnmatchcase(name, pattern)]
    if not matching:
        raise UsageError(f"{where} holds no tensor matching {pattern!r}; it has {listed(names)}")
    if not layers:
        return matching
    layer_of = {name: parse_name(name)[0] for name in matching}
    existing = sorted({layer for layer in layer_of.values() if layer is not None})
    if not existing:
        raise UsageError(f"{where}: no tensor's name tells its layer, so --layers cannot choose; use --tensor GLOB")
    for layer in layers:
        if layer not in existing:
            raise UsageError(f"{where} holds no layer {layer}; it has layers {listed(existing)}")
    return [name for name in matching if layer_of[name] in layers]


def listed(items: Iterable[object]) -> str:
    """A comma-separated list for a message, shortened when long."""
    texts = [str(item) for item in items]
    more = len(texts) - _LISTED_AT_MOST
    shown = ", ".join(texts[:_LISTED_AT_MOST]) or "none"
    return f"{shown} and {more} more" if more > 0 else shown
