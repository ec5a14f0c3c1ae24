"""What classes of mappings have in common as programmes: terms, their coefficients and columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from picojoule.mapper.blocks import Column, Tile, Words
from picojoule.mapper.kernels import Bools, Floats
from picojoule.mapper.programme import LATENCY, Programme
from picojoule.mapper.space import Edge, MappingClass, Stay
from picojoule.workload import OPERANDS, Dim

OUTPUT = OPERANDS[2]


class Term(NamedTuple):
    """The words of an edge at a grain, whatever the order of the loops."""

    edge: int
    grain: int
    number: int  # the same for the same words, also in another model


class Hop(NamedTuple):
    """Words that pass an array's network; free where no neighbours share them."""

    outside: int  # terms
    inside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What all classes that keep the same operands, as long, have in common.

    Every coefficient vector is over ``[1, terms, hops]``.
    """

    number: int
    options: int  # which of the problem's sets of options
    edges: tuple[Edge, ...]
    terms: tuple[Term, ...]
    hops: tuple[Hop, ...]
    energy: Floats
    times: tuple[Floats, ...]
    outside: tuple[int, ...]  # arrays outside the memory or network of each time
    waited: tuple[bool, ...]  # whether the multipliers wait for that time
    tiles: tuple[Tile, ...]
    capacity: Floats  # [memories, tiles] bits per word as a part of the memory


class Slot(NamedTuple):
    """A column of every class of a model: a term under the class's own order of loops.

    Args:
        others: a term as well: then the column says how many times those words the term's are.
    """

    term: int
    divided: int
    inverse: bool
    others: int = -1

    @property
    def terms(self) -> tuple[int, ...]:
        """The terms whose words it counts."""
        return (self.term,) if self.others < 0 else (self.term, self.others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A model's coefficients over columns, with each hop priced, free, or left open.

    The columns are the slots, then the fixed ones.
    """

    slots: tuple[Slot, ...]
    fixed: tuple[Column, ...]
    inverse: Bools  # [columns] of reciprocals
    constant: float
    energy: Floats  # [columns]
    drawn: float  # energy per cycle
    per_step: float  # cycles
    times: Floats  # [times, columns + 1]
    limits: Floats  # [limits, columns]
    beyond: tuple[tuple[int, int], ...]  # columns of words, and of how many times others they are
    coefficients: Floats  # [1 + times, those]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxed:
    """One class, with every hop priced, free, or left open (and then counted as free)."""

    cls: MappingClass
    model: Model
    sharing: tuple[bool | None, ...]
    options: int  # which of the problem's sets of options
    programme: Programme
    penalty: Floats  # [options] infinite where the class or the sharing forbids an option
    least: float  # no choice is below, by the least of every column

    @property
    def content(self) -> object:
        """All that its bounds and its best choice follow from: classes may be alike in it.

        Columns that count nothing are part of it as long as hops are open, whose options depend on
        them.
        """
        problem = self.programme
        counts = np.ones(len(problem.energy), np.bool_)
        if self.decided:
            counts = (problem.energy != 0) | (problem.times[:, :-1] != 0).any(axis=0)
            counts |= (problem.limits != 0).any(axis=0)
            counts[problem.beyond.words] = counts[problem.beyond.times] = True
        tables = (problem.where[:, counts], problem.energy, problem.times, problem.limits)
        return (
            self.model.number,
            self.sharing,
            id(self.penalty),
            *(table.tobytes() for table in (*tables, *problem.beyond)),
        )

    @property
    def decided(self) -> bool:
        """Whether no hop that counts is left open."""
        if self.programme.mode == LATENCY:
            first = 1 + len(self.model.terms)
            return not any(time[first:].any() for time in self.model.times)
        return None not in self.sharing


@dataclass(frozen=True, slots=True, kw_only=True)
class Residence:
    """What of a class is the same however its hops are priced."""

    model: Model
    stays: tuple[Stay, ...]  # of each edge of the model
    held: tuple[tuple[int, frozenset[Dim]], ...]  # levels, and dimensions without a loop there
    once: tuple[Words, ...]  # counts that may not repeat


def beyond_others(model: Model, values: Floats) -> Iterator[tuple[int, int, float]]:
    """Words that count only beyond others: what *values* has against words, from words inside them.

    Sums are not read before their first touch, and what passes an array is what its elements get
    beyond what came from outside. In both cases the others are no more, in every block: each visit
    of a tile is at least one of its parts. What is told here is taken out of *values*.
    """
    for others in np.flatnonzero(values < 0).tolist():
        edge, grain = model.edges[model.terms[others].edge], model.terms[others].grain
        for words in np.flatnonzero(values > 0).tolist():
            inner = model.edges[model.terms[words].edge]
            inside = inner == edge or (inner.operand is OUTPUT and inner.parent >= edge.child)
            if inner.operand is not edge.operand or not inside or model.terms[words].grain < grain:
                continue
            value = min(-values[others], values[words])
            if value > 0:
                values[others] += value
                values[words] -= value
                yield words, others, float(value)
