"""``picojoule serve`` as a process: how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from picojoule.cli import main
from picojoule.server.app import create_app
from picojoule.server.database import MAGIC
from tests.server.conftest import Start


def test_ctrl_c_ends_it_with_130(start: Start, tmp_path: Path) -> None:
    assert start(tmp_path / "store.sqlite3").stop() == 130


def test_a_terminating_signal_ends_it_at_once(start: Start, tmp_path: Path) -> None:
    assert start(tmp_path / "store.sqlite3").stop(signal.SIGTERM) == -signal.SIGTERM


def test_a_second_server_on_one_store_is_refused(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = start(tmp_path / "store.sqlite3")
    assert main(["serve", "--port", "0", "--store", str(first.store)]) == 2
    said = capsys.readouterr().err
    assert f"another server, process {first.process.pid}, uses this store" in said
    assert first.call("GET", "/").status_code == 200
    first.stop()


def test_a_damaged_store_is_said_in_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "store.sqlite3"
    place.write_bytes(MAGIC + b"and then nothing that means anything" * 200)
    app = create_app(place)
    (said,) = caplog.messages
    (aside,) = tmp_path.glob("*.damaged-*")
    assert (
        said
        == f"the store {place} was damaged: it is set aside as {aside.name}, and a new one begins"
    )
    assert app.state.services.store.jobs() == []
    app.state.services.store.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no signal is ignored on behalf of children")
def test_ctrl_c_ends_it_where_the_shell_that_started_it_ignores_ctrl_c(tmp_path: Path) -> None:
    """As a shell script starts what it puts in the background with ``&``."""
    serve = f"exec '{sys.executable}' -m picojoule serve --port 0 --store '{tmp_path / 'store'}'"
    with subprocess.Popen(
        ["sh", "-c", f"trap '' INT; {serve}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"http://")
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            process.kill()
