"""Finding sources: defaults, unknown names, broken ones, and one from another package."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, EntryPoints

import pytest
import torch

from kvbench.config import Experiment
from kvbench.errors import UnavailableError, UsageError
from kvbench.record.schema import TensorSpec
from kvbench.tensors import registry


def experiment(**fields: object) -> Experiment:
    return Experiment.model_validate({"command": "sweep", **fields})


class Ones:
    """A source as another package may bring it."""

    def specs(self, experiment: Experiment) -> Sequence[TensorSpec]:
        return [TensorSpec(source="ones", tensor="x", dtype="float32", shape=(3,))]

    def load(self, spec: TensorSpec, seed: int) -> torch.Tensor:
        return torch.ones(spec.shape)


def test_the_sources_of_this_package() -> None:
    assert set(registry.names()) >= {"adversarial", "constant", "gaussian", "kv", "sample", "smooth"}


@pytest.mark.parametrize(
    ("fields", "source"),
    [({}, "sample"), ({"tensor_size": 1024}, "kv"), ({"geometry": "qwen3-8b"}, "kv"), ({"source": "smooth"}, "smooth")],
)
def test_which_source_is_taken(fields: dict[str, object], source: str) -> None:
    assert {spec.source for spec in registry.specs(experiment(**fields))} == {source}


def test_sources_come_in_the_order_asked() -> None:
    found = registry.specs(experiment(source=("smooth", "kv"), tensor_size=64))
    assert [spec.source for spec in found] == ["smooth", "smooth", "kv", "kv"]


def test_an_unknown_source_lists_what_exists() -> None:
    with pytest.raises(UsageError, match=r"unknown source 'nose'; use one of adversarial, constant, .*--input FILE"):
        registry.specs(experiment(source="nose"))


def test_a_source_layout_without_a_file_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--source-layout says how files store their tensors; it needs --input"):
        registry.specs(experiment(source_layout="thd"))


def test_a_source_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    found = EntryPoints(
        [
            EntryPoint("ones", f"{__name__}:Ones", registry.SOURCE_GROUP),
            EntryPoint("broken", "no_such_module:Source", registry.SOURCE_GROUP),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: found.select(group=group))
    (spec,) = registry.specs(experiment(source="ones"))
    assert torch.equal(registry.load(spec, 0), torch.ones(3))
    with pytest.raises(UnavailableError, match=r"source 'broken' cannot be used here: No module named"):
        registry.specs(experiment(source="broken"))
