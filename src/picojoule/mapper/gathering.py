"""Families of classes, gathered model by model into flat arrays for the compiled search."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from picojoule.mapper.bank import Bank
from picojoule.mapper.blocks import BLOCKS, IRRELEVANT, Column, Elements, Ratio, Total, Words
from picojoule.mapper.class_table import Kind
from picojoule.mapper.coefficients import Model, model
from picojoule.mapper.families import Families
from picojoule.mapper.kernels import Floats, Ints
from picojoule.mapper.mapping_classes import Edge, words_of
from picojoule.mapper.patience import check
from picojoule.mapper.space import Space
from picojoule.workload import DIMS, OPERANDS

INPUT, WEIGHT, OUTPUT = OPERANDS


class Slot(NamedTuple):
    """A column of every class of a model: a term under the class's own order of loops.

    Args:
        others: a term as well: then the column says how many times those words the term's are.
    """

    term: int
    divided: int
    inverse: bool
    others: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A model's coefficients over columns, in each of its families (:class:`Gathering`).

    The columns are the slots, then the fixed ones.
    """

    slots: tuple[Slot, ...]
    fixed: tuple[Column, ...]
    constant: float
    energy: Floats  # [families, columns]
    times: Floats  # [families, times, columns + 1]
    beyond: Ints  # [parts, 2] columns of words, and of how many times others they are
    worth: Floats  # [families, 1 + times, parts] what those words count, all but those others
    limits: Floats  # [limits, columns]


def pricings(hops: int) -> list[tuple[bool, ...]]:
    """Every way to price so many hops: each priced, or forbidden to any option that shares."""
    return list(itertools.product((False, True), repeat=hops))


def rows(space: Space, of: Model) -> Rows:
    """The coefficients of a model's families."""
    terms, hops = len(of.terms), len(of.hops)
    ways = [(False,) * hops, *(pricings(hops) if hops else ())]
    priced = np.zeros((len(ways), hops, terms))
    for n, hop in enumerate(of.hops):
        priced[:, n, hop.inside] = [way[n] for way in ways]

    def of_terms(vector: Floats) -> Floats:
        """``[families, terms]`` of coefficients over ``[1, terms, hops]``."""
        return np.asarray(vector[1 : 1 + terms] + vector[1 + terms :] @ priced)

    vectors = [(of_terms(of.energy), 0)]
    vectors += [(of_terms(t), divided) for t, divided in zip(of.times, of.outside, strict=True)]
    beyond = _taken_out(of, vectors)
    slots = _slots(vectors)
    for words, _, others in beyond:
        slots.setdefault(Slot(words, 0, False, others), len(slots))
    fixed: dict[Column, int] = {}

    def place(column: Column) -> int:
        return len(slots) + fixed.setdefault(column, len(fixed))

    control = space.accelerator.control.per_command * space.layer.time_steps
    lines: list[tuple[Floats, int, dict[int, float], float]] = [
        (*vectors[0], {place(Column(Total.COMMANDS)): control} if control else {}, 0.0)
    ]
    if space.timed:
        steps = {place(Column(Total.STEPS)): space.cycles_per_step}
        lines.append((np.zeros((len(ways), terms)), 0, steps, 0.0))
        for (vector, divided), time, waited in zip(vectors[1:], of.times, of.waited, strict=True):
            # The multipliers stand still while they wait.
            more, constant = dict(steps) if waited else {}, float(time[0])
            if divided and constant:
                column = Column(Total.ONE, divided, inverse=constant < 0)
                more[place(column)], constant = constant, 0.0
            lines.append((vector, divided, more, constant))
    rooms = _rooms(space, of, place)
    table = np.zeros((len(lines), len(ways), len(slots) + len(fixed) + 1))
    for line, (vector, divided, more, constant) in zip(table, lines, strict=True):
        for slot, at in slots.items():
            if slot.divided == divided and slot.others < 0:
                clip = np.minimum if slot.inverse else np.maximum
                line[:, at] = clip(vector[:, slot.term], 0.0)
        for at, value in more.items():
            line[:, at] = value
        line[:, -1] = constant
    limits = np.zeros((len(rooms), len(slots) + len(fixed)))
    for row, room in zip(limits, rooms, strict=True):
        for at, value in room.items():
            row[at] = value
    return Rows(
        slots=tuple(slots),
        fixed=tuple(fixed),
        constant=float(of.energy[0]),
        energy=table[0, :, :-1],
        times=np.swapaxes(table[1:], 0, 1),
        beyond=np.array(
            [
                (slots[Slot(words, divided, False)], slots[Slot(words, 0, False, others)])
                for words, divided, others in beyond
            ],
            np.int64,
        ).reshape(-1, 2),
        worth=_worth(beyond, len(lines), len(ways)),
        limits=limits,
    )


