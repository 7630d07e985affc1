"""Owns the options shared by commands that run an experiment, worded once; every value stays text until validated."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer


def _many(*flags: str, metavar: str, help: str) -> Any:  # noqa: A002  typer's own word
    metavar = f"{metavar}..."
    return Annotated[list[str] | None, typer.Option(*flags, metavar=metavar, help=help)]


def _one(*flags: str, metavar: str, help: str) -> Any:  # noqa: A002
    return Annotated[str | None, typer.Option(*flags, metavar=metavar, help=help)]


def precision_option(default: float) -> Any:
    """--precision of a command whose default this is."""
    return _one(
        "--precision",
        metavar="X",
        help="A phase without --iterations ends when the 95 % interval of its median is within this part of it, each "
        f"way [default: {default}]",
    )


# By field name of Experiment.
FIELD_OPTIONS: dict[str, Any] = {
    "codec": _many(
        "--codec", metavar="NAME", help="Codecs; `kvbench codecs` lists them [default: cuszp; for sweep raw too]"
    ),
    "mode": _many("--mode", "--encoding-mode", metavar="MODE", help="fixed, plain or outlier [default: plain]"),
    "error_bound": _many(
        "--error-bound", metavar="X", help="Error bounds, in the unit of --bound-kind [default: 1e-2]"
    ),
    "bound_kind": _many(
        "--bound-kind",
        "--bound",
        metavar="KIND",
        help="rel: fraction of max - min of a tensor; abs: the tensor's own unit; std: fraction of its standard "
        "deviation [default: rel]",
    ),
    "bound_policy": _many(
        "--bound-policy",
        metavar="POLICY",
        help="strict: no value may exceed the bound; compatible: the original codec's bytes, any excess counted "
        "[default: strict]",
    ),
    "source": _many(
        "--source",
        metavar="NAME",
        help="Named tensors: sample (a captured cache), kv, gaussian, smooth, constant, adversarial "
        "[default: kv if a size is given, else sample]",
    ),
    "input": _many("--input", metavar="FILE", help="Tensor files: .npy, .npz, .safetensors."),
    "tensor": _one("--tensor", metavar="GLOB", help="Tensors to take from a file [default: *]"),
    "source_layout": _one(
        "--source-layout",
        metavar="LAYOUT",
        help="How files store a tensor: thd (tokens, heads, head size), htd or hdt.",
    ),
    "layout": _many("--layout", metavar="LAYOUT", help="What the codec sees: thd, htd or hdt [default: thd]"),
    "transform": _many(
        "--transform",
        metavar="CHAIN",
        help="Transforms before the codec, undone after it, in order: center,hadamard or derope=100000,center; of "
        "keep-first, layout, center, scale, hadamard, derope; none for no transform [default: none]",
    ),
    "keep_first": _many(
        "--keep-first", metavar="N", help="Tokens at the front that stay raw, counted in the ratio [default: 0]"
    ),
    "profile": _one(
        "--profile",
        metavar="FILE",
        help="YAML file that gives each layer's K and V its codec, transforms and absolute bound.",
    ),
    "layers": _many("--layers", metavar="N", help="Layers to take, from 0 [default: all]"),
    "tensor_size": _many("--tensor-size", "--tensor-sizes", metavar="N", help="Sizes in elements of --dtype."),
    "geometry": _many(
        "--geometry",
        metavar="SHAPE",
        help="Sizes in tokens: a model's name, NAME,tokens=4096, or "
        "layers=32,heads=8,head_dim=128,dtype=bf16,tokens=4096.",
    ),
    "dtype": _many(
        "--dtype",
        metavar="TYPE",
        help="float32, bfloat16 or float16 [default: the tensor's own; float32 for made-up ones]",
    ),
    "device": _one("--device", metavar="DEVICE", help="auto, cpu or cuda [default: auto]"),
    "device_id": _one("--device-id", metavar="N", help="Which GPU, from 0 [default: 0]"),
    "threads": _one("--threads", metavar="N", help="CPU threads; 0 means all [default: 0]"),
    "iterations": _one(
        "--iterations", metavar="N", help="Timed samples a phase [default: until the median is known to --precision]"
    ),
    "time_limit": _one(
        "--time-limit", metavar="SECONDS", help="Seconds of sampling a phase without --iterations [default: 0.15]"
    ),
    "precision": precision_option(0.02),
    "blocks": _many(
        "--blocks",
        metavar="N",
        help="Numbers of scattered blocks to copy [default: 32 128 512 2048; none where a size is asked]",
    ),
    "block_bytes": _many("--block-bytes", metavar="BYTES", help="Bytes of one scattered block [default: 32768]"),
    "numa_node": _one("--numa-node", metavar="N", help="NUMA node of the host memory [default: the kernel's choice]"),
    "link_gbps": _one("--link-gbps", metavar="X", help="Link speed in GB/s (1e9 bytes), for break-even [default: 25]"),
    "baseline": _one("--baseline", metavar="RUN", help="Take the link speed from this `kvbench baseline` run."),
    "seed": _one("--seed", metavar="N", help="Seed of made-up tensors [default: 0]"),
    "ab": Annotated[
        bool | None,
        typer.Option(
            "--ab",
            help="Time the two codecs of --codec in turn, in pairs of random order, and say of each phase whether the "
            "second (B) is faster, slower, same or unclear against the first (A).",
        ),
    ],
}

COPY_OPTIONS = frozenset({"blocks", "block_bytes", "numa_node"})  # of copies without a codec

CONFIG = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Experiment in YAML; options win over it."),
]
OUTPUT = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="PATH",
        help="Run folder [default: results/<time>-<command>-<id>]; a name ending in .json or .csv is one table beside "
        "the usual folder.",
    ),
]
RESUME = Annotated[
    Path | None,
    typer.Option("--resume", metavar="RUN", help="Finish this interrupted run, in its folder."),
]
DRY_RUN = Annotated[bool, typer.Option("--dry-run", help="Show the cases and write nothing.")]
CHROME_TRACE = Annotated[
    Path | None,
    typer.Option(
        "--chrome-trace",
        metavar="FILE.json",
        help="Also trace this process with torch's profiler, for Perfetto or Chrome; the times then hold its own work.",
    ),
]
RUN_OPTIONS: dict[str, tuple[Any, Any]] = {
    "config": (CONFIG, None),
    "output": (OUTPUT, None),
    "resume": (RESUME, None),
    "dry_run": (DRY_RUN, False),
    "chrome_trace": (CHROME_TRACE, None),
}


@dataclass(frozen=True)
class Asked:
    """What one command line asked for: fields of Experiment as text (given ones only), and what to do with the run."""

    fields: dict[str, Any]
    config: Path | None
    output: Path | None
    resume: Path | None
    dry_run: bool
    chrome_trace: Path | None = None


def experiment_options(
    *, without: frozenset[str] = COPY_OPTIONS, instead: Mapping[str, Any] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command every option of an experiment but those named, collected into its first parameter, an Asked.

    The command's further parameters stay options of its own. `instead` has the options that are worded for this
    command alone, by field.
    """
    options = {name: option for name, option in (FIELD_OPTIONS | dict(instead or {})).items() if name not in without}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        shared = [_keyword(name, option, None) for name, option in options.items()]
        shared += [_keyword(name, annotation, default) for name, (annotation, default) in RUN_OPTIONS.items()]

        def call(**values: Any) -> None:
            fields = {name: values.pop(name) for name in options}
            run = {name: values.pop(name) for name in RUN_OPTIONS}
            command(Asked(fields={name: value for name, value in fields.items() if value is not None}, **run), **values)

        call.__name__, call.__doc__ = command.__name__, command.__doc__
        vars(call)["__signature__"] = inspect.Signature([*own, *shared])
        return call

    return decorate


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
