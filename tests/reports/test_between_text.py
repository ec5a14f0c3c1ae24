"""What reports say of what lies between the layers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from picojoule.cli import main
from picojoule.comparison import compare
from picojoule.estimate_records import Estimate
from picojoule.estimation import estimate
from picojoule.reports.accesses import network_table
from picojoule.reports.between import others_words
from picojoule.reports.between_tables import between
from picojoule.reports.csv_text import csv_text
from picojoule.reports.document import chart_data, document
from picojoule.reports.html import estimate_fragment
from picojoule.reports.markdown import estimate_markdown
from picojoule.reports.network_table import format_table
from picojoule.reports.page import comparison_page, estimate_page
from picojoule.reports.text import estimate_report, not_counted_line, plain
from tests.plan.test_bounds import FLAT, chain, fc
from tests.plan.test_others import residual


@pytest.fixture(scope="module")
def apart() -> Estimate:
    return estimate(residual(), FLAT, dataflow="flexible")


@pytest.fixture(scope="module")
def counted() -> Estimate:
    return estimate(residual(), FLAT, dataflow="flexible", others="count")


def words(text: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", text).replace("\xa0", " ").split())


def test_rows_are_the_largest_first(apart: Estimate) -> None:
    lying = between(apart)
    assert lying is not None
    # "a" is read by a layer and an operator: of the layers, stored and loaded once.
    assert [(x.tensor, x.energy, x.room) for x in lying.rows] == [
        ("a", "52.7 k x E_MAC", "256 B"),
        ("b", "26.4 k x E_MAC", "256 B"),
    ]
    assert (lying.total.energy, lying.timed, lying.repeated) == ("79.1 k x E_MAC", False, False)
    assert [(x.operator, x.count, x.read, x.written) for x in lying.operators] == [
        ("Add", 1, "256", "128"),
        ("MaxPool", 1, "128", "32"),
    ]
    first, of_one, least = lying.sentences
    assert first.startswith("Keeping tensors on chip could save at most ")
    assert first.endswith(": 79.1 k x E_MAC of an inference.")
    assert of_one.startswith(
        "If a stays in buffer, at most 52.7 k x E_MAC are saved; it needs 256 B"
    )
    assert least.startswith("No schedule that keeps tensors on the chip whole or by parts")
    assert lying.others.startswith("Add x1, MaxPool x1 move 544 words: 112 k x E_MAC (")


def test_the_terminal(apart: Estimate, counted: Estimate) -> None:
    text = words(plain(estimate_report(apart)))
    assert "not in the totals; --others count has it there between keeping tensors on chip" in text
    assert "picojoule show NET --graph -a CHIP" in text
    assert not re.search(r"^ other ", plain(estimate_report(apart)), re.MULTILINE)
    text = plain(estimate_report(counted))
    assert len(re.findall(r"^ other ", text, re.MULTILINE)) == 2  # a row in both tables
    for kind, both in (("charged", "544 544"), ("physical", "1.06 KiB 1.06 KiB")):
        (row,) = re.findall(r"^ other .*", plain(network_table(counted, kind)), re.MULTILINE)
        assert words(row) == f"other {both}"
    assert "not counted: the arithmetic of Relu x2" in not_counted_line(
        {"Relu": 2}, None, counted.others
    )


def test_a_network_of_which_nobody_says_has_no_line() -> None:
    result = estimate(replace(residual(), graph=None), FLAT, dataflow="flexible")
    assert "between" not in plain(estimate_report(result))
    assert between(result) is None
    assert "there is no bound on what keeping tensors" in words(estimate_page(result))
    assert "Between the layers" not in estimate_markdown(result)


def test_where_nothing_can_stay_it_says_why() -> None:
    ends = chain(fc("a", 64, 64, 64))
    lone = between(estimate(ends, FLAT, dataflow="flexible"))
    assert lone is not None
    assert lone.sentences == (
        "No tensor saves anything by staying on chip: none lies between two layers.",
    )
    assert (lone.rows, lone.others) == ((), "")
    outside = between(estimate("mlperf-tiny-ad", "nvdla-like"))
    assert outside is not None
    assert outside.sentences[0].endswith("no memory holds inputs and outputs there.")


def test_one_operator_moves_and_an_unknown_size_is_said(apart: Estimate) -> None:
    assert apart.others is not None
    add = replace(apart.others.operators[0], sized=False)
    text = others_words(replace(apart.others, operators=(add,)), apart)
    assert text.startswith("Add x1 moves 384 words: 79.1 k x E_MAC without 1 of unknown size (")


def test_pages_and_markdown_have_the_tables(apart: Estimate, counted: Estimate) -> None:
    for result in (apart, counted):
        for text in (words(estimate_page(result)), estimate_markdown(result)):
            for part in ("Between the layers", "MaxPool", "together, at most"):
                assert part in text
        assert "Keeping tensors on chip could save" in estimate_fragment(result)
        assert "Keeping tensors on chip could save" in document(result).summary[-1]
    assert "--others count" in document(counted).command
    assert "--others count" not in document(apart).command
    drawn = chart_data([counted])["estimates"][0]["layers"]
    assert [x["name"] for x in drawn] == ["a", "b", "other"]
    assert sum(x["energy"] for x in drawn) == pytest.approx(counted.energy)
    assert chart_data([counted])["operand_colors"]["other"]
    assert csv_text(counted.rows()).splitlines()[-1].startswith("other,0,0,112064.0,")


def test_a_long_table_is_folded_after_its_largest() -> None:
    network = chain(*(fc(f"fc{n}", 4, 4, 4) for n in "abcdefghijklmno"))
    page = estimate_page(estimate(network, FLAT, dataflow="flexible"))
    assert "<summary>2 more tensors, which save less</summary>" in page


def test_blocks_that_repeat_are_one_row() -> None:
    network = chain(*(fc(f"block{n}/fc", 4, 4, 4) for n in range(5)), fc("last", 4, 4, 4))
    lying = between(estimate(network, FLAT, dataflow="flexible"))
    assert lying is not None
    (row,) = lying.rows
    assert (row.tensor, row.times) == ("block0/fc … block4/fc", 5)
    assert (row.energy, row.read_by) == ("33 k x E_MAC", "block1/fc, …")  # 5 x 412 x 16
    assert lying.total.energy == row.energy
    assert (lying.repeated, lying.tensors, lying.total.times) == (True, 5, 5)


def test_two_that_count_otherwise_are_compared(apart: Estimate, counted: Estimate) -> None:
    versus = compare(apart, counted)
    assert ("others", "apart", "count") in versus.changed
    assert [x.name for x in versus.layers] == ["a", "b", "other"]
    assert versus.layers[-1].energy.before is None
    assert versus.to_dict()["by_operand"]["other"]["after"] == 112064
    assert comparison_page(versus)
    assert compare(apart, apart).changed == ()


def test_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ask = ("estimate", "mlperf-tiny-ic", "-a", "tpu-v1-like")
    assert main([*ask, "-o", "apart.json"]) == 0
    assert main([*ask, "--others", "count", "-o", "counted.json"]) == 0
    apart, counted = (json.loads(Path(f"{x}.json").read_text()) for x in ("apart", "counted"))
    assert apart["layers"] == [
        {**layer, "search": was["search"]}
        for layer, was in zip(counted["layers"], apart["layers"], strict=True)
    ]
    together = apart["total"]["energy"] + apart["others"]["energy"]
    assert counted["total"]["energy"] == pytest.approx(together, rel=1e-12)
    assert counted["total"]["by_operand"]["other"] == apart["others"]["energy"]
    capsys.readouterr()
    assert main(["report", "counted.json", "-o", "counted.html"]) == 0
    assert "in the totals." in words(Path("counted.html").read_text())
    capsys.readouterr()
    Path("table.csv").write_text(format_table(replace(residual(), graph=None)))
    assert main(["estimate", "table.csv", "-a", "tpu-v1-like", "--others", "count"]) == 2
    assert "nobody says which layer's output" in capsys.readouterr().err
