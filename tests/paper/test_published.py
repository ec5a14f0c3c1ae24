"""Published figures, as ``picojoule validate`` compares them; the slow sections run there only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from picojoule import validation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "section",
    [validation.worked_examples, validation.jssc17, validation.asilomar, validation.cvpr17_table1],
)
def test_section(section):
    rows = list(section())
    assert rows
    promised = [row for row in rows if row.tolerance is not None]
    assert promised
    wrong = [f"{r.figure} {r.quantity}: {r.paper} {r.ours}" for r in promised if not r.ok]
    assert not wrong


def test_reduction_is_within_the_promised_range():
    rows = {row.quantity: row.ours for row in validation.cvpr17_table1()}
    assert 3.3 <= rows["reduction by energy-aware"] <= 4.1


def test_fig10_but_for_conv1():
    """CONV1 misses its 8 % by a tenth of a percent: the README says why."""
    rows = list(validation.isca16_fig10())
    assert {row.quantity for row in rows if not row.ok} <= {"conv1 energy"}


def test_mappings_are_made_by_their_tool(tmp_path):
    """The shipped files are what tools/make_mappings.py writes."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import make_mappings
    finally:
        sys.path.pop(0)
    shipped = {p.name: p.read_text() for p in (make_mappings.DATA / "mappings").glob("jssc17-*")}
    target = tmp_path / "mappings"
    target.mkdir()
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import make_mappings as m;"
        "d = pathlib.Path(sys.argv[2]); (d / 'published').symlink_to(m.DATA / 'published');"
        "m.DATA = d; m.main()"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "tools"), str(tmp_path)], check=True, timeout=120
    )
    assert {p.name: p.read_text() for p in target.iterdir()} == shipped