def _taken_out(
    of: Model, vectors: list[tuple[Floats, int]]
) -> dict[tuple[int, int, int], dict[tuple[int, int], float]]:
    """What *vectors* ``[families, terms]`` have for words that count only beyond others.

    It is taken out of them.

    Returns:
        For each such words, how they are divided, and the others: by line (energy, steps, each
        time) and family, what they count.
    """
    beyond: dict[tuple[int, int, int], dict[tuple[int, int], float]] = {}
    for n, (vector, divided) in enumerate(vectors):
        for family, values in enumerate(vector):
            for words, others, value in _beyond_others(of, values):
                part = beyond.setdefault((words, divided, others), {})
                part[n + (n > 0), family] = value
    return beyond


def _worth(
    beyond: dict[tuple[int, int, int], dict[tuple[int, int], float]], lines: int, families: int
) -> Floats:
    worth = np.zeros((families, lines, len(beyond)))
    for n, part in enumerate(beyond.values()):
        for (line, family), value in part.items():
            worth[family, line, n] = value
    return worth


def _beyond_others(of: Model, values: Floats) -> Iterator[tuple[int, int, float]]:
    """Words that count only beyond others: what *values* has against words, from words inside them.

    Sums are not read before their first touch, and what passes an array is what its elements get
    beyond what came from outside. In both cases the others are no more, in every block: each visit
    of a tile is at least one of its parts. What is told here is taken out of *values*.
    """
    edges = of.kind.edges
    for others in np.flatnonzero(values < 0).tolist():
        edge, grain = edges[of.terms[others].edge], of.terms[others].grain
        for words in np.flatnonzero(values > 0).tolist():
            inner = edges[of.terms[words].edge]
            inside = inner == edge or (inner.operand is OUTPUT and inner.parent >= edge.child)
            if inner.operand is not edge.operand or not inside or of.terms[words].grain < grain:
                continue
            value = min(-values[others], values[words])
            if value > 0:
                values[others] += value
                values[words] -= value
                yield words, others, float(value)


def _slots(vectors: list[tuple[Floats, int]]) -> dict[Slot, int]:
    """The slots that these coefficients ``[families, terms]`` have, and the number of each.

    Also where a term counts nothing: columns stand for the same in all classes.
    """
    slots: dict[Slot, int] = {}
    for divided in sorted({divided for _, divided in vectors}):
        least = np.min([v.min(axis=0) for v, d in vectors if d == divided], axis=0)
        for inverse in (False, True):
            for term in np.flatnonzero(least < 0) if inverse else range(len(least)):
                slots[Slot(int(term), divided, inverse)] = len(slots)
    return slots


def _rooms(space: Space, of: Model, place: Callable[[Column], int]) -> list[dict[int, float]]:
    """What a unit of each column takes of every memory, and of every array."""
    rooms = [
        {place(Column(t)): float(p) for t, p in zip(of.tiles, part, strict=True) if p}
        for part in of.capacity
    ]
    for gap in space.array_gaps:
        array = space.arrays[gap]
        assert array is not None
        rooms.append({place(Column(Elements(gap))): 1 / array.size})
    return rooms


