"""A model folder that loads as the fake model."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_model import FakeCache, FakeModel, bytes_tokenizer, fake_config

from kvbench.models import forward, load


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A model folder whose configuration, tokenizer (a token a byte) and weights are the fakes."""
    folder = tmp_path / "fake-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(load, "load_config", lambda place: fake_config())
    monkeypatch.setattr(load, "load_tokenizer", lambda place: bytes_tokenizer)
    monkeypatch.setattr(load, "load_model", lambda place, device: FakeModel())
    monkeypatch.setattr(load, "transformers_version", lambda: "0")
    monkeypatch.setattr(forward, "new_cache", FakeCache)
    monkeypatch.setattr(load, "new_cache", FakeCache)
    return folder
