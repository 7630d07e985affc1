"""Owns the entry point that vLLM calls in each of its processes, and the names it finds kvbench's classes under.

Neither importing this module nor `register` loads CUDA, a compiled module or torch.
"""

from __future__ import annotations

import logging
from typing import Any

from kvbench.vllm.settings import CONNECTOR, MODULE, SPEC

logger = logging.getLogger(__name__)
_HOMES = {CONNECTOR: "kvbench.vllm.connector", SPEC: "kvbench.vllm.spec"}


def register() -> None:
    """Make the connector and the spec known by name; again: nothing. A vLLM without offloading is left alone."""
    try:
        from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory
        from vllm.v1.kv_offload.factory import OffloadingSpecFactory
    except ImportError as error:
        logger.warning("kvbench: this vLLM has no KV offloading (%s); its connector is not there", error)
        return
    _log_as_vllm_does()
    _add(KVConnectorFactory.register_connector, CONNECTOR)
    _add(OffloadingSpecFactory.register_spec, SPEC)


def _log_as_vllm_does() -> None:
    """kvbench's lines go where vLLM's go; without this only its warnings would be seen."""
    ours, theirs = logging.getLogger("kvbench"), logging.getLogger("vllm")
    if theirs.handlers and not ours.handlers:
        for handler in theirs.handlers:
            ours.addHandler(handler)
        ours.setLevel(theirs.level)
        ours.propagate = False


def _add(register_name: Any, name: str) -> None:
    try:
        register_name(name, MODULE, name)
    except ValueError:
        logger.debug("kvbench: %s is registered already", name)


def __getattr__(name: str) -> Any:
    """The classes, imported when vLLM asks for them."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)
