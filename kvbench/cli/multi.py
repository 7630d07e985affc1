"""Owns list options typed with spaces: `--x 1 2 3` means `--x 1 --x 2 --x 3`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from typer.core import TyperCommand, TyperOption

from kvbench.errors import UsageError


class ListOptionCommand(TyperCommand):
    """A typer command whose list options take all values up to the next option or `--`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = [param for param in self.params if isinstance(param, TyperOption) and not param.is_flag]
        long_names = {name: option.multiple for option in options for name in option.opts if name.startswith("--")}
        many = {name for name, multiple in long_names.items() if multiple}
        single = long_names.keys() - many
        rest: list[str] = super().parse_args(ctx, fold(args, many=many, single=single))
        return rest


class WrappingCommand(TyperCommand):
    """A typer command whose first argument names another command: that word and all after it stay as they are typed."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.allow_interspersed_args = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = [param for param in self.params if isinstance(param, TyperOption) and not param.is_flag]
        single = {name for option in options for name in option.opts}
        own = _before_command(args, single)
        rest: list[str] = super().parse_args(ctx, [*fold(args[:own], many=(), single=single), *args[own:]])
        return rest


def _before_command(args: Sequence[str], single: Collection[str]) -> int:
    """How many words stand before the first that is neither an option nor the value of one of `single`."""
    place = 0
    while place < len(args) and args[place].startswith("-"):
        place += 2 if args[place] in single else 1
    return min(place, len(args))


def fold(args: Sequence[str], *, many: Collection[str], single: Collection[str]) -> list[str]:
    """Rewrite the arguments so that every option carries its value: `--x=1`.

    `many` and `single` name the options that take several values and exactly one. A negative number, `-inf` or
    `-nan` is a value, not an option. `--` and all after it stay as they are. Raises UsageError for an option
    without a value or with an empty one, and for one of `single` that is given twice.
    """
    folded: list[str] = []
    given: dict[str, str] = {}  # the value of each single-valued option so far
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*folded, word, *rest]
        name, equals, value = word.partition("=")
        if name not in many and name not in single:
            folded.append(word)
            continue
        values = [value] if equals else []
        while rest and _is_value(rest[0]) and (name in many or not values):
            values.append(rest.pop(0))
        if not values:
            raise UsageError(f"{name} needs a value" + (f", not {rest[0]!r}" if rest else ""))
        if "" in values:
            raise UsageError(f"{name} needs a value, not ''; give one, or leave the option out")
        if name in single:
            if name in given:
                raise UsageError(f"{name} is given twice, with {given[name]} and {values[0]}; give it once")
            given[name] = values[0]
        folded += [f"{name}={one}" for one in values]
    return folded


def _is_value(word: str) -> bool:
    if not word.startswith("-") or word == "-":
        return True
    try:
        float(word)
    except ValueError:
        return False
    return True
