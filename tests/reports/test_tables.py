"""Tables and paragraphs: as wide as the terminal, and no number apart from its unit."""

from __future__ import annotations

import itertools
import re
from functools import cache
from io import StringIO

import pytest
from rich.console import Group

from picojoule.estimate_records import Estimate
from picojoule.estimation import price
from picojoule.frontends import shipped_networks
from picojoule.mapping import Mapping, Stage
from picojoule.question import ask
from picojoule.reports.tables import Column, Grid, Picture, cell, grid, joined, plain, prose, show
from picojoule.reports.text import estimate_report
from picojoule.workload import Extents

WIDTHS = (80, 100, 120)


@cache
def trivial(network: str) -> Estimate:
    """A network on the Eyeriss chip, every MAC fetched on its own: nothing is searched."""
    asked = ask(network, "eyeriss")
    keeps = [level.keeps for level in asked.accelerator.levels]
    mappings = {
        share.layer.name: Mapping(
            tuple(
                Stage(share.part.bounds if not n else Extents(), keeps=keep)
                for n, keep in enumerate(keeps)
            )
        )
        for share in asked.shares()
    }
    return price(asked, mappings=mappings)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("network", shipped_networks())
def test_no_line_of_an_estimate_is_past_the_width(network: str, width: int) -> None:
    lines = plain(estimate_report(trivial(network)), width).splitlines()
    assert max(map(len, lines)) <= width
    for line, after in itertools.pairwise(lines):
        if line and line[-1].isdigit():
            assert not re.match(r"\s*(?:%|[kMGTµmnp]?J\b|[kMGT]\b|[KMG]iB\b)", after), (line, after)


def test_what_is_left_out_is_said_and_is_there_if_asked_for() -> None:
    estimate = trivial("bvlc-alexnet")
    narrow, wide = plain(estimate_report(estimate), 80), plain(estimate_report(estimate))
    assert "Left out for want of width: " in narrow
    assert "Left out" not in wide
    assert max(map(len, wide.splitlines())) > 100


def test_the_column_that_is_missed_least_goes_first() -> None:
    table = Grid(
        [
            Column(head="layer", words=True),
            Column(head="energy [mJ]"),
            Column(head="status", spare=2),
            Column(head="cycles", spare=1),
        ]
    )
    table.add_row("conv1", "1.25", "optimal", "1.06 M")
    heads = {width: plain(table, width).split("\n")[1].split() for width in (60, 34, 26)}
    assert heads[60] == ["layer", "energy", "[mJ]", "status", "cycles"]
    assert heads[34] == ["layer", "energy", "[mJ]", "cycles"]
    assert heads[26] == ["layer", "energy", "[mJ]"]
    assert "Left out for want of width: status, cycles." in " ".join(plain(table, 26).split())
    # Nothing more can go: numbers are never cut, names are broken into lines.
    assert "1.25" in plain(table, 10)


def test_words_are_broken_and_numbers_never() -> None:
    table = grid("layer", "energy")
    table.add_row("a-very-long-name/of-a-layer/in-a-network", "12345.6 µJ")
    lines = plain(table, 30).splitlines()
    assert max(map(len, lines)) <= 30
    assert any("12345.6 µJ" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "tied"),
    [
        ("16.3 G x E_MAC in all", "16.3~G~x~E_MAC in all"),
        ("12 x E_MAC", "12~x~E_MAC"),
        ("45 % of 12 KiB", "45~% of 12~KiB"),
        ("7.94 mJ at 200 MHz", "7.94~mJ at 200~MHz"),
        ("16 bit, 4 buffers, 5 Macs", "16~bit, 4 buffers, 5 Macs"),
    ],
)
def test_numbers_and_units_are_tied(text: str, tied: str) -> None:
    assert joined(text) == tied.replace("~", "\ue000")
    assert plain(cell(text)) == f"{text}\n"


def test_paragraphs_are_broken_once_and_never_before_a_unit() -> None:
    text = "a share of 12.5 % and " * 20
    for width in range(30, 60):
        lines = plain(prose(text), width).splitlines()
        assert max(map(len, lines)) <= width
        assert not any(line.startswith("%") for line in lines)
        # No line ends early: the next word would not have fitted.
        for line, after in itertools.pairwise(lines):
            first = after.split()[0] + (" %" if after.split()[1:2] == ["%"] else "")
            assert len(line) + 1 + len(first) > width


def test_a_picture_keeps_its_indents() -> None:
    text = "buffer [ input:1 weight:2 ]\n|   for C in [0:4)"
    assert plain(Picture(text)) == f"{text}\n"
    assert plain(Picture(text), 16).splitlines()[1].startswith("    ")


def test_a_name_cannot_tie_or_steer() -> None:
    assert plain(cell("a\ue000b\x1b[2J")) == "a�b�[2J\n"


def test_wide_is_wide_on_any_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    report = estimate_report(trivial("bvlc-alexnet"))
    assert isinstance(report, Group)
    for wide in (False, True):
        out = StringIO()
        show(report, out, wide=wide)
        longest = max(map(len, out.getvalue().splitlines()))
        assert (longest > 80) is wide
