"""Tasks for the executors' tests; worker processes import them from here."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any


def triple(task: int, factor: int) -> int:
    """The task three times, if the factor is three; 13 is refused."""
    if task == 13:
        raise ValueError("thirteen")
    return task * factor


def die_once(task: tuple[int, str], factor: int) -> int:
    """Kills its own process the first time it is asked for task 2."""
    number, folder = task
    mark = Path(folder) / "died"
    if number == 2 and not mark.exists():
        mark.write_text("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return number * factor


def die_always(task: int, factor: int) -> int:
    """Kills its own process at task 1."""
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return task * factor


def hang(task: int, factor: int) -> int:
    """Never comes back from task 0."""
    while task == 0:
        time.sleep(0.05)
    return task * factor


def bad_finetune(network: Any, steps: int) -> None:
    """A fine-tune that kills the process of wide candidates only."""
    del steps
    widths = [p.shape[0] for p in network.parameters() if p.dim() == 4]
    if widths[0] < 8:
        os.kill(os.getpid(), signal.SIGKILL)
