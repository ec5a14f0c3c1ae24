"""The report file: complete, alone, and safe."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import picojoule
from picojoule.comparison import compare
from picojoule.estimate_records import Estimate
from picojoule.reports.document import document
from picojoule.reports.markdown import comparison_markdown, estimate_markdown
from picojoule.reports.page import (
    asset,
    comparison_page,
    comparison_words,
    data_block,
    estimate_page,
)
from tests.reports.conftest import EVIL


class Reader(HTMLParser):
    """Collects text, tags, and everything that a browser would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.scripts, self.data = "", 0, ""
        self.fetched: list[str] = []
        self._open: list[str] = []
        self._block = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.fetched += [given[name] for name in ("src", "href") if given.get(name)]
        if tag == "script":
            self.scripts += 1
            self._block = given.get("id") == "picojoule-data"
        if tag in ("script", "style"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open == ["script"] and self._block:
            self.data += data
        elif not self._open:
            self.text += data


def test_most_of_it_is_more_than_half(dense: Estimate) -> None:
    words = " ".join(document(dense).summary)
    share = max(dense.by_memory.values()) / dense.energy
    assert ("Most of it" in words) == (share > 0.5)
    even = replace(dense.layers[0], by_memory={"dram": 0.4, "buffer": 0.3, "compute": 0.3})
    words = " ".join(document(replace(dense, layers=(replace(even, energy=1.0),))).summary)
    assert "The largest part, 40.0 %, is spent at dram" in words


def test_texts_of_charts_have_a_font_of_their_own() -> None:
    """A canvas inherits none: texts would be measured in one font and drawn in another."""
    assert "inherit" not in re.sub(r"//.*", "", asset("charts.js"))


def test_the_report_is_one_file_without_network(dense: Estimate, sparse: Estimate) -> None:
    for page in (
        estimate_page(dense),
        estimate_page(sparse, dense),
        comparison_page(compare(dense, sparse)),
    ):
        read = Reader(page)
        assert read.fetched == []
        assert len(page.encode()) < 2_000_000
        assert "default-src 'none'" in page
        assert read.scripts == 4


def test_the_report_says_everything(sparse: Estimate) -> None:
    text = " ".join(Reader(estimate_page(sparse)).text.split())
    for part in (
        "small on tiny",
        "One inference of small on tiny costs",
        "3×3 convolution, 2 to 3 channels, 5×5 to 3×3",
        "multiply and accumulate",
        "input density",
        "0.25",
        "Relu: 2 times",
        "control and clock tree",
        "A transfer is charged once, at the dearer of its two memories.",
        "A MAC with a zero input or weight costs no energy, but its cycle passes.",
        "dram moves weights as bitmap, where that saves.",
        "Every mapping is proved to have the least energy in its space.",
        "picojoule estimate network.csv -a chip.yaml --dataflow flexible -o run.json",
        "name: tiny",
        "Roofline over dram",
    ):
        assert part in text, part


def test_names_cannot_leave_their_place(evil: Estimate) -> None:
    for page in (estimate_page(evil), comparison_page(compare(evil, evil))):
        read = Reader(page)
        assert read.scripts == 4
        assert EVIL in read.text
        drawn = json.loads(read.data)
        assert drawn["estimates"][0]["layers"][0]["name"] == EVIL
    assert "<" not in data_block({"x": "</script><!--"})


def test_the_files_in_the_report_make_the_same_estimate(sparse: Estimate) -> None:
    from picojoule.frontends import parse_table
    from picojoule.specs import parse_accelerator

    files = dict(document(sparse).files)
    network = parse_table(files["network.csv"], source="network.csv")
    again = picojoule.estimate(network, parse_accelerator(files["chip.yaml"], "chip.yaml"))
    assert again.energy == sparse.energy
    assert [x.mapping for x in again.layers] == [x.mapping for x in sparse.layers]
    assert again.not_counted == sparse.not_counted


def test_the_charts_draw_what_the_estimate_says(sparse: Estimate) -> None:
    drawn = json.loads(Reader(estimate_page(sparse)).data)["estimates"][0]
    assert drawn["energy"] == sparse.energy
    assert [x["by_memory"] for x in drawn["layers"]] == [dict(x.by_memory) for x in sparse.layers]


def test_a_layer_is_never_above_its_roof(dense: Estimate) -> None:
    (roof,) = document(dense).rooflines
    assert roof.memory == "dram"
    assert (roof.peak, roof.bandwidth) == (4.0, 4.0)
    limits = {x.name: x.limited_by for x in dense.layers}
    for point in roof.points:
        allowed = min(roof.peak, roof.bandwidth * point.intensity)
        assert point.speed <= allowed * (1 + 1e-9)
        if limits[point.layer] == "dram":
            assert point.speed >= roof.bandwidth * point.intensity * (1 - 1e-9)


def test_a_file_of_before_layers_were_recorded(dense: Estimate) -> None:
    bare = replace(dense, machine=None, layers=tuple(replace(x, layer=None) for x in dense.layers))
    text = Reader(estimate_page(bare)).text
    assert "does not hold the machine" in text
    assert "give your own" in text
    assert estimate_markdown(bare).startswith("# small on tiny")


def test_words(dense: Estimate, sparse: Estimate) -> None:
    assert re.match(
        r"One inference costs 1\.\d+ times less", comparison_words(compare(dense, sparse))
    )
    assert "times more" in comparison_words(compare(sparse, dense))
    assert "costs the same" in comparison_words(compare(dense, dense))


def test_markdown(evil: Estimate, dense: Estimate, sparse: Estimate) -> None:
    text = estimate_markdown(evil)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({re.sub(r"\\\|", "", row).count("|") for row in rows[:4]}) == 1
    assert "<script>" not in re.sub(r"\\<", "", text.partition("## How to make this anew")[0])
    assert "\n# d" not in text.partition("## How to make this anew")[0]
    both = comparison_markdown(compare(dense, sparse))
    assert "- weight density: 1.0 before, 0.25 after" in both
