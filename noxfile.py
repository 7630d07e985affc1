"""Owns the developer's sessions: tests, lint, build, notebooks, bench."""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"  # uv resolves torch to a CUDA build of several gigabytes
nox.options.sessions = ["tests"]

TORCH = os.environ.get("KVBENCH_TORCH", "torch==2.13.0")
PROJECT = nox.project.load_toml("pyproject.toml")


def _groups(*names: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PROJECT, *names)


def _install(session: nox.Session, *groups: str) -> None:
    """Torch first, so that no later requirement picks another build of it; then kvbench, then the groups."""
    session.install(TORCH)
    session.install(".", *_groups(*groups))


@nox.session
def tests(session: nox.Session) -> None:
    """The codec library's own tests, then pytest; lint, notebooks and build follow."""
    for name in ("lint", "notebooks", "build"):
        session.notify(name)
    _install(session, "test")
    session.install("cmake", "ninja")
    library = Path(session.create_tmp()) / "cuszp"
    session.run("cmake", "-S", "cuSZp", "-B", str(library), "-G", "Ninja", silent=True)
    session.run("cmake", "--build", str(library), silent=True)
    session.run("ctest", "--test-dir", str(library), "--output-on-failure")
    session.run("pytest", *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, mypy --strict, import-linter, clang-format."""
    _install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")
    sources = [p for d in ("cuSZp", "ext") for e in ("*.h", "*.c", "*.cpp", "*.cu", "*.cuh") for p in Path(d).rglob(e)]
    session.run("clang-format", "--dry-run", "--Werror", *map(str, sorted(sources)))


@nox.session
def notebooks(session: nox.Session) -> None:
    """Run every notebook against a fresh small run; stored outputs are refused."""
    _install(session, "notebooks")
    run = Path(session.create_tmp()).resolve() / "notebook-run"
    if not run.exists():
        session.run("kvbench", "sweep", "--config", "configs/quick_look.yaml", "--output", str(run))
    session.run("python", "notebooks/execute.py", env={"KVBENCH_RUN": str(run), "JUPYTER_PLATFORM_DIRS": "1"})


@nox.session
def build(session: nox.Session) -> None:
    """A wheel into dist/, installed into this clean venv and imported from elsewhere."""
    session.install("build")
    session.run("python", "-m", "build", "--wheel", "--outdir", "dist", silent=True)
    wheel = max(Path("dist").glob("kvbench-*.whl"), key=lambda path: path.stat().st_mtime)
    session.install(TORCH)
    session.install("--force-reinstall", "--no-deps", str(wheel))
    session.install(str(wheel))
    session.chdir(session.create_tmp())
    session.run("python", "-c", "import kvbench.cuszp as c; assert len(c.compress(c.example(), 1e-2)) > 0")
    session.run("kvbench", "--version")


@nox.session
def bench(session: nox.Session) -> None:
    """Speed of this machine's copies and of the codec, and of `kvbench --help`; ordinary runs under results/."""
    _install(session)
    session.run("kvbench", "baseline")
    session.run("kvbench", "sweep", "--config", "configs/codec_speed.yaml")
    session.run("python", "-X", "importtime", "-m", "kvbench", "--help", silent=True)
