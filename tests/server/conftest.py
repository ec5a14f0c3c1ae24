"""A server as people start it: its own process, a free port, a store of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

SLOW = {"network": "resnet50", "chip": "eyeriss-v2", "dataflow": "flexible"}
"""A question that takes minutes on a test machine."""


@dataclass
class Server:
    """A running server and how to talk to it."""

    url: str
    process: subprocess.Popen[str]
    store: Path

    def call(self, method: str, path: str, **more: Any) -> Any:
        return httpx.request(method, self.url + path, timeout=60, **more)

    def upload(self, name: str, content: bytes | str, **query: Any) -> Any:
        data = content.encode() if isinstance(content, str) else content
        return self.call("POST", "/api/networks", params={"file": name, **query}, content=data)

    def finished(self, question: dict[str, Any]) -> dict[str, Any]:
        """The job of *question*, once it is over."""
        answer = self.call("POST", "/api/jobs", json=question)
        assert answer.status_code == 202, answer.text
        return self.over(answer.json()["id"])

    def over(self, id_: str) -> dict[str, Any]:
        end = time.monotonic() + 90
        while time.monotonic() < end:
            job: dict[str, Any] = self.call("GET", f"/api/jobs/{id_}").json()
            if job["state"] not in ("queued", "running"):
                return job
            time.sleep(0.05)
        raise AssertionError(f"job {id_} did not end")

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return self.process.wait(30)


Start = Callable[..., Server]


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    running: list[Server] = []

    def begin(store: Path, *words: str, before: tuple[str, ...] = ()) -> Server:
        process = subprocess.Popen(
            [
                *before,
                *(sys.executable, "-m", "picojoule", "serve", "--port", "0"),
                *("--store", str(store), *words),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        url = process.stdout.readline().strip().partition("?")[0].rstrip("/")
        made = Server(url.replace("localhost", "127.0.0.1"), process, store)
        running.append(made)
        return made

    yield begin
    for server in running:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.fixture(scope="module")
def server(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = start(tmp_path_factory.mktemp("server") / "store.sqlite3")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """A page on which nothing may fail: no script error, no refused resource, no other host."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    made = context.new_page()
    made.set_default_timeout(20_000)
    wrong: list[str] = []
    made.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    made.on("requestfailed", lambda x: wrong.append(f"failed: {x.url}") if _fatal(x) else None)

    def spoken(message: Any) -> None:
        # A refusal of the API is an answer; Chromium notes it all the same.
        if message.type == "error" and "the server responded with a status of" not in message.text:
            wrong.append(message.text)

    made.on("console", spoken)
    made.on(
        "request",
        lambda x: None if x.url.startswith((server.url, "data:")) else wrong.append(x.url),
    )
    yield made
    context.close()
    assert wrong == []


def _fatal(request: Any) -> bool:
    # A stream or a download is given up when its page is left.
    return "events" not in request.url and "ERR_ABORTED" not in (request.failure or "")
