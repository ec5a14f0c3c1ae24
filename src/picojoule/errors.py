"""The errors a caller can meet.

Everything picojoule refuses is a :class:`PicojouleError`; anything else that escapes is our bug.
An error says *what* is wrong, *where* (file and path within it), *why*, and *what to do*.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


class PicojouleError(Exception):
    """Root of all errors that are the input's fault, not ours."""


class UnitError(PicojouleError):
    """A quantity that cannot be read: ``"108 KiBB"``, ``"three words"``."""


class WorkloadError(PicojouleError):
    """A layer or a network that cannot exist."""


class MappingError(PicojouleError):
    """A mapping that is not legal for a layer on an accelerator."""


class NoMappingError(PicojouleError):
    """No legal mapping exists: the answer is *no*, the question was right."""


class BudgetError(PicojouleError):
    """A budget that no network of the method meets: the answer is *no*.

    ``smallest`` is the least price that can be had.
    """

    def __init__(self, message: str, smallest: float) -> None:
        self.smallest = smallest
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake of a file: where (a path such as ``$.levels[1].capacity``) and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class InputError(PicojouleError):
    """A file that cannot be used, with all of its mistakes at once."""

    def __init__(self, source: str, mistakes: Iterable[Mistake]) -> None:
        self.source = source
        self.mistakes = tuple(mistakes)
        super().__init__(source, self.mistakes)

    def __str__(self) -> str:
        if len(self.mistakes) == 1:
            return f"{self.source}: {self.mistakes[0]}"
        lines = "\n".join(f"  {mistake}" for mistake in self.mistakes)
        return f"{self.source}: {len(self.mistakes)} mistakes\n{lines}"


def did_you_mean(word: str, words: Sequence[str]) -> str:
    """Return `` (did you mean 'x'?)`` if some known word is near, else the empty string.

    >>> did_you_mean("eyeris", ["eyeriss", "tpu-v1-like"])
    " (did you mean 'eyeriss'?)"
    """
    near = get_close_matches(word, words, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
