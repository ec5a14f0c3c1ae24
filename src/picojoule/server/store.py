"""Networks, jobs and results in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from picojoule.errors import InputError, Mistake

SCHEMA = """
CREATE TABLE IF NOT EXISTS networks (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, content TEXT NOT NULL, used TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, question TEXT NOT NULL, title TEXT NOT NULL, state TEXT NOT NULL,
    created TEXT NOT NULL, ended TEXT, error TEXT, result BLOB, used TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, created);
CREATE INDEX IF NOT EXISTS jobs_by_use ON jobs (used);
"""
VERSION = 1  # of the tables; a file of another version is refused, not guessed at

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
STATES = (QUEUED, RUNNING, DONE, FAILED, CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One question and what became of it; times are UTC, ISO 8601."""

    id: str
    question: dict[str, Any]
    title: str
    state: str
    created: str
    ended: str | None
    error: dict[str, Any] | None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in (DONE, FAILED, CANCELLED)


class Store:
    """The server's memory. Safe to use from several threads.

    Raises:
        InputError: the file cannot be opened, or is of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute("PRAGMA busy_timeout=5000")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                raise InputError(
                    str(path), [Mistake("file", f"a store of version {version}; {VERSION} is read")]
                )
            self._database.executescript(SCHEMA)
            self._database.execute(f"PRAGMA user_version={VERSION}")
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                str(path), [Mistake("file", f"cannot be used as the server's store: {error}")]
            ) from None

    def close(self) -> None:
        """Write everything and let the file go."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _row(self, query: str, *values: object) -> Any:
        with self._lock:
            return self._database.execute(query, values).fetchone()

    # -- networks --------------------------------------------------------------------------

    def keep_network(self, id_: str, name: str, content: str, most: int) -> None:
        """Keep a network's table; of more than *most*, those longest unused go."""
        with self._transaction() as database:
            database.execute(
                "INSERT INTO networks VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET used = excluded.used",
                (id_, name, content, _now()),
            )
            database.execute(
                "DELETE FROM networks WHERE id IN "
                "(SELECT id FROM networks ORDER BY used DESC LIMIT -1 OFFSET ?)",
                (most,),
            )

    def network(self, id_: str) -> tuple[str, str] | None:
        """Name and table of an uploaded network."""
        row = self._row("SELECT name, content FROM networks WHERE id = ?", id_)
        return None if row is None else (row[0], row[1])

    def networks(self, most: int = 50) -> list[tuple[str, str]]:
        """Id and name of the uploaded networks, the last used first."""
        with self._lock:
            return self._database.execute(
                "SELECT id, name FROM networks ORDER BY used DESC LIMIT ?", (most,)
            ).fetchall()

    # -- jobs ------------------------------------------------------------------------------

    def add_job(self, id_: str, question: dict[str, Any], title: str) -> bool:
        """Queue a job, anew if it failed or was cancelled; False if it is there already."""
        now = _now()
        with self._transaction() as database:
            row = database.execute("SELECT state FROM jobs WHERE id = ?", (id_,)).fetchone()
            if row is not None and row[0] not in (FAILED, CANCELLED):
                database.execute("UPDATE jobs SET used = ? WHERE id = ?", (now, id_))
                return False
            database.execute(
                "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, NULL, NULL, NULL, ?)",
                (id_, json.dumps(question), title, QUEUED, now, now),
            )
        return True

    def waiting(self) -> int:
        """How many jobs wait."""
        return int(self._row("SELECT count(*) FROM jobs WHERE state = ?", QUEUED)[0])

    def take_job(self) -> Job | None:
        """The job that waits longest, now running; None if none waits."""
        with self._transaction() as database:
            row = database.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE state = ? ORDER BY created, id LIMIT 1",
                (QUEUED,),
            ).fetchone()
            if row is None:
                return None
            database.execute("UPDATE jobs SET state = ? WHERE id = ?", (RUNNING, row[0]))
        return _job((*row[:3], RUNNING, *row[4:]))

    def end_job(
        self,
        id_: str,
        state: str,
        *,
        result: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        most: int = 1 << 31,
    ) -> bool:
        """Note the end of a job that is not over; False if it was over already."""
        blob = None if result is None else zlib.compress(json.dumps(result).encode(), 6)
        said = None if error is None else json.dumps(error)
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE jobs SET state = ?, ended = ?, error = ?, result = ? "
                "WHERE id = ? AND state IN (?, ?)",
                (state, _now(), said, blob, id_, QUEUED, RUNNING),
            ).rowcount
            database.execute(
                "DELETE FROM jobs WHERE ended IS NOT NULL AND id IN "
                "(SELECT id FROM jobs ORDER BY used DESC LIMIT -1 OFFSET ?)",
                (most,),
            )
        return changed > 0

    def requeue_running(self) -> int:
        """Queue what a server that went down had begun; how many jobs that were."""
        with self._transaction() as database:
            return database.execute(
                "UPDATE jobs SET state = ? WHERE state = ?", (QUEUED, RUNNING)
            ).rowcount

    def job(self, id_: str) -> Job | None:
        """The job of that id."""
        row = self._row(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", id_)
        return None if row is None else _job(row)

    def jobs(self, most: int = 50) -> list[Job]:
        """The jobs last used, the newest first."""
        with self._lock:
            rows = self._database.execute(
                f"SELECT {_COLUMNS} FROM jobs ORDER BY used DESC, id LIMIT ?", (most,)
            ).fetchall()
        return [_job(row) for row in rows]

    def result(self, id_: str) -> dict[str, Any] | None:
        """What a finished job answered: an estimate as plain data."""
        row = self._row("SELECT result FROM jobs WHERE id = ?", id_)
        if row is None or row[0] is None:
            return None
        estimate: dict[str, Any] = json.loads(zlib.decompress(row[0]))
        return estimate


_COLUMNS = "id, question, title, state, created, ended, error"


def _job(row: tuple[Any, ...]) -> Job:
    id_, question, title, state, created, ended, error = row
    return Job(
        id=id_,
        question=json.loads(question),
        title=title,
        state=state,
        created=created,
        ended=ended,
        error=None if error is None else json.loads(error),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
