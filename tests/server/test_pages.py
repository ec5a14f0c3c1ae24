"""The pages as HTML, without a browser: each is there, or says why not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from picojoule.server.app import create_app
from picojoule.server.pages import KINDS, static_files
from tests.server.conftest import Server, Start
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


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/r/nonsense", "/compare/x/y", "/runs/minus-one", "/r/", "/%00", "/?from=x"],
)
def test_addresses_that_mean_nothing_are_pages_too(server: Server, path: str) -> None:
    page = server.call("GET", path)
    assert page.status_code == 404
    assert "There is no such page." in page.text
    assert '<link rel="stylesheet"' in page.text
    # a program is told as programs are
    assert server.call("GET", "/api/nothing").json()["error"]["message"] == "Not Found"


def test_pages_wait_for_no_upload_and_no_answer(tmp_path: Path) -> None:
    """Every process that reads for clients is busy, and the pages are there all the same."""

    async def look() -> list[httpx.Response]:
        app = create_app(tmp_path / "store.sqlite3")
        services = app.state.services
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
            services.models.process(),
            services.texts.process(),
            services.readers.process(),
            services.readers.process(),
        ):
            services.store.add_job("0" * 20, {"network": "n", "chip": "c"}, "a question")
            async with asyncio.timeout(10):
                found = [await client.get(path) for path in ("/", f"/r/{UNKNOWN}", "/nothing")]
        await services.stop()
        return found

    home, job, missing = asyncio.run(look())
    assert "a question" in home.text
    assert "Waiting for its turn" in job.text
    assert missing.status_code == 404


def test_a_stranger_gets_a_page_too(start: Start, tmp_path: Path) -> None:
    server = start(tmp_path / "s.sqlite3", "--token", "abcdefghij0123456789")
    page = server.call("GET", "/r/x")
    assert page.status_code == 401
    assert page.headers["content-type"].startswith("text/html")
    assert "open the address it printed" in page.text
    assert server.call("GET", "/api/about").json()["error"]["mistakes"] == []
    server.stop()


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
