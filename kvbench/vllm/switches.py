"""Owns the environment's say in the plugin's settings; the switches are those of the swap engine."""

from __future__ import annotations

from collections.abc import Mapping

from kvbench.errors import UsageError
from kvbench.swap import compat
from kvbench.vllm.settings import Settings


def with_switches(settings: Settings, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings as the switches in the environment change them; a switch that is set wins, as in the swap engine.

    Raises UsageError for a value that cannot be read, and for a bound or mode beside a profile that has its own.
    """
    asked = compat.Settings(
        enable_compression=settings.codec == "cuszp",
        error_bound=settings.bound.value,
        use_relative_error=True,
        encoding_mode=settings.mode or "plain",
    )
    found = compat.with_environment(asked, environment)
    if not found.enable_compression:
        if settings.codec != "cuszp":
            return settings
        return _changed(settings, codec="raw", error_bound=None, bound_kind=None, mode=None, profile=None)
    change: dict[str, object] = {}
    if settings.codec != "cuszp":
        change["codec"] = "cuszp"
    if found.error_bound != asked.error_bound:
        change["error_bound"] = found.error_bound
    if found.encoding_mode != asked.encoding_mode:
        change["mode"] = found.encoding_mode
    if settings.profile is not None and change:
        raise UsageError(f"the environment sets a {next(iter(change))}, but the profile {settings.profile} has its own")
    return _changed(settings, **change) if change else settings


def _changed(settings: Settings, **change: object) -> Settings:
    return Settings.model_validate(settings.model_dump() | change)
