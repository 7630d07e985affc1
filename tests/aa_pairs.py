"""Owns the A/A check of `kvbench compare` and `--ab`: runs of the same code, of which few may be told apart.

python tests/aa_pairs.py FOLDER [PAIRS] makes, in a new FOLDER, that many pairs of sides (20) of three short runs each,
in turn, every run a process of its own, and as many A/B runs of a codec against itself. It prints every pair's verdicts
and ends with 1 where more than 3 in 20 of either kind have a verdict other than same or unclear in any row. Takes about
half an hour for 20.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from kvbench.report.comparison.compare import compare
from kvbench.report.comparison.pairs import paired_rows
from kvbench.report.comparison.sides import Run, Side

SWEEP = ["sweep", "--source", "sample", "--layers", "0", "--error-bound", "1e-2", "1e-3"]
ITSELF = (
    "command: sweep\nsource: sample\nlayers: 0\nerror_bound: [1e-2, 1e-3]\ncodec: [cuszp, {name: cuszp, mode: plain}]\n"
)
# A run as typed, but for the figures, which take longer than the run and play no part here.
PROGRAM = """
import sys
import kvbench.report
from kvbench.cli.app import run
kvbench.report.draw = lambda folder: []
sys.exit(run(sys.argv[1:]))
"""
RUNS = 3  # a side
MOST_WRONG = 3 / 20
HARMLESS = {"same", "unclear"}


def make_run(folder: Path, *arguments: str) -> Run:
    command = [sys.executable, "-c", PROGRAM, *arguments, "--output", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return Run.read(folder)


def told(name: str, verdicts: Counter[str]) -> bool:
    """Print one line; True where a difference was seen that is none."""
    print(name, ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())), flush=True)
    return bool(verdicts.keys() - HARMLESS)


def main(target: Path, pairs: int) -> int:
    target.mkdir(parents=True)
    config = target / "itself.yaml"
    config.write_text(ITSELF)
    wrong = {"six runs": 0, "--ab": 0}
    for number in range(1, pairs + 1):
        runs = [make_run(target / f"{number:02}{side}{repeat}", *SWEEP) for repeat in range(RUNS) for side in "ab"]
        found = compare(Side("A", runs[::2]), Side("B", runs[1::2]), allow_unlike=False)
        wrong["six runs"] += told(f"{number:02} six runs:", Counter(row.verdict for row in found.rows))
        in_turn = make_run(target / f"{number:02}ab", "sweep", "--config", str(config), "--ab")
        wrong["--ab"] += told(f"{number:02} --ab:    ", Counter(row.verdict for row in paired_rows(in_turn.results)))
    for kind, count in wrong.items():
        print(f"{kind}: {count} of {pairs} A/A pairs have a verdict other than same or unclear")
    return int(max(wrong.values()) > MOST_WRONG * pairs)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20))
