"""Files at the edge: read with limits, and their mistakes collected, each with its place."""

from __future__ import annotations

import mmap
import re
from os import fspath
from pathlib import Path

from picojoule.errors import InputError, Mistake

# The longest network list known (a few thousand layers) is below 1 MB.
LARGEST_TEXT = 32 * 1024 * 1024
MOST_MISTAKES = 50

_WHOLE = re.compile(r"[+-]?\d{1,18}(?:\.0*)?|[+-]?\d(?:\.\d{1,17})?[eE]\+?\d{1,2}", re.ASCII)
_REAL = re.compile(r"[+-]?(?:\d{1,40}\.?\d{0,40}|\.\d{1,40})(?:[eE][+-]?\d{1,4})?", re.ASCII)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file.

    Raises:
        InputError: the file is missing, a folder, not readable, too large, or not UTF-8 text.
    """
    check_file(path)
    size = path.stat().st_size
    if size > LARGEST_TEXT:
        raise InputError(fspath(path), [Mistake("file", f"{size} bytes are not a list of layers")])
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            fspath(path), [Mistake("file", f"cannot be read: {error.strerror}")]
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            fspath(path), [Mistake(f"byte {error.start}", "this is not UTF-8 text")]
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(fspath(path), [Mistake(f"line {line}", "a zero byte: not a text file")])
    return text


def map_file(path: Path, least: int, what: str) -> mmap.mmap:
    """A file's bytes, read when they are looked at.

    Args:
        least: bytes that a file of this kind has.
        what: the kind, for the error of a file that is shorter.

    Raises:
        InputError: the file is missing, a folder, not readable, or shorter than that.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            if path.stat().st_size < least:
                raise InputError(fspath(path), [Mistake("file", f"this is not a {what}")])
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise InputError(fspath(path), [Mistake("file", problem)]) from error


def check_file(path: Path) -> None:
    """Raise an InputError unless *path* is an existing regular file."""
    try:
        if path.is_file():
            return
        problem = "this is a folder, not a file" if path.is_dir() else "no such file"
        if path.exists() and not path.is_dir():
            problem = "this is not a regular file"
    except (OSError, ValueError) as error:  # name too long, zero byte in the name
        problem = f"not a usable file name: {error}"
    raise InputError(fspath(path), [Mistake("file", problem)])


class Findings:
    """The mistakes of one file, in the order found, at most :data:`MOST_MISTAKES` of them."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._mistakes: list[Mistake] = []
        self._more = 0

    def __bool__(self) -> bool:
        return bool(self._mistakes)

    def __len__(self) -> int:
        return len(self._mistakes) + self._more

    def add(self, path: str, message: str) -> None:
        """Note one mistake at *path*."""
        if len(self._mistakes) < MOST_MISTAKES:
            self._mistakes.append(Mistake(path, message))
        else:
            self._more += 1

    def error(self) -> InputError:
        """The error that carries them all."""
        mistakes = list(self._mistakes)
        if self._more:
            mistakes.append(Mistake("file", f"and {self._more} more mistakes"))
        return InputError(self.source, mistakes)

    def raise_if_any(self) -> None:
        """Raise the error if there was a mistake."""
        if self:
            raise self.error()

    def whole(self, path: str, text: str, least: int = 0) -> int | None:
        """Read a whole number of at least *least*; note a mistake and return None otherwise.

        ``64.0`` and ``2.27e2`` are whole numbers: MATLAB and spreadsheets write them so.
        """
        text = text.strip()
        if not _WHOLE.fullmatch(text):
            self.add(path, f"{shortened(text)} is not a whole number" if text else "is missing")
            return None
        value = float(text) if re.search("[.eE]", text) else int(text)
        if value != int(value):
            self.add(path, f"{text} is not a whole number")
            return None
        if value < least:
            self.add(path, f"{text} must be at least {least}")
            return None
        return int(value)

    def real(self, path: str, text: str) -> float | None:
        """Read a number of at least 0; note a mistake and return None otherwise."""
        text = text.strip()
        if not _REAL.fullmatch(text) or not float(text) >= 0.0:
            self.add(path, f"{shortened(text)} is not a number of at least 0")
            return None
        return float(text)

    def fraction(self, path: str, text: str) -> float | None:
        """Read a number from 0 to 1; note a mistake and return None otherwise."""
        text = text.strip()
        if not _REAL.fullmatch(text) or not 0.0 <= float(text) <= 1.0:
            self.add(path, f"{shortened(text)} is not a number from 0 to 1")
            return None
        return float(text)


def shortened(text: str, most: int = 40) -> str:
    """*text* in quotes, cut so that an error message stays readable."""
    return repr(text if len(text) <= most else text[: most - 1] + "…")
