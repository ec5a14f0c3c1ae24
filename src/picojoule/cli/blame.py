"""Whose error it is: ours, or that of a function which the user gave us to run."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from picojoule.errors import PicojouleError

_OURS = str(Path(__file__).parents[1])
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


def blamed_on_the_user(error: Exception) -> str | None:
    """The user's file, its line and what went wrong there; None if the error is not theirs."""
    place = _place(error)
    return (
        None if place is None else f"{place}: {f'{type(error).__name__}: {error}'.splitlines()[0]}"
    )


def with_place(error: PicojouleError) -> str:
    """What we refuse, and the line of the user's own code that it arose in, where it did."""
    cause = error.__cause__ or error.__context__
    place = _place(cause) if isinstance(cause, Exception) else None
    if place is None or place.partition(", in ")[0].rpartition(": ")[2] in str(error):
        return str(error)
    return f"{error} ({place})"


def _place(error: Exception) -> str | None:
    """The line of the user's that ran last, libraries aside; None if one of ours ran after it."""
    if isinstance(error, SyntaxError) and error.filename and _is_users(error.filename):
        return f"{error.filename}: line {error.lineno}"
    # Every command imports this module, and few end with an error.
    import traceback

    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(_OURS):
            return None
        if _is_users(frame.filename):
            return f"{frame.filename}: line {frame.lineno}, in {frame.name}"
    return None


def _is_users(file: str) -> bool:
    return not file.startswith(("<", _OURS, *_LIBRARIES))
