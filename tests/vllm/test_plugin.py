"""The entry point: what it loads, that it may be called again, and what there is where vLLM is installed."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import warnings
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

import pytest

from kvbench.vllm import plugin
from kvbench.vllm.reports import StoreOrder, StoreReport, WorkerReport


class Factory:
    """A registry like vLLM's, which refuses a name that it has."""

    def __init__(self) -> None:
        self.names: dict[str, tuple[str, str]] = {}

    def add(self, name: str, module: str, class_name: str) -> None:
        if name in self.names:
            raise ValueError(f"{name!r} is already registered")
        self.names[name] = (module, class_name)

    register_connector = register_spec = add


def test_registered_once_however_often_called(monkeypatch: pytest.MonkeyPatch) -> None:
    connectors, specs = Factory(), Factory()
    for name, member, factory in (
        ("vllm.distributed.kv_transfer.kv_connector.factory", "KVConnectorFactory", connectors),
        ("vllm.v1.kv_offload.factory", "OffloadingSpecFactory", specs),
    ):
        parts = name.split(".")
        for end in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
        module = ModuleType(name)
        setattr(module, member, factory)
        monkeypatch.setitem(sys.modules, name, module)
    plugin.register()
    plugin.register()
    assert connectors.names == {"KVBenchConnector": ("kvbench.vllm.plugin", "KVBenchConnector")}
    assert specs.names == {"KVBenchSpec": ("kvbench.vllm.plugin", "KVBenchSpec")}


def test_vllm_finds_it_by_its_entry_point() -> None:
    (entry,) = entry_points(group="vllm.general_plugins", name="kvbench")
    assert entry.value == "kvbench.vllm.plugin:register"


def test_nothing_heavy_is_loaded_with_it() -> None:
    code = "import json, sys, kvbench.vllm.plugin; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(run.stdout))
    assert not {"torch", "vllm", "kvbench._ext._cpu", "kvbench._ext._cuda", "kvbench.swap"} & loaded


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="KVBenchOther"):
        plugin.KVBenchOther  # noqa: B018


def quietly_connector() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return plugin.KVBenchConnector


@pytest.mark.vllm
def test_the_classes_are_vllms() -> None:
    connector = quietly_connector()
    from vllm.distributed.kv_transfer.kv_connector.v1.base import supports_hma
    from vllm.v1.kv_offload.cpu.spec import CPUOffloadingSpec

    assert supports_hma(connector)
    assert issubclass(plugin.KVBenchSpec, CPUOffloadingSpec)
    definitions = plugin.KVBenchSpec.build_metric_definitions({})
    assert {name for name in definitions if name.startswith("vllm:kvbench_")}
    assert any(name.startswith("vllm:kv_offload") for name in definitions)


@pytest.mark.vllm
def test_the_front_end_loads_no_codec() -> None:
    code = (
        "import json, sys; from kvbench.vllm.plugin import KVBenchSpec; KVBenchSpec.build_metric_definitions({}); "
        "print(json.dumps([name for name in sys.modules if name.startswith('kvbench._ext.')]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout.splitlines()[-1]) == []


@pytest.mark.vllm
def test_reports_of_several_ranks_travel_together() -> None:
    quietly_connector()
    from vllm.distributed.kv_transfer.kv_connector.v1.offloading.common import OffloadingWorkerMetadata

    from kvbench.vllm.connector import ReportedMetadata

    def of(rank: int) -> Any:
        report = WorkerReport([StoreReport(rank, 3, (1, 2), (5, -1))], {(0, rank)}, {("moved_bytes", ()): 2.0})
        return pickle.loads(pickle.dumps(ReportedMetadata.of(OffloadingWorkerMetadata({9: 1}), report)))

    merged = of(0).aggregate(of(1)).aggregate(OffloadingWorkerMetadata({9: 1}))
    assert isinstance(merged, OffloadingWorkerMetadata)
    assert merged.completed_jobs == {9: 3}
    assert [one.rank for one in merged.report.stores] == [0, 1]
    assert merged.report.unreadable == {(0, 0), (0, 1)}
    assert merged.report.counts == {("moved_bytes", ()): 4.0}


@pytest.mark.vllm
def test_orders_travel_as_vllms_specifications() -> None:
    quietly_connector()
    from vllm.v1.kv_offload.cpu.common import CPULoadStoreSpec

    from kvbench.vllm.order import OrderSpec

    spec = pickle.loads(pickle.dumps(OrderSpec(StoreOrder((4, 2), (9,), 1, 0))))
    assert isinstance(spec, CPULoadStoreSpec)
    assert spec.block_ids.tolist() == [4, 2]
    assert spec.order == StoreOrder((4, 2), (9,), 1, 0)
