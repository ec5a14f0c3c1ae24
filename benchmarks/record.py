"""What a benchmark has finished, kept so that a run may be interrupted; and how it was run."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import picojoule
from picojoule.files import write_atomically
from picojoule.mapper.cache import fingerprint

Row = dict[str, Any]


class Record:
    """Finished rows in a file of JSON lines, one appended as soon as it is there.

    Rows of another *version* of the sources are left alone and not read.
    """

    def __init__(self, path: Path, version: str, *, again: bool = False) -> None:
        self.path, self.version = path, version
        self._parts: dict[str, list[Row]] = {}
        if path.exists() and not again:
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:  # the last line of a run that was killed
                    continue
                if entry["version"] == version:
                    self._parts.setdefault(entry["part"], []).append(entry["row"])

    def rows(self, part: str) -> list[Row]:
        """The finished rows of a part."""
        return list(self._parts.get(part, []))

    def add(self, part: str, row: Row) -> None:
        """Keep a row."""
        self._parts.setdefault(part, []).append(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"version": self.version, "part": part, "row": row})
        with self.path.open("a+b") as file:
            if file.tell():  # the last line of a run that was killed has no end
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else "\n" + line
            file.write(line.encode() + b"\n")

    def once(self, part: str, make: Callable[[], Row]) -> Row:
        """The only row of a part, made if it is not there."""
        rows = self.rows(part)
        if not rows:
            rows = [make()]
            self.add(part, rows[0])
        return rows[-1]


def conditions() -> Row:
    """Where and how: what a time depends on; ``sources`` stand for those of the search."""
    return {
        "command": " ".join(["python -m", _module(sys.argv[0]), *sys.argv[1:]]),
        "picojoule": picojoule.__version__,
        "sources": (fingerprint() or "unknown")[:12],
        "python": platform.python_version(),
        "processor": _processor(),
        "cores_used": 1,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _module(script: str) -> str:
    """The name by which a script of the repository is run from its root."""
    place = Path(script).resolve().relative_to(Path(__file__).resolve().parent.parent)
    return ".".join(place.with_suffix("").parts)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def progress(text: str) -> None:
    """A line for people on a terminal, overwritten by the next one."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def write_json(path: Path, answer: object) -> None:
    """Write *answer* as indented JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(answer, indent=1) + "\n")
