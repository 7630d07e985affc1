"""Owns the runs that the report's tests read: each is drawn once."""

from __future__ import annotations

import pytest
from fake_run import baseline_results, make_run, sweep_results

from kvbench.report import draw


@pytest.fixture(scope="session")
def sweep(tmp_path_factory):
    """A drawn run with failed, invalid and skipped cases and tensors that are neither K nor V."""
    folder = make_run(tmp_path_factory.mktemp("sweep") / "run", sweep_results(bounds=(1e-1, 1e-2)))
    draw(folder)
    return folder


@pytest.fixture(scope="session")
def baseline(tmp_path_factory):
    """A drawn run of copies, some too short for the clock."""
    folder = make_run(tmp_path_factory.mktemp("baseline") / "run", baseline_results(), command="baseline", link=None)
    draw(folder)
    return folder
