"""What multiplies and is in no layer is said first, on everything that is made of a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import picojoule
from picojoule import Estimate, Workload
from picojoule.cli import main
from picojoule.comparison import compare
from picojoule.completeness import left_out
from picojoule.errors import WorkloadError
from picojoule.estimate_records import load_estimate, parse_estimate
from picojoule.eyexam.examination import examine
from picojoule.eyexam.saved import load_examination
from picojoule.frontends import read_table
from picojoule.question import ask
from picojoule.reports.html import estimate_fragment
from picojoule.reports.machines import networks_table
from picojoule.reports.markdown import comparison_markdown, estimate_markdown
from picojoule.reports.network_table import format_table, write_table
from picojoule.reports.page import comparison_page, estimate_page
from picojoule.reports.text import plain
from picojoule.specs import parse_accelerator
from tests.reports.conftest import estimated, network
from tests.server_files import CHIP

LEFT_OUT = {"com.foo.Op": 1, "LSTM": 2}
REMARKS = ("the first dimension is taken for the batch", "weights are not there")
SENTENCE = (
    "incomplete: 3 operators of the network multiply, or may, and are in no layer: "
    "LSTM x2, com.foo.Op x1; the figures leave them out"
)


def half() -> Workload:
    return replace(network(), unmodelled=LEFT_OUT, remarks=REMARKS)


@pytest.fixture(scope="module")
def whole() -> Estimate:
    return estimated(network())


@pytest.fixture(scope="module")
def incomplete() -> Estimate:
    return estimated(half())


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, incomplete: Estimate) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(half(), "half.csv")
    Path("chip.yaml").write_text(CHIP)
    incomplete.save("half.json")
    estimated(network()).save("whole.json")


# -- records -------------------------------------------------------------------------------


def test_words() -> None:
    assert left_out({}) == ""
    assert left_out(LEFT_OUT) == SENTENCE
    one = left_out({"two\nlines": 1}, "net")
    assert one.startswith("incomplete: 1 operator of net multiplies, or may, and is in no layer:")
    assert "two lines x1; the figures leave it out" in one


def test_an_estimate_knows_and_its_numbers_are_the_same(
    incomplete: Estimate, whole: Estimate, tmp_path: Path
) -> None:
    assert whole.complete
    assert not incomplete.complete
    assert (dict(incomplete.unmodelled), incomplete.remarks) == (LEFT_OUT, REMARKS)
    assert incomplete.energy == whole.energy
    assert incomplete.rows() == whole.rows()
    record = incomplete.to_dict()
    assert record["complete"] is False
    assert record["unmodelled"] == [{"op": "LSTM", "count": 2}, {"op": "com.foo.Op", "count": 1}]
    assert record["remarks"] == list(REMARKS)
    incomplete.save(tmp_path / "x.json")
    back = load_estimate(tmp_path / "x.json")
    assert back == incomplete
    again = back.workload()
    assert (dict(again.unmodelled), again.remarks) == (LEFT_OUT, REMARKS)


def test_a_file_of_before_is_complete(whole: Estimate) -> None:
    record = whole.to_dict()
    for name in ("complete", "unmodelled", "remarks"):
        del record[name]
    old = parse_estimate(record, "old.json")
    assert old == whole
    assert old.complete


def test_an_examination_knows(tmp_path: Path) -> None:
    found = examine(half(), parse_accelerator(CHIP, "chip.yaml"))
    assert not found.complete
    assert found.to_dict()["complete"] is False
    found.save(tmp_path / "x.json")
    saved = load_examination(tmp_path / "x.json")
    assert (dict(saved.unmodelled), saved.remarks) == (LEFT_OUT, REMARKS)


def test_one_layer_alone_leaves_nothing_out() -> None:
    question = ask(half(), parse_accelerator(CHIP, "chip.yaml"))
    assert not question.network.complete
    alone = question.of_layer("fc")
    assert alone.network.complete
    assert alone.network.remarks == REMARKS


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"unmodelled": LEFT_OUT}, r"what multiplies in it.*LSTM x2, com.foo.Op x1; please report"),
        (
            {"not_counted": {"Relu": 3}},
            "nothing in it multiplies.*it holds Relu x3; give a net",
        ),
        ({}, "nothing in it multiplies and accumulates; give"),
    ],
)
def test_a_network_of_no_layer_is_no_question(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        picojoule.estimate(Workload("empty", (), **parts), "eyeriss")


def test_a_table_keeps_it(tmp_path: Path) -> None:
    text = format_table(half())
    assert "# not modelled: com.foo.Op 1, LSTM 2\n" in text
    assert [x for x in text.splitlines() if "remark" in x] == [f"# remark: {x}" for x in REMARKS]
    write_table(half(), tmp_path / "x.csv")
    back = read_table(tmp_path / "x.csv")
    assert (back.unmodelled, back.remarks) == (LEFT_OUT, REMARKS)
    assert format_table(back).splitlines()[-2:] == text.splitlines()[-2:]


# -- what is shown -------------------------------------------------------------------------


def test_markdown_and_notebook_say_it_first(incomplete: Estimate, whole: Estimate) -> None:
    text = estimate_markdown(incomplete)
    assert text.startswith("**incomplete: 3 operators")
    assert "Remark: weights are not there" in text
    assert estimate_markdown(whole).startswith("# small on tiny")
    both = comparison_markdown(compare(whole, incomplete))
    assert both.startswith("**incomplete: 3 operators of small (after) multiply")
    assert estimate_fragment(incomplete).startswith(
        f'<div class="picojoule"><p><strong>{SENTENCE}</strong></p><p>'
    )
    assert "incomplete" not in estimate_fragment(whole)


def test_pages_begin_with_it(incomplete: Estimate, whole: Estimate) -> None:
    def body(page: str) -> str:
        return page[page.index("<main>") : page.index("</h1>")]

    assert SENTENCE in body(estimate_page(incomplete))
    assert "role=" not in body(estimate_page(whole))
    assert "small (before)" in body(estimate_page(whole, before=incomplete))
    assert "small (before)" in body(comparison_page(compare(incomplete, whole)))
    assert "Remark: weights are not there" in estimate_page(incomplete)


def test_a_name_of_an_operator_cannot_leave_its_place() -> None:
    evil = estimated(replace(network(), unmodelled={"</p><script>\r\n# x": 1}))
    assert "</p><script>" not in estimate_page(evil)
    assert "</p><script>" not in estimate_fragment(evil)
    assert "\n# x" not in estimate_markdown(evil)


def test_comparisons_carry_both(incomplete: Estimate, whole: Estimate) -> None:
    mixed = compare(whole, incomplete)
    assert not mixed.complete
    record = mixed.to_dict()
    assert (record["complete"], record["before"]["complete"]) == (False, True)
    assert record["after"]["unmodelled"][0] == {"op": "LSTM", "count": 2}
    assert compare(whole, whole).complete
    assert compare(whole, whole).warnings == ()


def test_a_list_of_networks_names_it() -> None:
    shown = plain(networks_table([("half", half()), ("whole", network())]))
    assert " ".join(shown.split()).count("incomplete: 3 operators") == 1


def test_pictures_say_it(incomplete: Estimate, whole: Estimate, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from picojoule.reports.plots import save_plot

    save_plot(incomplete, tmp_path / "a.svg")
    save_plot(whole, tmp_path / "b.svg")
    assert "#b3261e" in (tmp_path / "a.svg").read_text()
    assert "#b3261e" not in (tmp_path / "b.svg").read_text()


# -- the command line ----------------------------------------------------------------------

Look = Callable[[str], bool]


def first(text: str) -> Look:
    return lambda out: out.splitlines()[0] == text


COMMANDS: dict[str, tuple[list[str], Look]] = {
    "estimate": (["estimate", "half.csv", "-a", "chip.yaml"], first(SENTENCE)),
    "estimate json": (
        ["estimate", "half.csv", "-a", "chip.yaml", "--json"],
        lambda out: json.loads(out)["complete"] is False,
    ),
    "eyexam": (["eyexam", "half.csv", "-a", "chip.yaml"], first(SENTENCE)),
    "compare": (
        ["compare", "whole.json", "half.json"],
        first(SENTENCE.replace("the network", "small (after)")),
    ),
}


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", COMMANDS)
def test_answers_say_it_first_and_end_with_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, look = COMMANDS[name]
    assert main(words) == 2
    said = capsys.readouterr()
    assert look(said.out)
    told = said.err.splitlines()
    assert told[0].startswith("incomplete: 3 operators")
    assert "--allow-incomplete" in told[1]
    assert main([*words, "--allow-incomplete"]) == 0
    allowed = capsys.readouterr()
    assert look(allowed.out)
    assert allowed.err.splitlines() == told[:1]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("words", "endings"),
    [
        (["estimate", "half.csv", "-a", "chip.yaml"], ["txt", "csv"]),
        (["eyexam", "half.csv", "-a", "chip.yaml"], ["txt", "csv"]),
        (["report", "half.json"], ["csv", "md"]),
        (["compare", "half.json", "whole.json"], ["txt", "csv", "md"]),
    ],
)
def test_files_say_it_first(words: list[str], endings: list[str]) -> None:
    starts = {"txt": "incomplete: ", "csv": "# incomplete: ", "md": "**incomplete: "}
    for ending in endings:
        assert main([*words, "-o", f"out.{ending}"]) == 2
        line = Path(f"out.{ending}").read_text().splitlines()[0]
        assert line.startswith(starts[ending])
        assert "com.foo.Op x1; the figures leave them out" in line


@pytest.mark.usefixtures("files")
def test_what_is_about_one_layer_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "half.csv", "fc", "-a", "chip.yaml"]) == 0
    assert main(["eyexam", "half.csv", "fc", "-a", "chip.yaml"]) == 0
    assert "incomplete" not in "".join(capsys.readouterr())


@pytest.mark.usefixtures("files")
def test_what_is_complete_is_a_table_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "whole.json", "-o", "whole.csv"]) == 0
    assert Path("whole.csv").read_text().startswith("layer,")
    assert main(["check", "half.csv"]) == 0
    assert SENTENCE in capsys.readouterr().out


@pytest.mark.usefixtures("files")
def test_an_empty_network_is_a_wrong_question(capsys: pytest.CaptureFixture[str]) -> None:
    Path("nets.py").write_text(
        "from picojoule import Workload\n"
        "def net():\n    return Workload('vad', (), unmodelled={'LSTM': 2})\n"
    )
    assert main(["estimate", "nets.py:net", "-a", "chip.yaml", "--allow-incomplete"]) == 2
    assert "'vad' has no layer to price" in capsys.readouterr().err
