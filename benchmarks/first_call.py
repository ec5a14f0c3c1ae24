"""How long a person waits for the first answer of a fresh process.

Whole processes, from start to exit, with compiled code and answers kept or not.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COMMAND = ["-m", "picojoule", "map", "bvlc-alexnet", "conv3", "-a", "eyeriss"]
REPEATS = 3


def first_calls() -> dict[str, Any]:
    """Seconds of one ``picojoule map`` with nothing kept, compiled code kept, and answers kept."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "NUMBA_CACHE_DIR": str(Path(folder) / "numba"),
            "XDG_CACHE_HOME": str(Path(folder) / "answers"),
            "OMP_NUM_THREADS": "1",
            "NUMBA_NUM_THREADS": "1",
        }
        return {
            "command": "picojoule " + " ".join(COMMAND[2:]),
            "nothing_kept": _process([*COMMAND, "--no-cache"], environment),
            "code_kept": _quickest([*COMMAND, "--no-cache"], environment),
            "answer_searched": _process(COMMAND, environment),
            "answer_kept": _quickest(COMMAND, environment),
        }


def _quickest(arguments: list[str], environment: dict[str, str]) -> dict[str, float]:
    runs = [_process(arguments, environment) for _ in range(REPEATS)]
    return min(runs, key=lambda run: run["cpu"])


def _process(arguments: list[str], environment: dict[str, str]) -> dict[str, float]:
    """CPU and wall seconds of one process on one core."""
    started = time.perf_counter()
    child = os.fork()
    if not child:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.execve(sys.executable, [sys.executable, *arguments], environment)
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        raise SystemExit(f"python {' '.join(arguments)} ended with {code}")
    return {"cpu": usage.ru_utime + usage.ru_stime, "wall": time.perf_counter() - started}
