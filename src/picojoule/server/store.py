"""Networks, jobs and results in one SQLite file."""

from __future__ import annotations

import json
import zlib
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from picojoule.server.database import DamagedError, Database

TABLES = """
CREATE TABLE networks (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, content TEXT NOT NULL, used TEXT NOT NULL
);
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, question TEXT NOT NULL, title TEXT NOT NULL, state TEXT NOT NULL,
    created TEXT NOT NULL, ended TEXT, error TEXT, result BLOB, used TEXT NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state, created);
CREATE INDEX jobs_by_use ON jobs (used)
"""
TURNS = """
ALTER TABLE jobs ADD COLUMN client TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN started TEXT;
CREATE INDEX jobs_by_client ON jobs (client, started)
"""
VERSIONS = (TABLES, TURNS)

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
    started: str | None
    ended: str | None
    error: dict[str, Any] | None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in (DONE, FAILED, CANCELLED)


class Store:
    """The server's memory. Safe to use from several threads.

    Writing may raise :class:`NoRoomError`, and reading :class:`DamagedError`; both leave the store
    as it was.

    Raises:
        InputError: the file cannot be opened, another server has it, or it is of a later version.
    """

    def __init__(self, path: Path) -> None:
        self._file = Database(path, VERSIONS)
        self.path = path
        self.set_aside = self._file.set_aside
        """Where a damaged file was put, of which this store takes the place."""

    def close(self) -> None:
        """Write everything and let the file go."""
        self._file.close()

    # -- networks --------------------------------------------------------------------------

    def keep_network(self, id_: str, name: str, content: str, most: int) -> None:
        """Keep a network's table; of more than *most*, those longest unused go."""
        with self._file.transaction() as database:
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
        row = self._file.row("SELECT name, content FROM networks WHERE id = ?", id_)
        return None if row is None else (row[0], row[1])

    def networks(self, most: int = 50) -> list[tuple[str, str]]:
        """Id and name of the uploaded networks, the last used first."""
        return self._file.rows("SELECT id, name FROM networks ORDER BY used DESC LIMIT ?", most)

    # -- jobs ------------------------------------------------------------------------------

    def add_job(self, id_: str, question: dict[str, Any], title: str, client: str = "") -> bool:
        """Queue a job, anew if it failed or was cancelled; False if it is there already."""
        now = _now()
        with self._file.transaction() as database:
            row = database.execute("SELECT state FROM jobs WHERE id = ?", (id_,)).fetchone()
            if row is not None and row[0] not in (FAILED, CANCELLED):
                database.execute("UPDATE jobs SET used = ? WHERE id = ?", (now, id_))
                return False
            database.execute(
                "INSERT OR REPLACE INTO jobs (id, question, title, state, created, used, client) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (id_, json.dumps(question), title, QUEUED, now, now, client),
            )
        return True

    def waiting(self, client: str | None = None) -> int:
        """How many jobs wait, of all clients or of one."""
        if client is None:
            return int(self._file.row("SELECT count(*) FROM jobs WHERE state = ?", QUEUED)[0])
        query = "SELECT count(*) FROM jobs WHERE state = ? AND client = ?"
        return int(self._file.row(query, QUEUED, client)[0])

    def queue(self) -> list[str]:
        """The ids of the jobs that wait, in the order of their turns.

        Clients take turns, so that none waits for all that another asked; a client's own jobs run
        in the order in which they were asked.
        """
        waiting: dict[str, deque[str]] = {}
        for id_, client in self._file.rows(
            "SELECT id, client FROM jobs WHERE state = ? ORDER BY created, id", QUEUED
        ):
            waiting.setdefault(client, deque()).append(id_)
        served = {client: self._served(client) for client in waiting}
        turns = deque(sorted(waiting, key=lambda client: served[client]))
        order = []
        while turns:
            client = turns.popleft()
            order.append(waiting[client].popleft())
            if waiting[client]:
                turns.append(client)
        return order

    def _served(self, client: str) -> str:
        """When a job of *client* was begun last; "" if none was."""
        row = self._file.row("SELECT max(started) FROM jobs WHERE client = ?", client)
        return row[0] or ""

    def take_job(self) -> Job | None:
        """The job whose turn it is, now running; None if none waits."""
        with self._file.transaction() as database:
            order = self.queue()
            if not order:
                return None
            database.execute(
                "UPDATE jobs SET state = ?, started = ? WHERE id = ?", (RUNNING, _now(), order[0])
            )
        return self.job(order[0])

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
        with self._file.transaction() as database:
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
        with self._file.transaction() as database:
            return database.execute(
                "UPDATE jobs SET state = ? WHERE state = ?", (QUEUED, RUNNING)
            ).rowcount

    def job(self, id_: str) -> Job | None:
        """The job of that id."""
        row = self._file.row(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", id_)
        return None if row is None else _job(row)

    def jobs(self, most: int = 50) -> list[Job]:
        """The jobs last used, the newest first."""
        query = f"SELECT {_COLUMNS} FROM jobs ORDER BY used DESC, id LIMIT ?"
        return [_job(row) for row in self._file.rows(query, most)]

    def result(self, id_: str) -> dict[str, Any] | None:
        """What a finished job answered: an estimate as plain data.

        Raises:
            DamagedError: it is no longer what was kept.
        """
        row = self._file.row("SELECT result FROM jobs WHERE id = ?", id_)
        if row is None or row[0] is None:
            return None
        try:
            estimate: dict[str, Any] = json.loads(zlib.decompress(row[0]))
        except (zlib.error, ValueError) as error:
            raise DamagedError(f"the result {id_} is damaged ({error}): ask anew") from None
        return estimate


_COLUMNS = "id, question, title, state, created, started, ended, error"


def _job(row: tuple[Any, ...]) -> Job:
    id_, question, title, state, created, started, ended, error = row
    return Job(
        id=id_,
        question=json.loads(question),
        title=title,
        state=state,
        created=created,
        started=started,
        ended=ended,
        error=None if error is None else json.loads(error),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
