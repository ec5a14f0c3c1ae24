"""Renew the reports in ``docs/howto/calibration.md``: what its commands answer today.

A block of text whose first line is ``$ picojoule calibrate ...`` holds the answer beneath, without
the lines that end in a cut: times and bytes of single rows, which would fill the page. Run from the
root of the repository: ``python -m tools.make_calibrations``.
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
_CUT = re.compile(r" (?:time|bytes\.\S+) +(?:fitted|not fitted|kept aside) ")


def answer(line: str) -> str:
    """What a command line answers, without the times and bytes of single rows."""
    shown = io.StringIO()
    with redirect_stdout(shown):
        code = command(shlex.split(line)[1:])
    assert code == 0, line
    kept = [row.rstrip() for row in shown.getvalue().splitlines() if not _CUT.search(row)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()


def renewed(page: str) -> str:
    """The page with the answers of today."""
    return BLOCK.sub(lambda found: f"```text\n$ {found[1]}\n{answer(found[1])}\n```", page)


def main() -> None:
    """Renew the page."""
    write_atomically(PAGE, renewed(PAGE.read_text("utf-8")))


if __name__ == "__main__":
    main()
