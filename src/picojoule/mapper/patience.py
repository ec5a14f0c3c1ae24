"""How long a search may go on, and where it learns that its time is over.

The parts that take long (listing chains, counting words, setting classes up) ask :func:`check`
every few milliseconds. They need not be told whose search they belong to: what is kept from one
search to the next (:func:`blocks.block`) must not depend on anybody's patience.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from picojoule.mapper.found import Watch

WATCHED = 0.1  # seconds after which whoever watches is told again
HURRIED = 8  # pieces are so many times smaller where time counts, to end in about 20 ms


class OutOfTimeError(Exception):
    """The time of a search is over; what is not finished is left as if it had not begun."""


class Patience:
    """How long a search may go on: until its time is over, or whoever watches it ends it.

    Args:
        deadline: on :func:`clock`.
        watch: told the *best* so far and what nothing is *below*, the last of each that is known.
    """

    def __init__(self, deadline: float = math.inf, watch: Watch | None = None) -> None:
        self.deadline, self.watch = deadline, watch
        self.best, self.below = math.inf, 0.0
        self._again = 0.0

    @property
    def ends(self) -> bool:
        """Whether it may end at all before what it is for does."""
        return self.deadline < math.inf or self.watch is not None

    def over(self) -> bool:
        """Whether its time is over."""
        now = clock()
        if self.watch is not None and now >= self._again:
            self._again = now + WATCHED
            if self.watch(self.best, self.below):
                self.deadline = -math.inf
        return now > self.deadline

    def share(self, part: float, reserve: float = 0.0) -> Patience:
        """Patience for a share of the time that is left, and for no more than leaves a *reserve*.

        Args:
            reserve: seconds.
        """
        if self.deadline == math.inf:
            return self
        now = clock()
        left = self.deadline - now
        return Patience(now + max(0.0, min(part * left, left - reserve)), self.watch)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Have :func:`check` ask this patience; what was asked before is asked again afterwards."""
        token = _asked.set(self)
        try:
            yield
        finally:
            _asked.reset(token)


_asked: ContextVar[Patience | None] = ContextVar("patience", default=None)


def clock() -> float:
    """Seconds, from some moment on."""
    return time.perf_counter()


def pieces(count: int, size: int) -> Iterator[slice]:
    """Slices of *size* that cover *count*; before each it asks whether there is time.

    Where somebody's time counts they are smaller: what is done with them is the same.
    """
    patience = _asked.get()
    if patience is not None and patience.ends:
        size = max(1, size // HURRIED)
    for start in range(0, count, size):
        check()
        yield slice(start, min(start + size, count))


def check() -> None:
    """Go on only while there is time.

    Raises:
        OutOfTimeError: if the time of the search that this is part of is over.
    """
    patience = _asked.get()
    if patience is not None and patience.over():
        raise OutOfTimeError
