"""Files written whole or not at all: the only writer of the package.

The content goes to a hidden file beside the place, which then takes the place in one step; readers
and other writers see the old file or a whole new one. What a killed process leaves behind is such a
hidden file, which :func:`is_leftover` knows.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from picojoule.errors import InputError, Mistake

_LEFTOVER = re.compile(r"\.picojoule-[0-9a-f]{16}\.tmp")


def write_atomically(
    path: Path, content: str | bytes, *, durable: bool = True, as_mistake: bool = True
) -> None:
    """Put *content*, text as UTF-8, in the place of *path*; the arguments are :func:`replacing`'s.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder) / "energy.txt", "59.3 µJ")
    ...     (Path(folder) / "energy.txt").read_text("utf-8")
    '59.3 µJ'
    """
    with replacing(path, durable=durable, as_mistake=as_mistake) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path, *, durable: bool = True, as_mistake: bool = True) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of *path* when the block ends well.

    A new file has the permissions that any new file has there, one that is replaced keeps its own;
    a link stays, and what it leads to is replaced.

    Args:
        durable: the content, then the name, are on the disk before this returns, so that a power
            cut loses neither. Without, a cut may leave a torn file: for what is checked on reading.
        as_mistake: what cannot be written is the user's mistake, an error that names the file.

    Raises:
        InputError: the place cannot be written, with *as_mistake*; nothing is left behind.
        OSError: the same without.
    """
    try:
        with _replacing(Path(os.path.realpath(path)), durable) as file:
            yield file
    except OSError as error:
        if not as_mistake:
            raise
        raise InputError(str(path), [Mistake("file", f"cannot be written: {error}")]) from None


def is_leftover(path: Path) -> bool:
    """Whether *path* is a file that a killed process was writing.

    >>> is_leftover(Path("run/.picojoule-0123456789abcdef.tmp")), is_leftover(Path("run/run.json"))
    (True, False)
    """
    return _LEFTOVER.fullmatch(path.name) is not None


def cache_folder() -> Path | None:
    """The user's folder for what can be made again; None where there is none.

    It is where the platform wants it: under ``XDG_CACHE_HOME`` or ``~/.cache`` on Linux,
    ``~/Library/Caches`` on a Mac, the local application data on Windows.
    """
    # Who keeps nothing need not know how platforms differ.
    from platformdirs import user_cache_path

    folder = user_cache_path("picojoule", appauthor=False)
    return folder if folder.is_absolute() else None  # a user without a home


@contextmanager
def _replacing(path: Path, durable: bool) -> Iterator[BinaryIO]:
    try:
        kept: int | None = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        kept = None
    temporary = path.with_name(f".picojoule-{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    # The system applies the process' mask or the folder's defaults; to ask for the mask is to
    # change it, for every thread. A private file is at no time open to more than its own mode.
    handle = os.open(temporary, flags, 0o666 if kept is None else kept & 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            if kept is not None:
                temporary.chmod(kept)
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        _keep_names(path.parent)


def _keep_names(folder: Path) -> None:
    """Have the names in *folder* on the disk, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
