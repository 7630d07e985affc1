"""Owns reading one record from its bytes: a manifest or a journal line, with one line for what is wrong with it."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import ValidationError

from kvbench.errors import UsageError
from kvbench.record.schema import SCHEMA_VERSION, CaseResult, RunManifest

Record = TypeVar("Record", RunManifest, CaseResult)


class NotThisKindError(UsageError):
    """Bytes that are no such record."""


def parse_record(content: bytes, kind: type[Record], place: str) -> Record:
    """The record in UTF-8 JSON bytes; `place` is where they were read, for messages.

    Raises NotThisKindError for anything else, and UsageError for a record that a newer kvbench wrote.
    """
    try:
        fields = json.loads(content.decode("utf-8"))
        written = fields.get("schema_version", 0) if isinstance(fields, dict) else 0
        if isinstance(written, int) and written > SCHEMA_VERSION:
            raise UsageError(
                f"{place}: schema version {written} is newer than {SCHEMA_VERSION}, which this kvbench knows; update it"
            )
        return kind.model_validate(fields)
    except (ValidationError, ValueError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise NotThisKindError(f"{place} is damaged ({_damage(error)}); restore it or remove it") from None


def is_json(content: bytes) -> bool:
    """Whether these bytes are one whole JSON value, of whatever kind."""
    try:
        json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    return True


def _damage(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1} is not UTF-8 text"
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return "it nests too deep" if isinstance(error, RecursionError) else str(error)
