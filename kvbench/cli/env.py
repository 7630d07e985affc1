"""Owns `kvbench env`: the facts about this machine that every run records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer


def env(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines to read.")] = False) -> None:
    """Show hardware, system, versions, and whether CUDA can be used and if not why."""
    from kvbench.record.host import host_facts

    facts = host_facts()
    if as_json:
        typer.echo(json.dumps(facts, indent=2, allow_nan=False))
        return
    from rich import box
    from rich.table import Table

    from kvbench.cli.console import show

    table = Table("fact", "value", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name, value in _flat(facts):
        table.add_row(name, value)
    show(table)


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and texts of a nest of facts; what is empty or not known is left out."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, inside in enumerate(value):
                yield from _flat(inside, f"{prefix}{name}.{number}.")
        elif value not in (None, "", [], ()):
            yield prefix + name, _text(name, value)


def _text(name: str, value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if name.endswith("_bytes") and isinstance(value, int):
        return f"{value} ({value / 1e9:.1f} GB)"
    return str(value)
