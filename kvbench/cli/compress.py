"""Owns `kvbench compress`: one codec on given tensors, and the frame file it makes of one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvbench.cli.options import Asked, experiment_options
from kvbench.errors import UsageError

if TYPE_CHECKING:
    from kvbench.record.schema import Case

SUFFIX = ".cszp"
SAVE_FRAME = typer.Option(
    "--save-frame", metavar="FILE.cszp", help="Also write the compressed tensor; `kvbench decompress` reads it."
)


@experiment_options()
def compress(asked: Asked, save_frame: Annotated[Path | None, SAVE_FRAME] = None) -> None:
    """Compress tensors and measure ratio, error and speed: --input FILE, a --source, or made-up ones of a size."""
    from kvbench.cli.experiment import run_experiment

    if save_frame is None:
        run_experiment("compress", asked)
        return
    _check_target(save_frame)
    planned = run_experiment("compress", asked, check=_check_single)
    if not asked.dry_run:
        _save(save_frame, planned.plan.cases[0])


def _check_target(path: Path) -> None:
    if path.suffix != SUFFIX or path.is_dir():
        raise UsageError(f"--save-frame {path}: give a file name ending in {SUFFIX}")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"--save-frame {path}: folder {path.parent} is missing or cannot be written")


def _check_single(cases: tuple[Case, ...]) -> None:
    if len(cases) != 1:
        raise UsageError(f"--save-frame writes one tensor, but {len(cases)} cases are planned; choose one of each")
    if cases[0].codec == "raw" and not cases[0].before_codec:
        raise UsageError("--save-frame: codec 'raw' has no frame; use another, such as cuszp")


def _save(path: Path, case: Case) -> None:
    """Encode once more, outside all timing; the same bytes come out."""
    import torch

    from kvbench.bench.case_codec import codec_of_case
    from kvbench.codecs import frame
    from kvbench.codecs.encoded import EncodedTensor
    from kvbench.codecs.payload import EncodedPayload
    from kvbench.tensors import registry as tensors
    from kvbench.tensors.layout import as_view

    assert case.tensor is not None
    view = as_view(tensors.load(case.tensor, case.seed), case.tensor, case.layout, case.dtype)
    codec = codec_of_case(case)
    out = torch.empty(codec.capacity(view.tensor.numel(), view.tensor.dtype), dtype=torch.uint8)
    encoded = codec.encode(view, out, case.bound)
    assert isinstance(encoded, EncodedTensor | EncodedPayload)
    frame.save(path, encoded)
    typer.echo(f"frame: {path} ({encoded.nbytes()} bytes)")
