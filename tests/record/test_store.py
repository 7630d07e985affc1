"""Tests of the run folder: what is on disk after a crash, a full disk, a second process."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_run import LINK, codec_case, finished, make_run, result, sweep_results, tensor

from kvbench.errors import KvbenchError, UsageError
from kvbench.record import folder as folder_module
from kvbench.record.schema import SCHEMA_VERSION
from kvbench.record.store import RunFolder

ARGV = ["kvbench", "sweep"]


def new(path: Path | None) -> RunFolder:
    return RunFolder.create(path, "sweep", ARGV, experiment={"command": "sweep"}, seed=3, link=LINK)


@pytest.fixture
def results():
    return sweep_results(bounds=(1e-2, 1e-3))


def test_default_folder_is_named_after_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with new(None) as folder:
        manifest = folder.manifest()
        assert folder.path == Path("results") / manifest.run_id
        assert re.fullmatch(r"\d{8}T\d{6}Z-sweep-[0-9a-f]{6}", manifest.run_id)
        assert (manifest.status, manifest.seed, manifest.link) == ("running", 3, LINK)
    assert RunFolder.open(Path(manifest.run_id)).path == folder.path


def test_results_come_back_as_they_were(tmp_path, results):
    with new(tmp_path / "run") as folder:
        for one in results:
            folder.append(one)
        assert folder.results() == results
    assert RunFolder.open(tmp_path / "run").results() == results


def test_every_line_is_strict_json(tmp_path, results):
    folder = make_run(tmp_path / "run", results)
    refuse = {"parse_constant": lambda word: pytest.fail(f"{word} is not strict JSON")}
    lines = (folder.path / "cases.jsonl").read_text().splitlines()
    assert [json.loads(line, **refuse)["case_id"] for line in lines] == [one.case_id for one in results]
    json.loads((folder.path / "manifest.json").read_text(), **refuse)


def test_a_number_json_has_not_is_refused_and_leaves_no_trace(tmp_path):
    endless = codec_case(tensor(0, "k")).model_copy(update={"codec_params": {"step": float("inf")}})
    with new(tmp_path / "run") as folder:
        folder.append(finished(codec_case(tensor(0, "k"))))
        with pytest.raises(ValueError, match="JSON"):
            folder.append(result(endless))
        assert len(folder.results()) == 1


def test_infinite_psnr_cannot_be_recorded_and_undefined_is_null(tmp_path):
    case = codec_case(tensor(0, "k"))
    with pytest.raises(ValueError, match="undefined is None"):
        result(case, metrics={"psnr_db": float("inf")})
    with new(tmp_path / "run") as folder:
        folder.append(result(case, metrics={"psnr_db": None}))
    assert '"psnr_db":null' in (folder.path / "cases.jsonl").read_text()


def test_the_last_result_of_a_case_counts(tmp_path):
    first, second = codec_case(tensor(0, "k")), codec_case(tensor(0, "v"))
    with new(tmp_path / "run") as folder:
        folder.append(result(first, status="failed", reason_code="error", reason="once"))
        folder.append(finished(second))
        folder.append(finished(first))
        assert [(one.case_id, one.status) for one in folder.results()] == [(first.id, "ok"), (second.id, "ok")]


@pytest.mark.parametrize("tail", [b'{"schema_version":1,"case', b"\0\0\0\0", b"\0\0\0\n", b'{"half": \0\n'])
def test_a_torn_last_line_is_skipped_and_healed_on_resume(tmp_path, results, tail):
    journal = make_run(tmp_path / "run", results[:3]).path / "cases.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + tail)
    assert RunFolder.open(tmp_path / "run").results() == results[:3]
    assert journal.read_bytes() == whole + tail
    with RunFolder.resume(tmp_path / "run") as folder:
        assert journal.read_bytes() == whole
        folder.append(results[3])
    assert RunFolder.open(tmp_path / "run").results() == results[:4]


def test_a_line_cut_before_its_newline_is_torn_although_it_is_json(tmp_path, results):
    journal = make_run(tmp_path / "run", results[:2]).path / "cases.jsonl"
    journal.write_bytes(journal.read_bytes()[:-1])
    with RunFolder.resume(tmp_path / "run") as folder:
        folder.append(results[1])
        assert folder.results() == results[:2]


def test_damage_in_the_middle_is_told(tmp_path, results):
    journal = make_run(tmp_path / "run", results[:3]).path / "cases.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + b"garbage\n" + lines[2])
    for use in (lambda: RunFolder.open(tmp_path / "run").results(), lambda: RunFolder.resume(tmp_path / "run")):
        with pytest.raises(UsageError, match=r"cases\.jsonl line 2 is damaged"):
            use()
    journal.write_bytes(b"")
    RunFolder.resume(tmp_path / "run").close()  # the refusal above gave its lock back


@pytest.mark.parametrize(
    "samples", ["[]", "[NaN]", "[1e-3,Infinity]", "[-1e-3]", "[5e-324]", "[1e308]", "[null]", "null"]
)
def test_samples_that_no_clock_gives_are_damage_in_the_last_line_too(tmp_path, results, samples):
    journal = make_run(tmp_path / "run", results[:1]).path / "cases.jsonl"
    changed, count = re.subn(r'"samples_s":\[[^]]*\]', f'"samples_s":{samples}', journal.read_text(), count=1)
    assert count == 1
    journal.write_text(changed)
    with pytest.raises(
        UsageError, match=r"line 1 is damaged \(phases.encode_call.samples_s.*; restore it or remove it"
    ):
        RunFolder.open(tmp_path / "run").results()


def test_a_time_of_nothing_is_a_sample(tmp_path, results):
    zero = results[0].phases["encode_call"].model_copy(update={"samples_s": [0.0], "median_s": None})
    made = make_run(tmp_path / "run", [results[0].model_copy(update={"phases": {"encode_call": zero}})])
    assert made.results()[0].phases["encode_call"].samples_s == [0.0]


@pytest.mark.parametrize("name", ["manifest.json", "cases.jsonl"])
def test_a_newer_schema_is_refused(tmp_path, results, name):
    path = make_run(tmp_path / "run", results[:1]).path / name
    fields = json.loads(path.read_text()) | {"schema_version": SCHEMA_VERSION + 1, "novelty": 1}
    path.write_text(json.dumps(fields) + "\n")
    folder = RunFolder.open(tmp_path / "run")
    with pytest.raises(UsageError, match="newer than"):
        (folder.manifest if name == "manifest.json" else folder.results)()


def test_a_damaged_manifest_is_told_in_one_line(tmp_path, results):
    folder = make_run(tmp_path / "run", results[:1])
    (folder.path / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match=r"manifest\.json is damaged \(run_id: Field required\)") as told:
        folder.manifest()
    assert "\n" not in str(told.value)


def test_the_lock_keeps_a_second_writer_out(tmp_path, results):
    with new(tmp_path / "run") as folder:
        folder.append(results[0])
        code = (
            "from pathlib import Path; from kvbench.errors import UsageError\n"
            "from kvbench.record.store import RunFolder\n"
            f"path = Path({str(tmp_path / 'run')!r})\n"
            "print(len(RunFolder.open(path).results()))\n"
            "try:\n    RunFolder.resume(path)\nexcept UsageError as error:\n    print(error)\n"
        )
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        count, refusal = other.stdout.splitlines()
        assert count == "1"
        assert "is being written by another process" in refusal
    RunFolder.resume(tmp_path / "run").close()


def test_a_full_disk_gives_one_line_and_keeps_what_is_finished(tmp_path, results, monkeypatch):
    really_write = os.write
    with new(tmp_path / "run") as folder:
        folder.append(results[0])

        def write_a_little_then_fail(descriptor, content):
            really_write(descriptor, bytes(content[:100]))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", write_a_little_then_fail)
        with pytest.raises(KvbenchError, match=r"^the disk is full: .*--resume") as told:
            folder.append(results[1])
        assert "\n" not in str(told.value)
        monkeypatch.setattr(os, "write", really_write)
        assert folder.results() == results[:1]
        folder.append(results[1])
    assert RunFolder.open(tmp_path / "run").results() == results[:2]


def test_a_write_the_system_cuts_short_is_told_and_undone(tmp_path):
    """A real limit rather than a stand-in: the kernel takes a part of the line, then refuses."""
    code = (
        "import resource; from pathlib import Path\n"
        "from fake_run import sweep_results\n"
        "from kvbench.errors import KvbenchError; from kvbench.record.store import RunFolder\n"
        f"folder = RunFolder.create(Path({str(tmp_path / 'run')!r}), 'sweep', [], experiment={{}})\n"
        "results = sweep_results(bounds=(1e-2,))\n"
        "folder.append(results[0])\n"
        "size = (folder.path / 'cases.jsonl').stat().st_size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, size + 50))\n"
        "try:\n    folder.append(results[1])\n"
        "except KvbenchError as error:\n    print(error)\n"
        "print((folder.path / 'cases.jsonl').stat().st_size - size, folder.results() == results[:1])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    message, state = ended.stdout.splitlines()
    assert message.startswith("File too large: cannot write")
    assert state == "0 True"


def test_an_interrupt_inside_a_write_leaves_no_torn_line(tmp_path, results, monkeypatch):
    with new(tmp_path / "run") as folder:
        folder.append(results[0])

        def interrupt(descriptor):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            folder.append(results[1])
    assert (folder.path / "cases.jsonl").read_bytes().count(b"\n") == 1


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(tmp_path, results, monkeypatch):
    with new(tmp_path / "run") as folder:
        before = folder.manifest()

        def full(*_arguments, **_named):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(KvbenchError, match="the disk is full"):
            folder.write_manifest(before.model_copy(update={"status": "finished"}))
        assert folder.manifest() == before
        assert sorted(path.name for path in folder.path.iterdir()) == ["cases.jsonl", "manifest.json"]


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    new(tmp_path / "a run").close()
    before = (tmp_path / "a run" / "manifest.json").read_bytes()
    with pytest.raises(UsageError, match=r"already holds a run; .* --resume '.*/a run'"):
        new(tmp_path / "a run")
    assert (tmp_path / "a run" / "manifest.json").read_bytes() == before


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match=r"is not empty \(it holds thesis\.tex\)"):
        new(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    with new(tmp_path / "empty") as folder:
        assert folder.manifest().status == "running"


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        new(tmp_path / "file")
    with pytest.raises(UsageError, match="cannot be written: Not a directory"):
        new(tmp_path / "file" / "run")


def test_an_unwritable_place_is_refused_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"cannot be written: .*; give another with --output") as told:
        new(Path("/proc/kvbench-run"))
    assert "\n" not in str(told.value)

    def denied(*_arguments):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(UsageError, match="cannot be written: Permission denied"):
        new(tmp_path / "deep" / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_is_no_run_is_told(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for use in (RunFolder.open, RunFolder.resume):
        with pytest.raises(UsageError, match="no run"):
            use(Path(name))


def test_reading_does_not_write(tmp_path, results):
    folder = make_run(tmp_path / "run", results[:1])
    with pytest.raises(RuntimeError, match="opened for reading"):
        folder.append(results[1])


@pytest.mark.parametrize("place", ["flock", "write_manifest", "after_the_manifest"])
def test_an_interrupt_while_a_run_is_made_leaves_nothing(tmp_path, monkeypatch, place):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    whole = RunFolder.write_manifest

    def write_then_interrupt(folder, manifest):
        whole(folder, manifest)
        raise KeyboardInterrupt

    if place == "flock":
        monkeypatch.setattr(folder_module.fcntl, "flock", interrupt)
    else:
        monkeypatch.setattr(
            RunFolder, "write_manifest", interrupt if place == "write_manifest" else write_then_interrupt
        )
    with pytest.raises(KeyboardInterrupt):
        new(tmp_path / "deep" / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("junk", [b"\xff\xfe{", b'{"a": "\xed\xa0\x80"}'])
def test_bytes_that_are_no_text_are_told_as_such(tmp_path, results, junk):
    folder = make_run(tmp_path / "run", results[:2])
    (folder.path / "manifest.json").write_bytes(junk)
    with pytest.raises(UsageError, match=r"manifest\.json is damaged \(byte \d+ is not UTF-8 text\); restore"):
        folder.manifest()
    journal = folder.path / "cases.jsonl"
    journal.write_bytes(junk + b"\n" + journal.read_bytes())
    with pytest.raises(UsageError, match=r"line 1 is damaged \(byte \d+ is not UTF-8 text\); restore"):
        folder.results()


def test_a_manifest_that_nests_without_end_is_damaged(tmp_path, results):
    folder = make_run(tmp_path / "run", results[:1])
    (folder.path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(UsageError, match="is damaged"):
        folder.manifest()
