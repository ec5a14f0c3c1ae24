"""How a result shows itself in a notebook, without knowing who draws it.

Results are data and know no renderer. The package's face, which knows everything, says who draws.
"""

from __future__ import annotations

from collections.abc import Callable

_renderers: list[Callable[[object], str]] = []


def drawn_by(renderer: Callable[[object], str]) -> None:
    """Make *renderer* (result -> HTML) the one that notebooks are shown by."""
    _renderers[:] = [renderer]


class Displayed:
    """A result that a notebook shows as HTML."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return _renderers[-1](self)
