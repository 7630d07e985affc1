"""Tests what an interrupt leaves in a run folder and says."""

from __future__ import annotations

import errno

import pytest
from fake_run import make_run, sweep_results

from kvbench.errors import KvbenchError, UsageError
from kvbench.record.closing import remade_later, require_whole, resumable


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


def test_a_run_is_whole_where_its_journal_has_what_the_manifest_counts(tmp_path):
    folder = make_run(tmp_path / "run", sweep_results(bounds=(1e-2,)))
    require_whole(folder)
    (folder.path / "cases.jsonl").unlink()
    for status in ("finished", "interrupted", "failed"):
        folder.write_manifest(folder.manifest().model_copy(update={"status": status}))
        with pytest.raises(UsageError, match=r"cases\.jsonl holds 0 of 22 recorded cases; restore it"):
            require_whole(folder)
    folder.write_manifest(folder.manifest().model_copy(update={"status": "running"}))
    require_whole(folder)


def test_an_older_result_in_place_of_the_counted_one_is_a_loss(tmp_path):
    first = sweep_results(bounds=(1e-2,))[0]
    failed = first.model_copy(update={"status": "failed", "reason_code": "error", "reason": "once"})
    folder = make_run(tmp_path / "run", [failed])
    manifest = folder.manifest()
    manifest.cases_done, manifest.cases_failed = 1, 0
    folder.write_manifest(manifest)
    with pytest.raises(UsageError, match="holds 0 of 1 recorded cases"):
        require_whole(folder)


def test_only_what_the_system_refuses_is_made_later(tmp_path):
    folder = make_run(tmp_path / "run", [])
    told = r"^the disk is full; all finished cases are kept; .*: kvbench report /"
    with pytest.raises(KvbenchError, match=told), remade_later(folder):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(KvbenchError, match=r"^other$"), remade_later(folder):
        raise KvbenchError("other")
