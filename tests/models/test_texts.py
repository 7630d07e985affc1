"""The texts that come with kvbench are what they were, and a user's file is read as it is."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from kvbench.errors import KvbenchError, UsageError
from kvbench.models import texts
from kvbench.models.texts import SCORING, TEXTS, load_text

README = Path(texts.__file__).parent / "data" / "README.md"


@pytest.mark.parametrize("name", TEXTS)
def test_every_registered_text_loads_and_is_told_of(name: str) -> None:
    text = load_text(name)
    assert text.sha256 == TEXTS[name].sha256
    assert text.role == TEXTS[name].role
    assert len(text.content) > 9000
    assert f"| `{name}` | {TEXTS[name].role.replace('_', ' ')} |" in README.read_text()


def test_no_text_has_two_roles() -> None:
    assert Counter(text.role for text in TEXTS.values()) == {"scoring": 2, "calibration": 1, "held_out": 2}
    assert len({text.sha256 for text in TEXTS.values()}) == len(TEXTS)
    assert {TEXTS[name].role for name in SCORING} == {"scoring"}


def test_a_changed_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = dataclasses.replace(TEXTS["xz-faq"], sha256="0" * 64)
    monkeypatch.setitem(texts.TEXTS, "xz-faq", changed)
    with pytest.raises(KvbenchError, match=r"'xz-faq': .* was changed"):
        load_text("xz-faq")


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_bytes("a\r\nb\u00e9".encode())
    text = load_text(str(path))
    assert (text.content, text.role) == ("a\r\nb\u00e9", None)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        load_text(str(path))


def test_what_is_no_text_is_answered_with_those_known() -> None:
    with pytest.raises(UsageError, match="--text moby: no such file; texts known by name: moby-dick, python"):
        load_text("moby")