class Gathering:
    """Families, one after the other.

    A kind of classes gives one with its hops open, counted as free, which is what they are where
    no neighbours share words; then one for each of :func:`pricings`, if there are hops.

    Attributes:
        timed: for each family, whether passing a hop takes time.
    """

    def __init__(self, space: Space, bank: Bank) -> None:
        self.space, self.bank = space, bank
        self.timed: list[bool] = []
        self._number: list[int] = []
        # Edge, numbers, inverse, other edge, stride.
        self._columns: list[list[tuple[int, int, bool, int, int]]] = []
        self._energy: list[Floats] = []
        self._constant: list[float] = []
        self._times: list[Floats] = []
        self._limits: list[Floats] = []
        self._parts: list[Ints] = []
        self._worths: list[Floats] = []
        self._hops: list[list[tuple[int, int, int]]] = []
        self._onces: list[list[tuple[int, int]]] = []
        self._alone: list[list[float]] = []
        self._start: list[tuple[int, int, int]] = []
        self._decided: list[bool] = []
        self._variants: list[tuple[int, int]] = []

    def add(self, kind: Kind) -> int:
        """Add the families of a kind of classes; the number of the first."""
        check()
        of = model(self.space, kind)
        line, first = rows(self.space, of), len(self._start)
        columns = [self._column(of, slot) for slot in line.slots]
        columns += [(-1, self._numbers([c]), c.inverse, -1, 1) for c in line.fixed]
        hops = [
            (of.terms[hop.outside].edge, self._words(of, hop.outside), self._words(of, hop.inside))
            for hop in of.hops
        ]
        onces = [n for n, edge in enumerate(kind.edges) if self._once(edge)]
        ways = [(True,) * len(hops), *(pricings(len(hops)) if hops else ())]
        timed = any(time[1 + len(of.terms) :].any() for time in of.times)
        for n, way in enumerate(ways):
            self._columns.append(columns)
            self._constant.append(line.constant)
            self._energy.append(line.energy[n])
            self._times.append(line.times[n])
            self._limits.append(line.limits)
            self._parts.append(line.beyond)
            self._worths.append(line.worth[n])
            self._hops.append([hop for hop, kept in zip(hops, way, strict=True) if not kept])
            self._onces.append([(edge, self._entering(kind, edge)) for edge in onces])
            self._alone += [self._once_through(kind.edges[edge]) for edge in onces]
            self._start.append((len(columns), len(line.times[n]), len(line.limits)))
            self._decided.append(n > 0 or not hops)
            self._variants.append((first + 1, first + len(ways)) if n == 0 and hops else (0, 0))
            self.timed.append(timed)
        return first

    def families(self) -> Families:
        """All that were added."""
        starts = list(dict.fromkeys(self._start))
        columns = [column for part in self._columns for column in part]
        space = self.space
        return Families(
            columns=_firsts(map(len, self._columns)),
            edge=np.array([edge for edge, *_ in columns], np.int64),
            numbers=np.array([numbers for _, numbers, *_ in columns], np.int64),
            other=np.array([other for *_, other, _ in columns], np.int64),
            stride=np.array([stride for *_, stride in columns], np.int64),
            number=np.array(self._number, np.int64),
            energy=np.concatenate(self._energy),
            inverse=np.array([inverse for _, _, inverse, *_ in columns], np.int64),
            constant=np.array(self._constant),
            drawn=space.accelerator.drawn_per_cycle if space.timed else 0.0,
            times=_firsts(time.size for time in self._times),
            time=np.concatenate([time.ravel() for time in self._times]),
            parts=_firsts(map(len, self._parts)),
            part=np.concatenate(self._parts),
            worths=_firsts(worth.size for worth in self._worths),
            worth=np.concatenate([worth.ravel() for worth in self._worths]),
            limits=_firsts(limit.size for limit in self._limits),
            limit=np.concatenate([limit.ravel() for limit in self._limits]),
            hops=_firsts(map(len, self._hops)),
            hop=np.array([hop for part in self._hops for hop in part], np.int64).reshape(-1, 3),
            onces=_firsts(map(len, self._onces)),
            once=np.array([o for part in self._onces for o in part], np.int64).reshape(-1, 2),
            alone=np.array(self._alone).reshape(-1, len(BLOCKS)),
            start=np.array([starts.index(key) for key in self._start], np.int64),
            decided=np.array(self._decided, np.int64),
            variants=np.array(self._variants, np.int64).reshape(-1, 2),
        )

    def _numbers(self, columns: Iterable[Column]) -> int:
        """Where the numbers of these columns begin."""
        first = len(self._number)
        self._number += map(self.bank.number, columns)
        return first

    def _column(self, of: Model, slot: Slot) -> tuple[int, int, bool, int, int]:
        """The edge of a slot, where its numbers begin, and so on."""
        term, divided, inverse, others = slot
        edge = of.terms[term].edge
        if others < 0:
            return edge, self._words(of, term, divided, inverse), inverse, -1, 1
        counts, less, other = _counts(of, term), _counts(of, others), of.terms[others].edge
        if edge == other:
            ratios = [Ratio(*both) for both in zip(counts, less, strict=True)]
            return edge, self._numbers(map(Column, ratios)), inverse, -1, 1
        ratios = list(itertools.starmap(Ratio, itertools.product(counts, less)))
        return edge, self._numbers(map(Column, ratios)), inverse, other, len(less)

    def _words(self, of: Model, term: int, divided: int = 0, inverse: bool = False) -> int:
        """Where the numbers of a term begin, one for each way in which its edge's tile stays."""
        return self._numbers(Column(words, divided, inverse) for words in _counts(of, term))

    def _entering(self, kind: Kind, edge: int) -> int:
        """The same for all words of an edge that come from its parent."""
        of = kind.edges[edge]
        return self._numbers([Column(words_of(of, of.parent, stay)) for stay in kind.stays[edge]])

    def _once(self, edge: Edge) -> bool:
        """Whether the words of an edge may not repeat: the stationary operand enters once.

        Where partial sums stay on the chip, outputs leave for the outermost level once.
        """
        dataflow, gap = self.space.dataflow, self.space.element_gap
        entered = gap is not None and edge.parent <= gap < edge.child
        spilt = dataflow.sums_stay and edge.operand is OUTPUT and edge.parent == 0
        return spilt or (entered and edge.operand is dataflow.stationary)

    def _once_through(self, edge: Edge) -> list[float]:
        """Each block's factor of an edge's words that do not repeat; nan where none can."""
        factors = []
        for block in BLOCKS:
            repeating = [dim for dim in block if dim in IRRELEVANT[edge.operand]]
            bounds = [self.space.layer.bounds[DIMS.index(d)] for d in block if d not in repeating]
            factors.append(float(math.prod(bounds)) if repeating else math.nan)
        return factors


def _counts(of: Model, term: int) -> list[Words]:
    """The words of a term, for each way in which its edge's tile stays."""
    edge, grain = of.terms[term]
    return [words_of(of.kind.edges[edge], grain, stay) for stay in of.kind.stays[edge]]


def _firsts(sizes: Iterable[int]) -> Ints:
    """The first entry of each part, and one past the end of the last."""
    return np.cumsum([0, *sizes])
