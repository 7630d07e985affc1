"""Which vLLM the tests of this folder meet: stand-ins always, the installed one under the mark `vllm`."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from vllm_managers import FAKES, Kit, installed

# This folder is a namespace package of the same name where there is no vLLM.
WITHOUT = pytest.mark.skipif(find_spec("vllm.v1") is None, reason="vLLM is not installed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("vllm"):
            item.add_marker(WITHOUT)


@pytest.fixture(params=[*FAKES, pytest.param("installed", marks=pytest.mark.vllm)])
def kit(request: pytest.FixtureRequest) -> Kit:
    """A manager class to put the page rules on."""
    return installed() if request.param == "installed" else FAKES[request.param]
