"""Owns the options that name a model, for every command that runs one."""

from __future__ import annotations

from typing import Annotated

import typer

ModelOption = typer.Option("--model", metavar="DIR|NAME", help="A model's folder, or its hub name.")
Gguf = Annotated[
    str | None, typer.Option("--gguf", metavar="FILE", help="GGUF file in --model that holds the weights.")
]
Revision = Annotated[str | None, typer.Option("--revision", metavar="R", help="Branch, tag or commit of a hub model.")]
