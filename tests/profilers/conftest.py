"""Owns what every test of a profiler starts from: none installed, results in a folder of its own, a made-up run."""

from __future__ import annotations

import pytest
from fake_run import codec_case, finished, make_run, tensor

from kvbench.profilers import find


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, tmp_path):
    """PATH without programs but the stubs, no usual install folder, no toolkit."""
    monkeypatch.setattr(find, "ROOT", tmp_path / "no-root")
    for variable in find.TOOLKIT_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def not_drawn(monkeypatch):
    """Leave out plots and page, which take seconds."""
    monkeypatch.setattr("kvbench.report.draw", lambda folder: [])


@pytest.fixture
def a_run(tmp_path):
    """A finished run of one case, as the measured process would have left it."""
    results = [finished(codec_case(tensor(0, "k")), metrics={"device_copy_gbps": 2500.0})]
    return make_run(tmp_path / "results" / "a-run", results, command="compress")
