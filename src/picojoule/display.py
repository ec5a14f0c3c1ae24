"""How a result shows itself in a notebook, and work its progress, without knowing who draws it.

Results are data and know no renderer. The package's face, which knows everything, says who draws.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

Told = dict[str, Any]
"""The arguments ``progress`` and ``watch`` of work that is shown; empty where it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawers:
    """Who draws.

    Args:
        html: a result -> HTML.
        plot: a result, axes or None, options -> the axes.
        progress: what shows work in a notebook while it goes on.
    """

    html: Callable[[object], str]
    plot: Callable[..., Any]
    progress: Callable[[], AbstractContextManager[Told]]


_drawers: list[Drawers] = []


def drawn_by(drawers: Drawers) -> None:
    """Make *drawers* those that results are shown by."""
    _drawers[:] = [drawers]


class Displayed:
    """A result that a notebook shows as HTML."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return _drawers[-1].html(self)


class Plotted(Displayed):
    """A result that can be plotted, too (needs picojoule[plots])."""

    __slots__ = ()

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw on matplotlib's *ax*, by default on axes of its own; returns the axes.

        Args:
            options: ``by="memory"`` or ``"operand"`` of energies.
        """
        return _drawers[-1].plot(self, ax, **options)


def in_notebook() -> bool:
    """Whether a notebook runs this, which can show what changes."""
    loaded = sys.modules.get("IPython")
    shell = loaded.get_ipython() if loaded is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


@contextmanager
def shown(
    progress: Callable[..., None] | None, watch: Callable[..., object] | None
) -> Iterator[Told]:
    """What is told of work: the caller's own if there are any, else in a notebook a bar."""
    own = {"progress": progress, "watch": watch}
    if any(own.values()) or not in_notebook() or not _drawers:
        yield own
        return
    with _drawers[-1].progress() as told:
        yield told
