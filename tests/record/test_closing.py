"""Tests what an interrupt leaves in a run folder and says."""

from __future__ import annotations

import pytest
from fake_run import make_run, sweep_results

from kvbench.record.closing import resumable


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_run_that_is_not_finished_is_closed_and_can_go_on(tmp_path, status):
    results = sweep_results(bounds=(1e-2,))
    folder = make_run(tmp_path / "a run", results)
    folder.write_manifest(folder.manifest().model_copy(update={"status": status, "cases_done": 0}))
    with pytest.raises(KeyboardInterrupt) as told, resumable(folder):
        raise KeyboardInterrupt
    assert str(told.value).endswith(f"go on with: kvbench sweep --resume '{folder.path}'")
    manifest = folder.manifest()
    assert manifest.status == "interrupted"
    assert manifest.cases_done == sum(result.status in {"ok", "invalid"} for result in results) > 0


def test_a_finished_run_stays_finished(tmp_path):
    folder = make_run(tmp_path / "run", sweep_results(bounds=(1e-2,)))
    folder.write_manifest(folder.manifest().model_copy(update={"status": "finished"}))
    before = folder.manifest()
    with pytest.raises(KeyboardInterrupt, match="all are kept; draw with: kvbench report "), resumable(folder):
        raise KeyboardInterrupt
    assert folder.manifest() == before


def test_an_interrupt_that_was_worded_passes(tmp_path):
    folder = make_run(tmp_path / "run", sweep_results(bounds=(1e-2,)))
    before = folder.manifest()
    with pytest.raises(KeyboardInterrupt, match=r"^said$"), resumable(folder):
        raise KeyboardInterrupt("said")
    assert folder.manifest() == before
