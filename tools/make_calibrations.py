"""Renew the reports in ``docs/howto/calibration.md``: what its commands answer today.

A block of text whose first line is ``$ picojoule calibrate ...`` holds the answer beneath. Times
and bytes of many rows would fill the page, and are left out; where several constants are fitted, to
show what rows cannot tell, so is all that is said of rows. Run from the root of the repository:
``python -m tools.make_calibrations``.
"""

from __future__ import annotations

import io
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path

from picojoule.cli import main as command
from picojoule.files import write_atomically

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "calibration.md"
BLOCK = re.compile(r"```text\n\$ (picojoule calibrate [^\n]*)\n.*?```", re.DOTALL)
_FEW = 4
_ROWS = re.compile(r"\n\n[^\n]*error.*?(?=\nremark:|\Z)", re.DOTALL)
_CUT = re.compile(r" (?:time|bytes\.\S+) +(?:fitted|not fitted|kept aside) ")


def answer(line: str) -> str:
    """What a command line answers, as far as the page shows it."""
    shown = io.StringIO()
    with redirect_stdout(shown):
        code = command(shlex.split(line)[1:])
    assert code == 0, line
    rows = shown.getvalue().splitlines()
    cut = {row for row in rows if _CUT.search(row)}
    kept = [row.rstrip() for row in rows if row not in cut or len(cut) <= _FEW]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
    several = "," in line.partition("--fit ")[2].split()[0]
    return _ROWS.sub("", text, count=1) if several else text


def renewed(page: str) -> str:
    """The page with the answers of today."""
    return BLOCK.sub(lambda found: f"```text\n$ {found[1]}\n{answer(found[1])}\n```", page)


def main() -> None:
    """Renew the page."""
    write_atomically(PAGE, renewed(PAGE.read_text("utf-8")))


if __name__ == "__main__":
    main()
