"""An environment of its own for each peer: their requirements exclude one another, and ours."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
FOLDER = HERE.parent / ".envs"
INSTALL_LIMIT = 1800  # seconds


class Environment(NamedTuple):
    """What a peer needs: its requirements file is ``requirements/NAME.txt``.

    Args:
        name: of the environment.
        oldest, newest: minor versions of Python 3, from what it asks for to what was tried.
    """

    name: str
    oldest: int
    newest: int

    @property
    def python(self) -> Path:
        return FOLDER / self.name / "bin" / "python"

    @property
    def requirements(self) -> Path:
        return HERE / "requirements" / f"{self.name}.txt"


ENVIRONMENTS = {
    e.name: e
    for e in (
        Environment("nn-dataflow", 8, 12),
        Environment("zigzag", 11, 12),
        Environment("accelforge", 12, 12),
    )
}


def prepare(environment: Environment) -> str | None:
    """Install a peer if it is not yet; return why it cannot be, if so."""
    stamp = FOLDER / environment.name / ".installed"
    wanted = environment.requirements.read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return None
    python = interpreter(environment)
    if python is None:
        return f"needs Python 3.{environment.oldest} to 3.{environment.newest}; none was found"
    where = FOLDER / environment.name
    sys.stderr.write(f"installing {environment.name} into {where.relative_to(HERE.parent)}\n")
    shutil.rmtree(where, ignore_errors=True)
    for command in (
        [python, "-m", "venv", str(where)],
        [str(environment.python), "-m", "pip", "install", "-r", str(environment.requirements)],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT)
        except subprocess.TimeoutExpired:
            return f"was not installed within {INSTALL_LIMIT} s"
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            return f"cannot be installed: {last}"
    stamp.write_text(wanted, encoding="utf-8")
    return None


def interpreter(environment: Environment) -> str | None:
    """A Python that the peer runs with: this one if it will do, else one of those installed."""
    candidates = [sys.executable]
    versions = range(environment.newest, environment.oldest - 1, -1)
    candidates += [found for v in versions if (found := shutil.which(f"python3.{v}"))]
    pyenv = Path.home() / ".pyenv" / "versions"
    candidates += [str(path) for path in sorted(pyenv.glob("3.*/bin/python3"), reverse=True)]
    for python in candidates:
        done = subprocess.run([python, "-V"], capture_output=True, text=True, check=False)
        match = re.match(r"Python 3\.(\d+)", done.stdout)
        if match and environment.oldest <= int(match[1]) <= environment.newest:
            return python
    return None
