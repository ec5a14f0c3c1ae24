"""How work shows its progress in a notebook."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

_OFTEN = 0.2  # seconds between two pictures


@contextmanager
def progress_bar() -> Iterator[dict[str, Any]]:
    """A bar beneath the cell: the layer, the time that passed and is left, the gap so far.

    Yields:
        the arguments ``progress`` and ``watch`` of the work.
    """
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)
    bar = NotebookBar(lambda html: handle.update(HTML(html)))
    try:
        yield {"progress": bar.update, "watch": bar.watch}
    finally:
        handle.update(HTML(""))


class NotebookBar:
    """A bar as HTML, given to *show* whenever it changed, not too often."""

    def __init__(self, show: Any) -> None:
        self.show, self.began, self.last = show, time.monotonic(), -math.inf
        self.done = self.total = 0
        self.layer, self.gap = "", math.inf

    def update(self, done: int, total: int, layer: str) -> None:
        """As :data:`picojoule.question.Progress` is called."""
        self.done, self.total, self.layer, self.gap = done, total, layer, math.inf
        self._draw()

    def watch(self, best: float, bound: float) -> None:
        """As :data:`picojoule.mapper.found.Watch` is called."""
        self.gap = best / bound - 1 if bound > 0 else math.inf
        self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        if now - self.last >= _OFTEN:
            self.last = now
            self.show(self.html(now - self.began))

    def html(self, elapsed: float) -> str:
        """The bar after *elapsed* seconds."""
        words = [f"{self.done} of {self.total} layers", f"{elapsed:.0f} s"]
        if self.done:
            left = elapsed / self.done * (self.total - self.done)
            words.append(f"about {left:.0f} s left")
        if math.isfinite(self.gap):
            words.append(f"gap {100 * self.gap:.3g} %")
        told = escape(", ".join([*words, self.layer]))
        return f'<progress max="{self.total or 1}" value="{self.done}"></progress> {told}'
