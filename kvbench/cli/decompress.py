"""Owns `kvbench decompress`: one `.cszp` frame back to a tensor file."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvbench.errors import UsageError
from kvbench.geometry import DTYPE_BYTES

if TYPE_CHECKING:
    import torch

    from kvbench.codecs.frame_header import FrameHeader
    from kvbench.codecs.payload_header import PayloadHeader

TENSOR_NAME = "tensor"  # what a .safetensors file calls it


def decompress(
    file: Annotated[Path, typer.Argument(metavar="FILE.cszp", help="A frame: one encoded tensor.")],
    output: Annotated[
        Path,
        typer.Option("--output", metavar="PATH", help="Ends in .npy or .safetensors; bfloat16 needs .safetensors."),
    ],
    threads: Annotated[int, typer.Option("--threads", metavar="N", help="CPU threads; 0 means all.", min=0)] = 0,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="Profile whose calibrated vectors the frame names."),
    ] = None,
) -> None:
    """Decode a .cszp file into a tensor file with the original's shape and dtype."""
    writer = _WRITERS.get(output.suffix)
    if writer is None:
        raise UsageError(f"--output {output}: use a name that ends in {' or '.join(_WRITERS)}")
    from kvbench.codecs import frame
    from kvbench.codecs.stored import codec_of, empty_like_decoded
    from kvbench.record.files import replacing

    if profile is not None:
        from kvbench.codecs import profile as profiles

        profiles.load(profile)  # makes its vectors known
    encoded = frame.load(file)
    header = encoded.header
    if header.dtype == "bfloat16" and output.suffix == ".npy":
        raise UsageError(f"{file} holds bfloat16, which .npy has no type for: use --output {output.stem}.safetensors")
    _check_memory(file, header)
    tensor = empty_like_decoded(encoded)
    codec_of(encoded, threads).decode(encoded, tensor)
    with replacing(output) as temporary:
        writer(temporary, tensor, header)
    shape = " x ".join(str(size) for size in header.shape)
    typer.echo(f"{output}: {header.dtype} [{shape}], layout {header.layout}, {tensor.nbytes} bytes of values")


def _check_memory(file: Path, header: FrameHeader | PayloadHeader) -> None:
    """A few bytes may stand for a tensor of gigabytes; say so before the machine starts to swap."""
    needed = math.prod(header.shape) * DTYPE_BYTES[header.dtype]
    available = _available_bytes()
    if needed > available:
        raise UsageError(
            f"{file} decodes to {needed / 1e9:.1f} GB, this machine has {available / 1e9:.1f} GB of memory free: "
            "use a machine with more"
        )


def _available_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


def _write_npy(path: Path, tensor: torch.Tensor, _header: FrameHeader | PayloadHeader) -> None:
    import numpy as np

    with path.open("wb") as file:
        np.save(file, tensor.numpy(), allow_pickle=False)


def _write_safetensors(path: Path, tensor: torch.Tensor, header: FrameHeader | PayloadHeader) -> None:
    from kvbench.record.schema import SCHEMA_VERSION
    from kvbench.record.tensor_file import save_safetensors
    from kvbench.tensors.file_formats import SCHEMA_KEY

    metadata = {SCHEMA_KEY: str(SCHEMA_VERSION), "layout": header.layout}
    save_safetensors(path, {TENSOR_NAME: tensor}, metadata)


_WRITERS: dict[str, Callable[[Path, torch.Tensor, FrameHeader | PayloadHeader], None]] = {
    ".npy": _write_npy,
    ".safetensors": _write_safetensors,
}
