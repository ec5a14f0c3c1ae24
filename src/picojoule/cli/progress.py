"""How long it will take, on a terminal's stderr; nothing elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

_OFTEN = 8  # pictures a second


@contextmanager
def progress_bar(*, watched: bool = True) -> Iterator[dict[str, Any]]:
    """A bar with the layer that is searched, the time that passed and is left, and the gap.

    Args:
        watched: the work can be watched: the gap is known.

    Yields:
        the arguments ``progress`` and ``watch`` of the work; none where there is no terminal.
    """
    if not sys.stderr.isatty():
        yield {}
        return
    from rich.console import Console
    from rich.live import Live

    shown = _Shown()
    console = Console(stderr=True)
    live = Live(console=console, transient=True, refresh_per_second=_OFTEN, get_renderable=shown)
    with live:
        watch = {"watch": shown.watch} if watched else {}
        yield {"progress": shown.update, **watch}


class _Shown:
    """What a bar shows."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.done = self.total = 0
        self.layer = ""
        self.gap: float | None = None

    def update(self, done: int, total: int, layer: str) -> None:
        """As :data:`picojoule.question.Progress` is called."""
        self.done, self.total, self.layer, self.gap = done, total, layer, None

    def watch(self, best: float, bound: float) -> None:
        """As :data:`picojoule.mapper.found.Watch` is called."""
        self.gap = best / bound - 1 if bound > 0 else math.inf

    def __call__(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        from picojoule.reports.tables import printable

        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self.total or None, completed=self.done, width=20)
        words = Text(printable(self.words(time.monotonic() - self.began)), no_wrap=True)
        words.overflow = "ellipsis"
        line.add_row(bar, words)
        return line

    def words(self, elapsed: float) -> str:
        """The line beside the bar, after *elapsed* seconds."""
        parts = [f"{self.done}/{self.total}", clock(elapsed)]
        if self.done and self.total:
            left = elapsed / self.done * (self.total - self.done)
            parts.append(f"about {clock(left)} left")
        if self.gap is not None:
            parts.append(f"gap {100 * self.gap:.3g} %" if self.gap < 10 else "gap not known yet")
        return "  ".join([*parts, self.layer])


def clock(seconds: float) -> str:
    """A time as clocks show it.

    >>> clock(61), clock(3725)
    ('1:01', '1:02:05')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def changing_line() -> Iterator[tuple[Callable[[str], None], Callable[[str], None]] | None]:
    """One changing line on a terminal: what sets it, and what prints a line above that stays."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.status import Status
    from rich.text import Text

    console = Console(stderr=True)
    began = time.monotonic()
    with Status("starting", console=console) as status:

        def update(line: str) -> None:
            status.update(Text(f"{clock(time.monotonic() - began)}  {line}"))

        def stay(line: str) -> None:
            console.print(Text(line), highlight=False)

        yield update, stay
