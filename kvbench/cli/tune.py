"""Owns `kvbench tune`: a profile for a model and a target, and how far it holds on other texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from kvbench.cli.model_options import Gguf, ModelOption, Revision
from kvbench.cli.options import FIELD_OPTIONS, Asked, experiment_options
from kvbench.cli.quality import GreedyTokens, PrefixTokens, ScoreTokens

# As in kvbench.config.fields_of: the profile's codec, bounds and transforms are what tuning finds.
TAKEN = {"dtype", "device", "device_id", "threads", "iterations", "time_limit", "precision", "seed"}

MaxKl = Annotated[
    list[str] | None, typer.Option("--max-kl", metavar="X...", help="Mean KL in nat, each a profile of its own.")
]
MinRatio = Annotated[
    list[str] | None, typer.Option("--min-ratio", metavar="X...", help="Ratio to reach at the least KL, likewise.")
]
CalibrationText = Annotated[
    str | None,
    typer.Option("--text", metavar="NAME|FILE", help="The text to calibrate on [default: zlib-algorithm]"),
]
HeldOut = Annotated[
    list[str] | None,
    typer.Option(
        "--held-out",
        metavar="NAME|FILE...",
        help="Texts that tuning never sees and that judge the profile [default: address-1803 xz-faq]",
    ),
]
SaveProfile = Annotated[
    str | None,
    typer.Option(
        "--save-profile",
        metavar="FILE",
        help="The .yaml to write, with its means in a .safetensors beside it; several targets are added to its name.",
    ),
]


@experiment_options(without=frozenset(FIELD_OPTIONS) - TAKEN)
def tune(
    asked: Asked,
    model: Annotated[str | None, ModelOption] = None,
    gguf: Gguf = None,
    revision: Revision = None,
    max_kl: MaxKl = None,
    min_ratio: MinRatio = None,
    text: CalibrationText = None,
    held_out: HeldOut = None,
    save_profile: SaveProfile = None,
    prefix_tokens: PrefixTokens = None,
    score_tokens: ScoreTokens = None,
    greedy_tokens: GreedyTokens = None,
) -> None:
    """Find each layer's layout, mode, kept tokens, scales and bounds for a KL or ratio, and write them as a profile.

    The profile is then scored on the calibration text and on held-out ones. A target that cannot be met, or that the
    held-out texts miss, ends with exit code 1. This needs kvbench's extra `capture`.
    """
    from kvbench.cli.experiment import run_experiment

    own = {
        "model": model,
        "gguf": gguf,
        "revision": revision,
        "max_kl": max_kl,
        "min_ratio": min_ratio,
        "text": text,
        "held_out": held_out,
        "save_profile": save_profile,
        "prefix_tokens": prefix_tokens,
        "score_tokens": score_tokens,
        "greedy_tokens": greedy_tokens,
    }
    given = {name: value for name, value in own.items() if value is not None}
    run_experiment("tune", replace(asked, fields={**asked.fields, **given}))
