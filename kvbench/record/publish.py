"""Owns making a run fit to be published: without host name, user and absolute paths, with the hardware kept."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kvbench.errors import UsageError
from kvbench.record.schema import CaseResult, RunManifest
from kvbench.record.store import RunFolder

# A path that begins where a word begins, so that "GB/s", "K/V" and "a / b" are none.
_ABSOLUTE_PATH = re.compile(r"(?<![\w./~-])(?:/|~/)(?:[^\s/'\",;:()\[\]]+/)*([^\s/'\",;:()\[\]]+)/?")
_FREE_TEXT = ("argv", "notes", "reasons")  # fields of a manifest that may hold names; the others are our own words


def scrub(manifest: RunManifest) -> RunManifest:
    """A copy in which host name and user are replaced by words and every absolute path by its last part."""
    fields = _each_text(manifest.model_dump(mode="json"), _without_paths)
    nameless = _name_remover(manifest)
    fields.update({name: _each_text(fields[name], nameless) for name in _FREE_TEXT})
    fields["host"].pop("name", None)
    for gpu in fields["host"].get("gpus", []):
        gpu.pop("uuid", None)
    return RunManifest.model_validate(fields)


def publish(folder: RunFolder, target: Path) -> RunFolder:
    """Write a scrubbed copy of a run's manifest and journal into a new folder and open it; tables are not copied.

    Case ids stay those of the run, though a path inside a case may have been shortened. Raises UsageError when the
    run has no finished case, or when `target` holds something or cannot be written.
    """
    manifest = scrub(folder.manifest())
    nameless = _name_remover(folder.manifest())
    results = folder.results()
    if not results:
        raise UsageError(f"run {folder.path} holds no finished case; publish one that does")
    with RunFolder.create(target, manifest.command, manifest.argv, experiment=manifest.experiment) as copy:
        for result in results:
            fields = _each_text(result.model_dump(mode="json"), _without_paths)
            fields["reason"] = _each_text(fields["reason"], nameless)
            copy.append(CaseResult.model_validate(fields))
        copy.write_manifest(manifest)
    return RunFolder.open(target)


def _without_paths(text: str) -> str:
    return _ABSOLUTE_PATH.sub(r"\1", text)


def _name_remover(manifest: RunManifest) -> Callable[[str], str]:
    names = {str(manifest.host.get("name") or ""): "<host>", _user(): "<user>"}
    for ordinary in ("", "root"):
        names.pop(ordinary, None)
    pattern = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names) or r"(?!)")
    return lambda text: pattern.sub(lambda found: names[found.group(0)], text)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """The same nest of lists and objects with every text in it, keys included, changed."""
    if isinstance(value, dict):
        return {change(key): _each_text(inside, change) for key, inside in value.items()}
    if isinstance(value, list):
        return [_each_text(inside, change) for inside in value]
    return change(value) if isinstance(value, str) else value
