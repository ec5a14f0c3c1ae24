"""Builds to be compared: their sources, their installation, and a process that searches with each.

The sources of a git revision are laid into ``.work/``, and searched with beside those of the
working tree: each question in turn by both, each build in a process of its own on the same core.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks.record import Row

HERE = Path(__file__).parent
ROOT = HERE.parent
WORK = HERE / ".work"
# What a package is built from, as far as a revision has it.
PARTS = ("src", "pyproject.toml", "README.md", "LICENSE", "hatch_build.py")
MADE = {".pyc", ".nbi", ".nbc", ".so", ".o"}  # from the sources, by whoever runs them

Question = dict[str, Any]
"""What ``searches_asked.py`` is asked; ``network``, ``layer`` and ``chip`` at least."""


class Asked(Protocol):
    """What answers a question, as ``searches_asked.py`` does."""

    def ask(self, question: Question) -> Row:
        """Search once."""


class Build:
    """A process that searches with one build's sources, the first core its own.

    Args:
        sources: the folder that holds the package.
        tuning: numbers in place of the build's own, as JSON.
        compiled: where compiled code is kept; None: beside the sources.
        warm_up: what each new process is asked before anything else.
    """

    def __init__(
        self,
        sources: Path,
        tuning: str = "",
        compiled: Path | None = None,
        warm_up: Sequence[Question] = (),
    ) -> None:
        self._sources, self._tuning, self._compiled = sources, tuning, compiled
        self._warm_up = warm_up
        self._process: subprocess.Popen[str] | None = None

    def _begun(self) -> subprocess.Popen[str]:
        kept = {} if self._compiled is None else {"NUMBA_CACHE_DIR": str(self._compiled)}
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.searches_asked",
                *([self._tuning] if self._tuning else []),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(self._sources),
                "OMP_NUM_THREADS": "1",
                "NUMBA_NUM_THREADS": "1",
                **kept,
            },
        )
        if hasattr(os, "sched_setaffinity"):  # the same core for all: they take turns
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        return process

    def ask(self, question: Question) -> Row:
        """The answer; ``stopped`` alone where it took longer than the question's ``limit``."""
        if self._process is None:
            self._process = self._begun()
            for first in self._warm_up:
                self.ask(first)
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        asked.write(json.dumps(question) + "\n")
        asked.flush()
        line = answered.readline()
        if line:
            return dict(json.loads(line))
        self.end()
        if "limit" not in question:
            raise SystemExit(f"a build ended while it searched {question}")
        return {"stopped": question["limit"]}

    def end(self) -> None:
        """Stop the process; the next question begins another."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def revision_of(name: str) -> str:
    """The short hash of a git revision."""
    return subprocess.run(
        ["git", "rev-parse", "--short", f"{name}^{{commit}}"],
        cwd=HERE,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def laid_out(revision: str) -> Path:
    """A folder with what the package of a git revision is built from."""
    name = revision_of(revision)
    place = WORK / name
    listed = subprocess.run(
        ["git", "ls-tree", "--name-only", name],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    parts = [part for part in PARTS if part in listed]
    if not all((place / part).exists() for part in parts):
        packed = subprocess.run(
            ["git", "archive", name, *parts], cwd=ROOT, check=True, capture_output=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(place, filter="data")
    return place


def sources_of(revision: str) -> Path:
    """The folder ``src`` of a git revision."""
    return laid_out(revision) / "src"


def digest_of(tree: Path) -> str:
    """What stands for everything that the package in a folder is built from."""
    digest = hashlib.sha256()
    places = (path for part in PARTS for path in (tree / part, *(tree / part).rglob("*")))
    for path in sorted(places):
        if path.is_file() and path.suffix not in MADE:
            digest.update(path.relative_to(tree).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def installed(tree: Path) -> Path:
    """The folder into which ``pip install`` put the package of a tree, alone; kept for the next.

    It is built with what is installed here, so that nothing is fetched.
    """
    place = WORK / "installed" / digest_of(tree)
    stamp = place / ".installed"
    if not stamp.exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
                "--no-build-isolation",
                *("--target", str(place / "site"), str(tree)),
            ],
            check=True,
        )
        stamp.touch()
    return place / "site"
