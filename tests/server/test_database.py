"""The server's file: a full disk, damage, and a second server."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from picojoule.errors import InputError
from picojoule.server.database import DamagedError, Database, NoRoomError
from picojoule.server.store import DONE, QUEUED, TABLES, Store

TEXTS = ("CREATE TABLE texts (text TEXT NOT NULL)",)
ASKED = {"network": "n", "chip": "c"}
SOME = 20_000  # letters


def fill(file: Database) -> None:
    """Take all room but a little, as another program would on the same disk."""
    (pages,) = file.row("PRAGMA page_count")
    file.row(f"PRAGMA max_page_count = {pages + 2}")


def add(file: Database, text: str) -> None:
    with file.transaction() as database:
        database.execute("INSERT INTO texts VALUES (?)", (text,))


def test_a_full_disk_loses_one_transaction_and_no_other(tmp_path: Path) -> None:
    file = Database(tmp_path / "store", TEXTS)
    add(file, "before")
    fill(file)
    for _ in range(3):
        with pytest.raises(NoRoomError, match="make room"):
            add(file, "x" * SOME)
    add(file, "small")
    file.row("PRAGMA max_page_count = 1000000")
    add(file, "x" * SOME)
    assert [len(text) for (text,) in file.rows("SELECT text FROM texts")] == [6, 5, SOME]
    file.close()


@pytest.mark.parametrize("damage", ["start", "middle", "text", "zeros"])
def test_a_damaged_store_is_set_aside(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "store.sqlite3"
    first = Store(path)
    for number in range(50):
        first.keep_network(f"n{number}", "name", "x" * 5000, most=100)
    first.close()
    whole = path.read_bytes()
    broken = {
        "start": b"\xff" * 4096 + whole[4096:],
        "middle": whole[:8192] + b"\xff" * 40960 + whole[49152:],
        "text": b"this is no database",
        "zeros": bytes(len(whole)),
    }[damage]
    path.write_bytes(broken)
    second = Store(path)
    assert second.networks() == []
    assert second.add_job("a", ASKED, "title")
    aside = second.set_aside
    assert aside is not None
    assert aside.read_bytes() == broken
    assert aside.name.startswith("store.sqlite3.damaged-")
    second.close()
    third = Store(path)
    assert third.set_aside is None
    assert third.job("a") is not None
    third.close()


def test_a_file_that_was_never_a_store_stays_where_it_is(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("buy milk")
    for _ in range(2):
        with pytest.raises(InputError, match="not a database"):
            Store(notes)
    assert [x.name for x in tmp_path.iterdir()] == ["notes.txt"]
    assert notes.read_text() == "buy milk"


def test_a_damaged_result_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite3")
    store.add_job("a", ASKED, "title")
    store.end_job("a", DONE, result={"x": 1})
    with store._file.transaction() as database:
        database.execute("UPDATE jobs SET result = ?", (b"nonsense",))
    with pytest.raises(DamagedError, match="ask anew"):
        store.result("a")
    store.keep_network("n", "name", "table", most=3)  # and the store goes on
    store.close()


def test_two_servers_do_not_share_a_store(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    first = Store(path)
    with pytest.raises(InputError, match=r"another server, process \d+, uses this store.*--store"):
        Store(path)
    first.add_job("a", ASKED, "title")
    first.close()
    second = Store(path)
    assert second.job("a") is not None
    second.close()


def test_a_store_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    old = sqlite3.connect(path)
    old.executescript(f"{TABLES}; PRAGMA user_version=1")
    old.execute(
        "INSERT INTO jobs VALUES ('a', '{}', 'title', 'queued', '2026-01-01', NULL, NULL, NULL, '')"
    )
    old.commit()
    old.close()
    store = Store(path)
    job = store.job("a")
    store.close()
    assert job is not None
    assert (job.state, job.started) == (QUEUED, None)
