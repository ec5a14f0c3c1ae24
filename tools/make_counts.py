"""Write the page of MACs counted twice: ``python -m tools.make_counts [FILE]``; some minutes.

What is counted, and by whom, stands in ``tools.counts.rows``. ``tests/frontends/test_counts.py``
holds the page to it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from tools.counts.rows import ROWS, Row

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "counts.md"

HEAD = """\
# MACs, counted twice

Made by `python -m tools.make_counts`: the MACs that picojoule reads out of a network, beside \
those of somebody who knows nothing of picojoule. The difference has to be 0, everywhere; a test \
counts every row anew.

- **flop counter**: `torch.utils.flop_counter`, two flops to a MAC, as the network runs.
- **by hand**: a formula written beside the network, where that counter counts 0.
- **onnxruntime**: the shapes of every operator that ran, from onnxruntime's profile, and a \
formula for each kind of product. What onnxruntime's optimiser wrote has to cost what it read.

Each number is of the whole pass, of all inferences in it.

| network | from | picojoule | the other | difference | counted by |
|---|---|--:|--:|--:|---|
"""


def line(row: Row, ours: int, theirs: int) -> str:
    """A row of the table."""
    cells = [row.name, row.source, f"{ours:,}", f"{theirs:,}", f"{ours - theirs:,}", row.by]
    return f"| {' | '.join(cells)} |\n"


def page(lines: Iterable[str]) -> str:
    """The page as Markdown."""
    return HEAD + "".join(lines)


def _counted() -> Iterable[str]:
    for row in ROWS.values():
        sys.stderr.write(f"{row.name}\n")
        yield line(row, *row.count())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=PAGE)
    parser.parse_args().file.write_text(page(_counted()), encoding="utf-8")
