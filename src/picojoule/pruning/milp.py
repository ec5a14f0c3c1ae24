"""Integer programmes by scipy, without the line that HiGHS prints.

HiGHS 1.12, which scipy 1.17 holds, prints a line for some of the solutions it finds, whatever it
was told (ERGO-Code/HiGHS, issue 2783). On standard output it would stand within the answer of a
command.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

_NOISE = b"HighsMipSolverData::"
_STDOUT = 1
_one_at_a_time = threading.Lock()


def milp(*args: Any, **kwargs: Any) -> Any:
    """``scipy.optimize.milp``."""
    from scipy import optimize

    with _filtered():
        return optimize.milp(*args, **kwargs)


@contextlib.contextmanager
def _filtered() -> Iterator[None]:
    """What is printed inside comes out afterwards, without HiGHS's lines."""
    with _one_at_a_time, contextlib.ExitStack() as stack:
        try:
            _flush()
            true = os.dup(_STDOUT)
            stack.callback(os.close, true)
            caught = stack.enter_context(tempfile.TemporaryFile())
        except (OSError, AttributeError, TypeError):  # no standard output, no C library, no disk
            yield
            return
        os.dup2(caught.fileno(), _STDOUT)
        try:
            yield
        finally:
            _flush()
            os.dup2(true, _STDOUT)
            caught.seek(0)
            for line in caught:
                if not line.startswith(_NOISE):
                    os.write(_STDOUT, line)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()
    ctypes.CDLL(None).fflush(None)  # HiGHS prints into C's buffer
