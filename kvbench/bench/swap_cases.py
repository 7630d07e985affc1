"""Owns the cases of `swap`: batches, blocks, codecs, paths, directions and what runs beside, and which cannot be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

from kvbench.codecs import profile as profiles
from kvbench.codecs import registry as codecs
from kvbench.config import CodecChoice, Experiment
from kvbench.errors import UsageError
from kvbench.geometry import DTYPE_BYTES, DType
from kvbench.plan import CodecFacts, Plan, SkippedCase, codec_cells
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import Case, TensorSpec

BLOCKS = (32, 128, 512, 2048)
BLOCK_BYTES = 32 << 10
SOURCE = "kv"
SOAK_BLOCKS = 64  # of the cache that a soak swaps
SOAK_BLOCK_BYTES = 4096
SOAK_PLANES = 2
_HEAD_SIZES = (128, 64, 32, 16)
_HEADS = 8


def cases(experiment: Experiment, cuda: CudaFacts | str) -> Plan:
    """The product of everything that was asked for; what cannot be done here is skipped with its reason.

    Raises UsageError for codecs other than cuszp and raw, and for blocks that are no whole heads.
    """
    on_gpu = experiment.device != "cpu" and isinstance(cuda, CudaFacts)
    planned = _soaks(experiment, on_gpu) if experiment.soak else _swaps(experiment, on_gpu)
    kept: dict[str, Case] = {}
    skipped: dict[str, SkippedCase] = {}
    for case in planned:
        obstacle = _obstacle(case, on_gpu)
        if obstacle is None:
            kept.setdefault(case.id, case)
        else:
            skipped.setdefault(case.id, SkippedCase(case, *obstacle))
    return Plan(tuple(kept.values()), tuple(skipped.values()))


def block_shape(block_bytes: int, dtype: DType) -> tuple[int, int, int]:
    """Tokens, heads and head size of a block of one plane: 8 heads of 128 where they fit, else fewer and smaller ones.

    Raises UsageError where not even 16 channels do.
    """
    elements, rest = divmod(block_bytes, DTYPE_BYTES[dtype])
    for size, heads in product(_HEAD_SIZES, (_HEADS, 1)):
        if not rest and elements and elements % (heads * size) == 0:
            return elements // (heads * size), heads, size
    raise UsageError(
        f"--block-bytes {block_bytes}: blocks of {dtype} are whole tokens of 16 channels at least; give a multiple of "
        f"{_HEAD_SIZES[-1] * DTYPE_BYTES[dtype]}"
    )


def _obstacle(case: Case, on_gpu: bool) -> tuple[str, str] | None:
    if case.beside not in (None, "nothing") and not on_gpu:
        return "no_gpu", f"{case.beside} beside a swap runs on the GPU's other multiprocessors; no GPU is used here"
    return None


def _swaps(experiment: Experiment, on_gpu: bool) -> Iterator[Case]:
    sources = experiment.source or (SOURCE,)
    dtypes: tuple[DType, ...] = experiment.dtype or ("bfloat16",)
    sizes = product(experiment.block_bytes or (BLOCK_BYTES,), experiment.blocks or BLOCKS)
    for (block_bytes, blocks), dtype, source in product(sizes, dtypes, sources):
        shape = block_shape(block_bytes, dtype)
        planes = math.gcd(blocks, experiment.planes)
        for codec, (path, direction, beside) in product(
            _codecs(experiment), product(experiment.path, experiment.direction, experiment.beside)
        ):
            if codec["codec"] == "raw" and path not in ("raw", "auto"):
                continue  # there is nothing to code
            if codec["codec"] != "raw" and path == "raw":
                codec = _RAW  # the same copy for every bound
            yield _case(
                experiment, on_gpu, codec, source, dtype, (blocks // planes * shape[0] * planes, *shape[1:]),
                blocks=blocks, block_bytes=block_bytes, planes=planes, path=path, direction=direction, beside=beside,
                checksum=experiment.checksum or None,
            )  # fmt: skip


def _soaks(experiment: Experiment, on_gpu: bool) -> Iterator[Case]:
    dtypes: tuple[DType, ...] = experiment.dtype or ("float32",)
    blocks, block_bytes = (experiment.blocks or (SOAK_BLOCKS,))[0], (experiment.block_bytes or (SOAK_BLOCK_BYTES,))[0]
    planes = experiment.planes if "planes" in experiment.model_fields_set else SOAK_PLANES
    for dtype, codec, path in product(dtypes, _codecs(experiment), experiment.path):
        if codec["codec"] == "raw" and path not in ("raw", "auto"):
            continue
        if path == "raw":
            codec = _RAW
        tokens, *rest = block_shape(block_bytes, dtype)
        yield _case(
            experiment, on_gpu, codec, (experiment.source or (SOURCE,))[0], dtype, (blocks * planes * tokens, *rest),
            blocks=blocks, block_bytes=block_bytes, planes=planes, path=path, direction="both",
            checksum=experiment.checksum or None, soak=experiment.soak,
        )  # fmt: skip


_RAW: dict[str, Any] = {"codec": "raw"}


def _codecs(experiment: Experiment) -> Iterator[dict[str, Any]]:
    """The fields of a case that say how its planes are coded."""
    if experiment.profile is not None:
        yield {"codec": "profile", "profile": profiles.load(experiment.profile).label}
        if experiment.soak:
            return
    for choice in experiment.codec if experiment.profile is None else ():
        facts = _facts(choice)
        for params, bound in codec_cells(experiment, choice, facts.axes - {"bound_policy"}):
            if set(params) - {"mode"}:
                odd = ", ".join(sorted(set(params) - {"mode"}))
                raise UsageError(f"--codec {choice.name}: the swap engine takes a mode alone, not {odd}; leave it out")
            yield {"codec": choice.name, "codec_params": params, "mode": params.get("mode"), "bound": bound}


def _facts(choice: CodecChoice) -> CodecFacts:
    if choice.name not in ("cuszp", "raw"):
        raise UsageError(f"--codec {choice.name}: the swap engine moves blocks as cuszp or raw; use one of these")
    return codecs.facts(choice, device="auto")


def _case(
    experiment: Experiment,
    on_gpu: bool,
    codec: dict[str, Any],
    source: str,
    dtype: DType,
    shape: tuple[int, ...],
    **fields: Any,
) -> Case:
    elements = math.prod(shape)
    tensor = TensorSpec(source=source, tensor="cache", dtype="float32", shape=shape, source_layout="thd")
    common: dict[str, Any] = {"command": experiment.command, "seed": experiment.seed, "dtype": dtype}
    where: dict[str, Any] = {"device": "cuda" if on_gpu else "cpu", "numa_node": experiment.numa_node}
    if not on_gpu:
        where["threads"] = experiment.threads
    size = {"tensor": tensor, "shape": shape, "layout": "thd", "elements": elements}
    return Case.model_validate({**common, **where, **size, **codec, **fields})
