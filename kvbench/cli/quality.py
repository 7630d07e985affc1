"""Owns `kvbench quality`: what a model makes of a KV cache that went through a codec."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from kvbench.cli.model_options import Gguf, ModelOption, Revision
from kvbench.cli.options import FIELD_OPTIONS, Asked, experiment_options

# As in kvbench.config.fields_of: a model and texts stand in for tensors, and no link plays a part.
TAKEN = {"codec", "mode", "error_bound", "bound_kind", "bound_policy", "layout", "dtype", "device", "device_id"}
TAKEN |= {"transform", "keep_first", "profile", "threads", "iterations", "time_limit", "precision", "seed"}


Texts = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        metavar="NAME|FILE...",
        help="Texts: moby-dick, python-execution-model, zlib-algorithm, address-1803, xz-faq, needle (a retrieval "
        "task), or UTF-8 files [default: the first two]",
    ),
]
PrefixTokens = Annotated[
    str | None, typer.Option("--prefix-tokens", metavar="N", help="Tokens whose cache is replaced [default: 1024]")
]
ScoreTokens = Annotated[
    str | None, typer.Option("--score-tokens", metavar="N", help="Tokens after them that are scored [default: 512]")
]
GreedyTokens = Annotated[
    str | None,
    typer.Option(
        "--greedy-tokens", metavar="N", help="Tokens the model writes itself; 0 leaves them out [default: 64]"
    ),
]


@experiment_options(without=frozenset(FIELD_OPTIONS) - TAKEN)
def quality(
    asked: Asked,
    model: Annotated[str | None, ModelOption] = None,
    gguf: Gguf = None,
    revision: Revision = None,
    text: Texts = None,
    prefix_tokens: PrefixTokens = None,
    score_tokens: ScoreTokens = None,
    greedy_tokens: GreedyTokens = None,
) -> None:
    """Replace a prefix's KV cache by its decoded version and score what a model says next, beside ratio and speed.

    The cache is bfloat16 unless --dtype says otherwise; the model computes in float32. `raw` is always measured too:
    it is the floor. This needs kvbench's extra `capture`: transformers, gguf and accelerate.
    """
    from kvbench.cli.experiment import run_experiment

    own = {
        "model": model,
        "gguf": gguf,
        "revision": revision,
        "text": text,
        "prefix_tokens": prefix_tokens,
        "score_tokens": score_tokens,
        "greedy_tokens": greedy_tokens,
    }
    given = {name: value for name, value in own.items() if value is not None}
    run_experiment("quality", replace(asked, fields={**asked.fields, **given}))
