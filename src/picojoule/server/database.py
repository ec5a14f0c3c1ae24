"""The server's SQLite file: one server at a time, damage set aside, and no room left survived."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from picojoule.errors import InputError, Mistake, PicojouleError

MAGIC = b"SQLite format 3\x00"
BESIDE = ("", "-wal", "-shm")  # SQLite's own files, of which none means anything without the others

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class StoreError(PicojouleError):
    """The file cannot be used at present."""


class NoRoomError(StoreError):
    """The disk takes nothing more."""


class DamagedError(StoreError):
    """The file is no longer what was written."""


class Database:
    """An open SQLite file that no other server has open. Safe to use from several threads.

    Args:
        path: made if it is not there.
        versions: for each version of the tables but the first, what makes it of the one before;
            the first entry makes the tables. A file of a later version is refused, not guessed at.

    Raises:
        InputError: it cannot be opened, another server has it, or it is of a later version.
    """

    def __init__(self, path: Path, versions: tuple[str, ...]) -> None:
        self.path = path
        self.set_aside: Path | None = None
        self._lock = threading.RLock()
        beside = path.with_name(f"{path.name}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            was_ours = beside.exists()
            self._held = beside.open("ab+")
        except OSError as error:
            raise _unusable(path, str(error)) from None
        try:
            _hold(self._held, path)
            try:
                self._database = _opened(path, versions)
            except sqlite3.DatabaseError as error:
                if not (_is_damage(error) and (was_ours or _looks_like_a_store(path))):
                    raise
                self.set_aside = _put_aside(path)
                self._database = _opened(path, versions)
        except (OSError, sqlite3.Error) as error:
            self._held.close()
            if not was_ours:
                beside.unlink()
            raise _unusable(path, str(error)) from None
        except BaseException:
            self._held.close()
            raise

    def close(self) -> None:
        """Write everything and let the file go."""
        with self._lock:
            self._database.close()
            self._held.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """What is done in the block is kept together, or not at all.

        Raises:
            NoRoomError, DamagedError: nothing is kept; the next transaction may succeed.
        """
        with self._lock, _named():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already.
                with suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise

    def row(self, query: str, *values: object) -> Any:
        """The first row of *query*, or None.

        Raises:
            DamagedError: as it says.
        """
        with self._lock, _named():
            return self._database.execute(query, values).fetchone()

    def rows(self, query: str, *values: object) -> list[Any]:
        """All rows of *query*.

        Raises:
            DamagedError: as it says.
        """
        with self._lock, _named():
            return self._database.execute(query, values).fetchall()


def _opened(path: Path, versions: tuple[str, ...]) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("PRAGMA busy_timeout=5000")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > len(versions):
            problem = f"a store of version {version}; up to {len(versions)} is read"
            raise InputError(str(path), [Mistake("file", problem)])
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _Damage(verdict)
        for number, script in enumerate(versions[version:], version + 1):
            database.executescript(f"BEGIN; {script}; PRAGMA user_version={number}; COMMIT")
    except BaseException:
        database.close()
        raise
    return database


class _Damage(sqlite3.DatabaseError):
    """What the check of a whole file finds."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


@contextmanager
def _named() -> Iterator[None]:
    """Errors of SQLite that no one can prevent, by their name here."""
    try:
        yield
    except sqlite3.Error as error:
        if _is_damage(error):
            raise DamagedError(
                f"the server's store is damaged ({error}): start the server anew, which sets it "
                "aside and begins another"
            ) from error
        if _code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            raise NoRoomError(
                f"the disk of the server's store takes nothing more ({error}): make room on it"
            ) from error
        raise


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary code of an error; 0 of those of Python's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_damage(error: sqlite3.Error) -> bool:
    return _code(error) in _DAMAGED


def _looks_like_a_store(path: Path) -> bool:
    """Whether a file that SQLite does not read was one of its own: no other may be moved away."""
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
    return start == MAGIC or not any(start)


def _put_aside(path: Path) -> Path:
    """Rename a damaged file and those beside it; where it is now."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    for ending in BESIDE:
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    return aside


def _unusable(path: Path, why: str) -> InputError:
    return InputError(str(path), [Mistake("file", f"cannot be used as the server's store: {why}")])


def _hold(file: BinaryIO, path: Path) -> None:
    """Take the lock that ends with this process, however it ends.

    Raises:
        InputError: another process has it.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        who = file.read(20).decode("ascii", "replace").strip()
        process = f", process {who}," if who.isdigit() else ""
        problem = (
            f"another server{process} uses this store: end it, or give this one a store of its "
            "own with --store"
        )
        raise InputError(str(path), [Mistake("file", problem)]) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n".encode())
    file.flush()
