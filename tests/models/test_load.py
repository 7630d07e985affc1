"""Finding a model: folders, GGUF files, and one line where something is missing."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kvbench.errors import UnavailableError, UsageError
from kvbench.models import load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "w.gguf").write_bytes(b"")
    return tmp_path / "model"


def test_a_folder(folder: Path) -> None:
    place = load.locate(str(folder), None, None)
    assert (place.name, place.options(), place.gguf_path) == ("model", {}, None)


@pytest.mark.parametrize("where", ["name", "path"])
def test_a_gguf_file_by_name_or_path(folder: Path, where: str) -> None:
    place = load.locate(str(folder), "w.gguf" if where == "name" else str(folder / "w.gguf"), None)
    assert place.options() == {"gguf_file": "w.gguf"}
    assert place.gguf_path == folder / "w.gguf"


def test_a_hub_name() -> None:
    place = load.locate("some/model", "w.gguf", "v1")
    assert (place.name, place.gguf_path) == ("some/model", None)
    assert place.options() == {"gguf_file": "w.gguf", "revision": "v1"}


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"w.gguf is a file; give its folder, and the file with --gguf"):
        load.locate(str(folder / "w.gguf"), None, None)
    with pytest.raises(UsageError, match=r"--gguf x.gguf: no such file in .*; it has --gguf w.gguf"):
        load.locate(str(folder), "x.gguf", None)
    (tmp_path / "w.gguf").write_bytes(b"")
    with pytest.raises(UsageError, match=r"no such file in"):
        load.locate(str(folder), str(tmp_path / "w.gguf"), None)
    (folder / "config.json").unlink()
    with pytest.raises(UsageError, match=r"the folder has no config.json; it has --gguf w.gguf"):
        load.locate(str(folder), None, None)
    (folder / "w.gguf").unlink()
    with pytest.raises(UsageError, match=r"the folder has no config.json; it has no .gguf file either"):
        load.locate(str(folder), None, None)


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(
        UnavailableError, match=r"needs the package transformers .* pip install 'transformers>=5' gguf accelerate"
    ):
        load.load_config(load.ModelPlace("some/model"))


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (OSError("cannot connect\nread the manual"), UsageError, "no such folder here, .* give it: cannot connect$"),
        (ImportError("\nPlease install gguf"), UnavailableError, r"needs more packages \(Please install gguf\)"),
        (KeyError("arch"), UsageError, "'arch'$"),
        (ValueError(""), UsageError, "ValueError$"),
    ],
)
def test_what_transformers_raises_becomes_one_line(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception], message: str
) -> None:
    def from_pretrained(*_: object, **__: object) -> Any:
        raise raised

    fake = SimpleNamespace(AutoTokenizer=SimpleNamespace(from_pretrained=from_pretrained))
    monkeypatch.setattr(importlib, "import_module", lambda name: fake)
    with pytest.raises(expected, match=message) as caught:
        load.load_tokenizer(load.ModelPlace("some/model"))
    assert "\n" not in str(caught.value)


def test_a_folder_that_does_not_load(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def from_pretrained(*_: object, **__: object) -> Any:
        raise ValueError("Unrecognized model")

    fake = SimpleNamespace(AutoConfig=SimpleNamespace(from_pretrained=from_pretrained))
    monkeypatch.setattr(importlib, "import_module", lambda name: fake)
    with pytest.raises(UsageError, match=r"model cannot be loaded: Unrecognized model$"):
        load.load_config(load.locate(str(folder), None, None))
