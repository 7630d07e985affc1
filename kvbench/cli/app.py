"""Owns `main`: finding the commands, running one, and turning every error into one line and an exit code."""

from __future__ import annotations

import ast
import os
import signal
import sys
import traceback
from importlib.metadata import EntryPoint, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kvbench.cli.multi import ListOptionCommand
from kvbench.errors import KvbenchError, UnavailableError, UsageError

COMMAND_GROUP = "kvbench.commands"
EXIT_CASES_FAILED = 1
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 3
EXIT_INTERRUPTED = 130


class CommandGroup(TyperGroup):
    """Commands from the entry-point group `kvbench.commands`; the module of a command is imported when it is run."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(_found())

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary(entry)) for name, entry in sorted(_found().items())])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = _found()
        return _load(found[cmd_name]) if cmd_name in found else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if not args[0].startswith("-") and args[0] not in _found():
            raise UsageError(f"no command {args[0]!r}; commands: {', '.join(self.list_commands(ctx))}")
        resolved: tuple[str | None, Any, list[str]] = super().resolve_command(ctx, args)
        return resolved


def _found() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=COMMAND_GROUP)}


def _load(entry: EntryPoint) -> Any:
    try:
        function = entry.load()
    except ImportError as error:
        raise UnavailableError(f"command {entry.name!r} cannot be used here: {error}") from error
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(entry.name, cls=getattr(function, "command_class", ListOptionCommand))(function)
    return typer.main.get_command(single)


def summary(entry: EntryPoint) -> str:
    """The first line of a command's docstring, read from its source so that a list of commands imports none of them."""
    try:
        spec = find_spec(entry.module)
    except ImportError as error:
        return f"cannot be used here: {error}"
    if spec is None or spec.origin is None:
        return f"cannot be used here: no module {entry.module}"
    for node in ast.parse(Path(spec.origin).read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.name == entry.attr:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


app = typer.Typer(cls=CommandGroup, add_completion=False, rich_markup_mode=None)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"kvbench {version('kvbench')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Does compressing the KV cache on its way to CPU memory and back pay?

    Every command explains itself: kvbench COMMAND --help. GB means 1e9 bytes everywhere.
    """


def run(args: list[str]) -> int:
    """Run one command line and return the exit code; every message is already printed."""
    try:
        with typer.main.get_command(app).make_context("kvbench", args or ["--help"]) as context:
            context.command.invoke(context)
            sys.stdout.flush()
    except typer.Exit as done:
        return done.exit_code
    except KeyboardInterrupt as interrupt:
        typer.echo(f"kvbench: {str(interrupt) or 'interrupted'}", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; without this the interpreter complains while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except Exception as error:  # noqa: BLE001  the one place that words every error
        if os.environ.get("KVBENCH_DEBUG"):
            traceback.print_exc()
        return _explain(error)
    return 0


def _explain(error: Exception) -> int:
    if isinstance(error, UsageError):
        _complain(str(error))
        return EXIT_USAGE
    if isinstance(error, UnavailableError):
        _complain(str(error))
        return EXIT_UNAVAILABLE
    if isinstance(error, KvbenchError):
        _complain(str(error))
        return EXIT_ERROR
    if isinstance(error, typer.TyperException):
        _complain(error.format_message())
        return error.exit_code
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        _complain(f"{error.strerror}{where}")
        return EXIT_ERROR
    _complain(f"{type(error).__name__}: {error} (KVBENCH_DEBUG=1 shows the traceback)")
    return EXIT_ERROR


def _complain(text: str) -> None:
    typer.echo(f"kvbench: error: {' '.join(text.split())}", err=True)


def _steady_streams() -> None:
    """A stream that was closed before the start swallows its text, and a character it cannot show becomes `?`.

    Neither may end a run whose numbers are on disk.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  for as long as we run
        else:
            stream.reconfigure(errors="replace")


def main() -> None:
    """The `kvbench` program."""
    _steady_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's end keeps and closes the run too
    sys.exit(run(sys.argv[1:]))
