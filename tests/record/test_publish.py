"""Tests of scrubbing: nothing that names a person, a machine or a place; everything that a number needs."""

from __future__ import annotations

import json

import pytest
from fake_run import HOST, codec_case, finished, make_run, result, tensor

from kvbench.errors import UsageError
from kvbench.record import publish as module
from kvbench.record.publish import publish, scrub

FILE = "/home/zoltan/caches/layer0.safetensors"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(module.getpass, "getuser", lambda: "zoltan")
    spec = tensor(0, "k", source=FILE)
    broken = {
        "status": "failed",
        "reason_code": "error",
        "reason": f"OSError: zoltan@fakehost cannot read {FILE}: gone",
    }
    results = [finished(codec_case(spec)), result(codec_case(tensor(0, "v", source=FILE)), **broken)]
    made = make_run(tmp_path / "run", results, input=[FILE, "relative/file.npy"])
    manifest = made.manifest()
    manifest.argv += ["--input", FILE, "--output=/scratch/zoltan/out", "~/notes.txt"]
    manifest.notes += [f"read {FILE} on fakehost", "25 GB/s each way, K/V, a / b"]
    manifest.host["gpus"] = [{"name": "Card", "uuid": "GPU-1234"}]
    made.write_manifest(manifest)
    return made


def test_scrub_takes_names_and_places_and_keeps_hardware(folder):
    scrubbed = scrub(folder.manifest())
    text = scrubbed.model_dump_json()
    for secret in ("/home", "/scratch", "zoltan", "fakehost", "GPU-1234", "~/"):
        assert secret not in text
    assert scrubbed.argv[-4:] == ["--input", "layer0.safetensors", "--output=out", "notes.txt"]
    assert scrubbed.notes[-2:] == ["read layer0.safetensors on <host>", "25 GB/s each way, K/V, a / b"]
    assert scrubbed.experiment["input"] == ["layer0.safetensors", "relative/file.npy"]
    kept = {name: fact for name, fact in HOST.items() if name != "name"}
    assert scrubbed.host == kept | {"gpus": [{"name": "Card"}]}


def test_a_published_run_has_all_numbers_and_no_secret(folder, tmp_path):
    copy = publish(folder, tmp_path / "reference")
    for path in copy.path.iterdir():
        for secret in ("/home", "zoltan", "fakehost"):
            assert secret not in path.read_text()
    before, after = folder.results(), copy.results()
    assert [one.case_id for one in after] == [one.case_id for one in before]
    assert after[0].metrics == before[0].metrics
    assert after[0].phases == before[0].phases
    assert after[1].reason == "OSError: <user>@<host> cannot read layer0.safetensors: gone"
    assert copy.manifest().run_id == folder.manifest().run_id
    assert folder.results()[0].case.tensor.source == FILE


def test_publishing_nothing_or_over_something_is_refused(folder, tmp_path):
    with pytest.raises(UsageError, match="already holds a run"):
        publish(folder, folder.path)
    empty = make_run(tmp_path / "empty", [])
    with pytest.raises(UsageError, match="holds no finished case"):
        publish(empty, tmp_path / "reference")
    assert not (tmp_path / "reference").exists()


def test_json_of_a_published_manifest_is_strict(folder, tmp_path):
    copy = publish(folder, tmp_path / "reference")
    json.loads((copy.path / "manifest.json").read_text(), parse_constant=lambda word: pytest.fail(word))
