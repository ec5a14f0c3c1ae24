"""The pages as HTML, without a browser: each is there, or says why not."""

from __future__ import annotations

import pytest

from picojoule.server.pages import KINDS, static_files
from tests.server.conftest import Server
from tests.server_files import CHIP, TABLE

UNKNOWN = "0" * 20


@pytest.fixture(scope="module")
def results(server: Server) -> list[str]:
    """The ids of two finished questions, that of batch 1 first."""
    network = server.upload("small.csv", TABLE).json()["id"]
    questions = ({"network": network, "chip_yaml": CHIP, "batch": n} for n in (1, 2))
    return [server.finished(question)["id"] for question in questions]


def test_the_home_page_lists_what_was_asked(server: Server, results: list[str]) -> None:
    page = server.call("GET", "/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    for id_ in results:
        assert f"/r/{id_}" in page.text


def test_a_result_has_a_page_that_is_made_once(server: Server, results: list[str]) -> None:
    first = server.call("GET", f"/r/{results[0]}")
    assert first.status_code == 200
    assert "conv1" in first.text
    assert server.call("GET", f"/r/{results[0]}").text == first.text


@pytest.mark.parametrize("path", [f"/r/{UNKNOWN}", f"/compare/{UNKNOWN}/{UNKNOWN}", "/runs/0"])
def test_what_is_not_there_says_so_on_a_page(server: Server, path: str) -> None:
    page = server.call("GET", path)
    assert page.status_code == 404
    assert "<html" in page.text


def test_two_results_are_compared_from_the_earlier_one(server: Server, results: list[str]) -> None:
    before, after = results
    for chosen in (results, results[::-1]):
        answer = server.call("GET", "/compare", params={"r": chosen})
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/compare/{before}/{after}"
    assert server.call("GET", "/compare", params={"r": before}).status_code == 422
    page = server.call("GET", f"/compare/{before}/{after}")
    assert page.status_code == 200
    assert "batch" in page.text


def test_scripts_and_styles_are_served_and_nothing_else(server: Server) -> None:
    files = static_files()
    assert {name.rpartition(".")[2] for name in files} == {kind[1:] for kind in KINDS}
    for name, (kind, content) in files.items():
        answer = server.call("GET", f"/static/{name}")
        assert answer.headers["content-type"] == kind
        assert answer.content == content
    assert server.call("GET", "/favicon.ico").content == files["icon.svg"][1]
    for name in ("pages.py", "..%2fpages.py", "none.js"):
        assert server.call("GET", f"/static/{name}").status_code == 404
