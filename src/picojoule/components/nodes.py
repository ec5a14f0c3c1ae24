"""Nodes of technology, and how logic follows them.

Logic scales as Stillmaker and Baas fitted it (Integration 58, 2017): a polynomial in the supply for
each node, taken at 0.8 V everywhere; between two nodes the two are mixed in proportion.
"""

from __future__ import annotations

from functools import cache

from picojoule.components.rows import Between, between, rows
from picojoule.errors import PicojouleError

SMALLEST, LARGEST = 7.0, 90.0
"""Nodes in nanometres between which every kind of component has numbers."""

NODES = (65.0, 45.0, 32.0, 28.0, 22.0, 16.0, 7.0)
"""The nodes that tables are printed for."""

SUPPLY = (
    0.8  # V: what hwcomponents takes for every node; nobody scales a design at one supply alone
)
_COLUMNS = ("square", "linear", "constant", "area")


def checked_node(node: float) -> float:
    """*node*, in nanometres, if there are numbers for it.

    Raises:
        PicojouleError: there are none, and none is extrapolated.
    """
    if SMALLEST <= node <= LARGEST:
        return node
    raise PicojouleError(
        f"node {show_node(node)}: there are numbers from {SMALLEST:g} to {LARGEST:g} nm; nothing "
        "is extrapolated"
    )


def show_node(node: float) -> str:
    """A node as text.

    >>> show_node(65.0)
    '65 nm'
    """
    return f"{node:g} nm"


@cache
def _scaling() -> dict[float, tuple[float, ...]]:
    return {
        float(row["node_nm"]): tuple(float(row[name]) for name in _COLUMNS)
        for row in rows("scaling")
    }


def logic_energy(node: float, reference: float) -> float:
    """The energy of a logic operation at *node*, relative to that at *reference*, at 0.8 V.

    >>> round(logic_energy(7, 65), 4)
    0.076
    """
    return _switching(node) / _switching(reference)


def logic_area(node: float, reference: float) -> float:
    """The area of logic at *node*, relative to that at *reference*.

    >>> logic_area(32, 65)
    0.31
    """
    return _area(node) / _area(reference)


def _switching(node: float) -> float:
    place = _place(node)
    low, high = (_at_supply(end) for end in (place.low, place.high))
    return low + place.share * (high - low)


def _at_supply(node: float) -> float:
    square, linear, constant, _ = _scaling()[node]
    return square * SUPPLY**2 + linear * SUPPLY + constant


def _area(node: float) -> float:
    place = _place(node)
    low, high = _scaling()[place.low][-1], _scaling()[place.high][-1]
    return low + place.share * (high - low)


def _place(node: float) -> Between:
    return between(node, sorted(_scaling()), logarithmic=False)
