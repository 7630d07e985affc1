"""Owns the columns that say which case a row of any table is about."""

from __future__ import annotations

import json
from typing import Any

from kvbench.record.schema import CaseResult

# Column -> type in the long table, in the order of every table.
AXES: dict[str, str] = {
    "run": "string",
    "case": "string",
    "command": "string",
    "codec": "string",
    "codec_params": "string",
    "mode": "string",
    "bound_kind": "string",
    "error_bound": "double",
    "bound_policy": "string",
    "source": "string",
    "tensor": "string",
    "layer": "int64",
    "kv": "string",
    "source_layout": "string",
    "layout": "string",
    "transforms": "string",
    "profile": "string",
    "dtype": "string",
    "shape": "string",
    "elements": "int64",
    "raw_bytes": "int64",
    "device": "string",
    "direction": "string",
    "memory": "string",
    "method": "string",
    "blocks": "int64",
    "block_bytes": "int64",
    "numa_node": "int64",
    "peer_id": "int64",
    "threads": "int64",
    "keep_first": "int64",
    "path": "string",
    "beside": "string",
    "planes": "int64",
    "checksum": "bool",
    "soak": "string",
    "seed": "int64",
    "ab_side": "string",
    "rival": "string",
    "arm": "string",
    "trial": "int64",
    "workload": "string",
    "budget": "string",
    "request_rate": "double",
    "serving": "string",
}


def axis_values(result: CaseResult, run_id: str) -> dict[str, Any]:
    """One case's value in every column of AXES; None where an axis does not apply to it."""
    case = result.case
    tensor = case.tensor
    return {
        "run": run_id,
        "case": result.case_id,
        "command": case.command,
        "codec": case.codec,
        "codec_params": case.codec_params,
        "mode": case.mode,
        "bound_kind": None if case.bound is None else case.bound.kind,
        "error_bound": None if case.bound is None else case.bound.value,
        "bound_policy": case.codec_params.get("bound_policy"),
        "source": None if tensor is None else tensor.source,
        "tensor": None if tensor is None else tensor.tensor,
        "layer": None if tensor is None else tensor.layer,
        "kv": None if tensor is None else tensor.kv,
        "source_layout": None if tensor is None else tensor.source_layout,
        "layout": case.layout,
        "transforms": case.transforms,
        "profile": case.profile,
        "dtype": case.dtype,
        "shape": list(case.shape),
        "elements": case.elements,
        "raw_bytes": case.raw_bytes,
        "device": case.device,
        "direction": case.direction,
        "memory": case.memory,
        "method": case.method,
        "blocks": case.blocks,
        "block_bytes": case.block_bytes,
        "numa_node": case.numa_node,
        "peer_id": case.peer_id,
        "threads": case.threads,
        "keep_first": case.keep_first,
        "path": case.path,
        "beside": case.beside,
        "planes": case.planes,
        "checksum": case.checksum,
        "soak": case.soak,
        "seed": case.seed,
        "ab_side": None if case.rival is None else case.rival.side,
        "rival": None if case.rival is None else case.rival.model_dump(mode="json", exclude={"side"}),
        "arm": case.arm,
        "trial": case.trial,
        "workload": case.workload,
        "budget": case.budget,
        "request_rate": case.request_rate,
        "serving": case.serving,
    }


def cell_text(value: object) -> object:
    """A list or an object as JSON text, for tables whose cells are flat; everything else as it is."""
    return json.dumps(value, sort_keys=True, allow_nan=False) if isinstance(value, (dict, list)) else value
