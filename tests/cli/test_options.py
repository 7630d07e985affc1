"""Tests that the options say and take what the models do."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, get_args

import pytest
import typer

from kvbench.bound import BOUND_KINDS, BoundPolicy
from kvbench.cli.baseline import DEFAULTS, TAKEN, baseline
from kvbench.cli.multi import ListOptionCommand
from kvbench.cli.options import FIELD_OPTIONS, Asked, experiment_options
from kvbench.config import (
    BASELINE_FIELDS,
    E2E_FIELDS,
    MODEL_FIELDS,
    SWAP_FIELDS,
    TUNE_FIELDS,
    Device,
    Experiment,
    Layout,
    Mode,
)
from kvbench.geometry import DTYPE_BYTES
from kvbench.tensors import registry as tensors


def test_every_field_of_an_experiment_has_its_option() -> None:
    # `quality` has those about a model as options of its own, `swap` those about its engine, and so on.
    own = MODEL_FIELDS | SWAP_FIELDS | TUNE_FIELDS | E2E_FIELDS
    assert FIELD_OPTIONS.keys() | own == Experiment.model_fields.keys() - {"command"}
    assert not FIELD_OPTIONS.keys() & own


def test_baseline_takes_what_its_experiment_may_hold() -> None:
    assert TAKEN | {"command"} == BASELINE_FIELDS


@pytest.mark.parametrize(
    ("field", "choices"),
    [
        ("mode", get_args(Mode)),
        ("bound_kind", BOUND_KINDS),
        ("bound_policy", get_args(BoundPolicy)),
        ("layout", get_args(Layout)),
        ("source_layout", get_args(Layout)),
        ("device", get_args(Device)),
        ("dtype", tuple(DTYPE_BYTES)),
        ("source", tuple(tensors.names())),
    ],
)
def test_help_names_every_choice(field: str, choices: tuple[str, ...]) -> None:
    text = FIELD_OPTIONS[field].__metadata__[0].help
    assert [choice for choice in choices if choice not in text] == []


def test_help_states_the_default_of_the_model() -> None:
    defaults = Experiment(command="sweep")
    for field in (
        "mode",
        "bound_kind",
        "bound_policy",
        "layout",
        "tensor",
        "device",
        "device_id",
        "threads",
        "seed",
        "time_limit",
        "precision",
    ):
        value = getattr(defaults, field)
        shown = value[0] if isinstance(value, tuple) else value
        assert f"[default: {shown}]" in FIELD_OPTIONS[field].__metadata__[0].help


def test_baseline_states_a_precision_of_its_own() -> None:
    option = inspect.signature(baseline).parameters["precision"].annotation.__metadata__[0]
    assert f"[default: {DEFAULTS['precision']}]" in option.help
    assert "precision" not in (baseline.__doc__ or "")


def test_no_list_option_has_a_short_name() -> None:
    flags = [flag for option in FIELD_OPTIONS.values() for flag in option.__metadata__[0].param_decls]
    assert [flag for flag in flags if not flag.startswith("--")] == []


def test_given_options_are_collected_as_text_and_others_are_absent() -> None:
    seen: list[tuple[Asked, int]] = []

    @experiment_options(without=frozenset({"codec"}))
    def command(asked: Asked, own: Annotated[int, typer.Option("--own")] = 0) -> None:
        seen.append((asked, own))

    app = typer.Typer(add_completion=False)
    app.command("command", cls=ListOptionCommand)(command)
    line = "--mode fixed plain --seed 3 --tensor-sizes 1 2 --own 5 --output out --dry-run"
    single = typer.main.get_command(app)
    with single.make_context("command", line.split()) as context:
        single.invoke(context)
    [(asked, own)] = seen
    assert asked.fields == {"mode": ["fixed", "plain"], "seed": "3", "tensor_size": ["1", "2"]}
    assert (asked.output, asked.config, asked.resume, asked.dry_run, own) == (Path("out"), None, None, True, 5)
    assert {"codec", "own"}.isdisjoint(asked.fields)
