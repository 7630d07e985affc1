"""Owns `kvbench swap`: blocks of a KV cache out to host memory and back, and soaks of the engine that does it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from kvbench.cli.options import FIELD_OPTIONS, Asked, experiment_options

# As in kvbench.config.SWAP_TAKES: the engine has codecs of its own, and its cache is made up.
TAKEN = {"codec", "mode", "error_bound", "bound_kind", "profile", "source", "dtype", "device", "device_id", "threads"}
TAKEN |= {"iterations", "time_limit", "precision", "blocks", "block_bytes", "numa_node", "seed"}

Paths = Annotated[
    list[str] | None,
    typer.Option(
        "--path",
        metavar="PATH...",
        help="fused: coded into host memory itself; staged: by a ring on the GPU; raw: as it is; auto: what the cost "
        "model expects to be quickest [default: all of them]",
    ),
]
Directions = Annotated[
    list[str] | None, typer.Option("--direction", metavar="WAY...", help="out and in [default: both]")
]
Beside = Annotated[
    list[str] | None,
    typer.Option(
        "--beside",
        metavar="WORK...",
        help="What the GPU computes meanwhile, whose slow-down is told: nothing, gemm, attention "
        "[default: nothing gemm]",
    ),
]
Planes = Annotated[
    str | None,
    typer.Option("--planes", metavar="N", help="Blocks of a slot, K and V of every layer [default: 64; of a soak 2]"),
]
Checksum = Annotated[
    bool | None, typer.Option("--checksum", help="Give every stream a checksum and look at it on the way in.")
]
Soak = Annotated[
    str | None,
    typer.Option(
        "--soak",
        metavar="N|SECONDSs",
        help="Random traffic for so many operations, or seconds as in 300s, instead of timed batches; every loaded "
        "block is looked at.",
    ),
]


@experiment_options(without=frozenset(FIELD_OPTIONS) - TAKEN)
def swap(
    asked: Asked,
    path: Paths = None,
    direction: Directions = None,
    beside: Beside = None,
    planes: Planes = None,
    checksum: Checksum = None,
    soak: Soak = None,
) -> None:
    """Swap blocks of a KV cache out to host memory and back: by each path, alone and beside other work of the GPU.

    Blocks are bfloat16, 32 KiB each, unless said otherwise; codecs are cuszp and raw. Everything that comes back is
    compared. Without a GPU the same engine swaps between two pieces of host memory.
    """
    from kvbench.cli.experiment import run_experiment

    own = {
        "path": path,
        "direction": direction,
        "beside": beside,
        "planes": planes,
        "checksum": checksum,
        "soak": soak,
    }
    given = {name: value for name, value in own.items() if value is not None}
    run_experiment("swap", replace(asked, fields={**asked.fields, **given}))
