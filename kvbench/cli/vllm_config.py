"""Owns `kvbench vllm-config`: the JSON that puts kvbench into a vLLM server."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from kvbench.cli.console import say
from kvbench.errors import UsageError

_CpuBytes = Annotated[
    str, typer.Option("--cpu-bytes", metavar="N", help="Host memory for all ranks together, in bytes, such as 8e9.")
]
_Codec = Annotated[
    str | None,
    typer.Option(
        "--codec",
        metavar="NAME",
        help="cuszp; raw; fp8: the bytes of vLLM's own 8-bit cache, as they are [default: cuszp]",
    ),
]
_Bound = Annotated[
    str | None,
    typer.Option("--error-bound", metavar="X", help="Largest error, in the unit of --bound-kind [default: 1e-2]"),
]
_Kind = Annotated[
    str | None, typer.Option("--bound-kind", "--bound", metavar="KIND", help="rel, abs or std [default: rel]")
]
_Mode = Annotated[
    str | None,
    typer.Option("--mode", "--encoding-mode", metavar="MODE", help="fixed, plain or outlier [default: plain]"),
]
_Profile = Annotated[
    str | None,
    typer.Option(
        "--profile", metavar="FILE", help="A codec and a bound for each layer's K and V, instead of one bound."
    ),
]
_Pool = Annotated[
    str | None,
    typer.Option(
        "--pool",
        metavar="POOL",
        help="paged: memory is counted in real bytes, so more blocks fit; fixed: at raw size, so the same blocks stay "
        "resident as without compression [default: paged]",
    ),
]
_Path = Annotated[
    str | None,
    typer.Option(
        "--path",
        metavar="PATH",
        help="fused, staged, raw, or auto: what the cost model expects to be quickest [default: fused; of a fixed pool "
        "auto]",
    ),
]
_Staging = Annotated[
    str | None,
    typer.Option("--staging-mb", metavar="X", help="MB beside the cache for the staged path, each way [default: 64]"),
]
_Ratio = Annotated[
    str | None,
    typer.Option(
        "--most-ratio", metavar="X", help="Blocks that a paged pool can keep, over the raw count [default: 8]"
    ),
]
_Node = Annotated[
    str | None,
    typer.Option("--numa-node", metavar="N", help="NUMA node of the host memory [default: the kernel's choice]"),
]
_Verify = Annotated[bool, typer.Option("--verify", help="A checksum for every stream, looked at when it is restored.")]
_Stock = Annotated[
    bool, typer.Option("--stock", help="vLLM's own connector with the same memory instead, to compare with.")
]


def vllm_config(
    cpu_bytes: _CpuBytes,
    codec: _Codec = None,
    error_bound: _Bound = None,
    bound_kind: _Kind = None,
    mode: _Mode = None,
    profile: _Profile = None,
    pool: _Pool = None,
    path: _Path = None,
    staging_mb: _Staging = None,
    most_ratio: _Ratio = None,
    numa_node: _Node = None,
    verify: _Verify = False,
    stock: _Stock = False,
) -> None:
    """Print what vLLM takes as --kv-transfer-config, to offload KV blocks through kvbench.

    `vllm serve MODEL --kv-transfer-config "$(kvbench vllm-config --cpu-bytes 8e9 --error-bound 1e-2)"`
    """
    from kvbench.vllm.settings import read, stock_transfer_config, transfer_config

    options = {
        "codec": codec,
        "error_bound": error_bound,
        "bound_kind": bound_kind,
        "mode": mode,
        "profile": profile,
        "pool": pool,
        "path": path,
        "staging_mb": staging_mb,
        "most_ratio": most_ratio,
        "numa_node": numa_node,
        "verify": verify or None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    settings = read({"cpu_bytes_to_use": cpu_bytes, **given}, _option)
    if stock:
        if given:
            raise UsageError(f"{_option(next(iter(given)))} is kvbench's; --stock takes --cpu-bytes alone")
        config = stock_transfer_config(settings.cpu_bytes_to_use)
    else:
        config = transfer_config(settings)
    if settings.codec == "fp8":
        say("codec fp8 needs a server that was started with --kv-cache-dtype fp8")
    typer.echo(json.dumps(config))


def _option(field: str) -> str:
    """The option behind a key of the configuration."""
    return "--cpu-bytes" if field == "cpu_bytes_to_use" else "--" + field.replace("_", "-")
