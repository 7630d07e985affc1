"""Owns running every notebook here from top to bottom. Nothing is saved; a notebook with stored outputs is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def main() -> int:
    """Give 0 when every notebook is stripped and runs. The variable KVBENCH_RUN names the run they read."""
    folder = Path(__file__).parent
    bad = 0
    for path in sorted(folder.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        stored = [
            cell for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)
        ]
        if stored:
            sys.stderr.write(f"{path}: {len(stored)} cells have stored outputs; clear them\n")
            bad += 1
            continue
        try:
            NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
            sys.stdout.write(f"{path}: ran\n")
        except CellExecutionError as error:
            sys.stderr.write(f"{path}: {error}\n")
            bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
