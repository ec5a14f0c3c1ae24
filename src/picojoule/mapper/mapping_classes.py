"""Classes of mappings: what is fixed before tiles and unrollings are chosen.

Once three discrete things are fixed, a mapping is a choice of one chain (tiles and unrollings) for
each dimension: which operands each level keeps, which operand stays in place while each level's
innermost loops run, and on which loop the input's window slides. These are the *classes*.

Only the innermost operand's loops matter for the order: the sets of dimensions that do not index
the weights (N, P, Q), the inputs (M) and the outputs (C, R, S) are disjoint, so at each level at
most one operand gains, and next to it one loop slides the window.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeAlias

from picojoule.mapper.blocks import IRRELEVANT, Words
from picojoule.traffic import HandedOn
from picojoule.workload import DIMS, Dim, Operand

N, G, M, C, P, Q, R, S = DIMS


class Order(NamedTuple):
    """The loop order of one level: who stays while the innermost loops run, and what slides."""

    stays: Operand
    slides: Dim

    def loops(self) -> tuple[Dim, ...]:
        """All dimensions, outermost first."""
        inner = [d for d in (N, P, Q, M, C, R, S) if d in IRRELEVANT[self.stays]]
        if self.slides in inner:
            inner.remove(self.slides)
            inner.append(self.slides)
            return tuple(d for d in DIMS if d not in inner) + tuple(inner)
        outer = [d for d in DIMS if d not in inner and d is not self.slides]
        return (*outer, self.slides, *inner)


class Runs(Enum):
    """Which loops of a level run at all."""

    ANY = "any"
    OWN = "own"  # only those that do not index the operand that stays: it stays across the level
    NONE = "none"  # no loop: every operand stays across the level


class MappingClass(NamedTuple):
    """What is fixed before the tiles: operands kept, loop orders, and which loops run.

    Args:
        handed: level above an array that hands inputs on, where no loop runs inside it on their
            way to the multipliers or the next memory that holds them; -1: none.
    """

    keeps: tuple[frozenset[Operand], ...]
    orders: tuple[Order, ...]
    runs: tuple[Runs, ...]
    handed: int = -1


class Edge(NamedTuple):
    operand: Operand
    parent: int
    child: int


Stay: TypeAlias = tuple[int, tuple[int, Dim] | None, HandedOn | None]


def words_of(edge: Edge, grain: int, stay: Stay) -> Words:
    """The count of an edge's words at a grain, under a pattern of stays."""
    still, slide, handed = stay
    return Words(
        operand=edge.operand,
        child=edge.child,
        grain=grain,
        still=still,
        slide=slide,
        handed=handed if handed and grain <= handed.gap else None,
    )


def empty_levels(keeps: tuple[frozenset[Operand], ...]) -> frozenset[int]:
    """Levels at which nothing is kept: they are not there, so no tile is cut for them."""
    return frozenset(n for n in range(1, len(keeps)) if not keeps[n])
