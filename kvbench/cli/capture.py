"""Owns `kvbench capture`: a model's KV cache of a text, into a .safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from kvbench.cli.model_options import Gguf, ModelOption, Revision
from kvbench.errors import UsageError
from kvbench.geometry import parse_dtype

TextFile = Annotated[Path, typer.Option("--text", metavar="FILE", help="UTF-8 text the model reads.")]
Tokens = Annotated[str, typer.Option("--tokens", metavar="N", help="How many of its tokens.")]
Output = Annotated[Path, typer.Option("--output", metavar="FILE", help="A new .safetensors file.")]
Layers = Annotated[
    list[str] | None, typer.Option("--layers", metavar="N...", help="Layers to write, from 0 [default: all]")
]
CacheDtype = Annotated[
    str | None,
    typer.Option("--dtype", metavar="TYPE", help="Element type of the cache [default: the model's own, else bfloat16]"),
]
PreRope = Annotated[bool, typer.Option("--pre-rope", help="Write the keys before rotary rotation as well.")]
ModelDevice = Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where the model runs.")]
Note = Annotated[
    str | None, typer.Option("--note", metavar="TEXT", help="Kept in the header: source and licence of the text.")
]


def capture(
    model: Annotated[str, ModelOption],
    text: TextFile,
    tokens: Tokens,
    output: Output,
    gguf: Gguf = None,
    revision: Revision = None,
    layers: Layers = None,
    dtype: CacheDtype = None,
    pre_rope: PreRope = False,
    device: ModelDevice = "auto",
    note: Note = None,
) -> None:
    """Run a Hugging Face model over a text and write its K and V, as files that --input takes.

    The header says what was captured. This needs kvbench's extra `capture`: transformers, gguf and accelerate.
    """
    from kvbench.models.capture import CaptureRequest
    from kvbench.models.capture import capture as run

    written = run(
        CaptureRequest(
            model=model,
            text=text,
            tokens=_whole_number("--tokens", tokens, least=1),
            output=output,
            gguf=gguf,
            revision=revision,
            layers=tuple(_whole_number("--layers", layer, least=0) for layer in layers or ()),
            dtype=None if dtype is None else parse_dtype(dtype),
            pre_rope=pre_rope,
            device=device,
            note=note,
        )
    )
    typer.echo(
        f"{written.path}: {len(written.names)} tensors of {tokens} tokens, {written.metadata['dtype']}, "
        f"{written.file_bytes} bytes; perplexity of the text {written.metadata['perplexity']}"
    )


def _whole_number(option: str, text: str, *, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise UsageError(f"{option} {text}: give a whole number from {least}")
    return int(text)
