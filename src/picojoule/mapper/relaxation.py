"""Classes of mappings as discrete geometric programmes, and the way back.

:meth:`Relaxation.relax` turns a class into a programme, :meth:`Relaxation.realise` a point of that
programme into a mapping. Within a class a mapping's price is a sum of products of per-dimension
factors. The ledger of :mod:`cost` books symbolic flows, which gives the coefficients, and
:mod:`bank` holds the factors. A class prices a mapping at no less than :func:`cost.evaluate` does
and some class prices it exactly, so the least over all classes is the optimum.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from picojoule.accelerator import Axis
from picojoule.mapper.bank import Bank
from picojoule.mapper.blocks import Block
from picojoule.mapper.class_table import ClassTable, class_table
from picojoule.mapper.families import Columns, Families, Goal, Members, assemble, barred
from picojoule.mapper.frontier import Classes, Starts
from picojoule.mapper.gathering import Gathering, pricings
from picojoule.mapper.kernels import Ints
from picojoule.mapper.mapping_classes import MappingClass, empty_levels
from picojoule.mapper.options import Bars, Options, allowed
from picojoule.mapper.patience import check
from picojoule.mapper.programme import ENERGY, LATENCY, Programme
from picojoule.mapper.space import Space
from picojoule.mapper.tuning import TUNING
from picojoule.mapping import Mapping, Stage
from picojoule.workload import DIMS, Extents


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxed:
    """One class, with every hop priced, free, or left open (and then counted as free)."""

    cls: MappingClass
    options: int  # which of the problem's sets of options
    programme: Programme
    bars: Bars  # what the class or the sharing forbids
    least: float  # no choice is below, by the least of every column


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """The classes that have the same options."""

    numbers: Ints  # of its classes in the table
    families: Families
    timed: Ints  # [families] 1 if passing a hop takes time
    members: Members


class Relaxation:
    """The programmes of all classes of a space; they share the factors of the options.

    Args:
        nested: those of its uneven mappings, if they are searched as well (:mod:`nests`).
    """

    def __init__(self, space: Space, nested: Iterable[Relaxation] = ()) -> None:
        self.space = space
        self._nested: list[Relaxation] = []
        self._coming = iter(nested)
        self._banks = [Bank(space, which) for which in range(len(space.shapes))]
        self._shapes: dict[int, _Shape] = {}
        self._fewest: dict[int, float] = {}
        self._laid_out: dict[int, tuple[Columns, Options]] = {}

    @property
    def nested(self) -> Sequence[Relaxation]:
        """Those of uneven mappings; setting them up may take long, and goes on where it was."""
        for relaxation in self._coming:
            self._nested.append(relaxation)
            check()
        return self._nested

    @functools.cached_property
    def table(self) -> ClassTable:
        """The classes, by number; listing them may take long."""
        return class_table(self.space)

    def options(self, which: int) -> Options:
        """The options of all blocks, with every column asked for so far."""
        return self._banks[which].options()

    def blocks(self, which: int) -> tuple[Block, ...]:
        """The blocks whose options these are."""
        return self.space.blocks[which]

    def classes(self, which: int, mode: int, cycle_limit: float) -> Classes:
        """All classes with a set of options, as what a search goes over.

        Args:
            mode: what to minimise (:mod:`programme`).
            cycle_limit: more cycles are not allowed.
        """
        shape, bank = self._shape(which), self._banks[which]
        if which not in self._laid_out:
            self._laid_out[which] = bank.columns(), bank.options()
        columns, options = self._laid_out[which]
        families = shape.families
        if mode == LATENCY:  # hops that take no time are as good as priced
            families = families._replace(decided=np.maximum(families.decided, 1 - shape.timed))
        axes, allowed = self.space.array_limits()
        goal = Goal(
            mode=mode,
            cycle_limit=cycle_limit,
            fewest=self._least_cycles(which) if mode != ENERGY or families.drawn else 0.0,
            axes=axes,
            allowed=allowed,
        )
        return Classes(
            families=families,
            members=shape.members,
            columns=columns,
            options=options,
            goal=goal,
            starts=_starts(families, mode, len(self.blocks(which))),
        )

    def cls(self, which: int, member: int) -> MappingClass:
        """A member of the classes with a set of options."""
        return list(self.table.classes)[int(self._shape(which).numbers[member])]

    def relax(
        self,
        cls: MappingClass,
        mode: int,
        cycle_limit: float,
        sharing: tuple[bool, ...] | None = None,
    ) -> Relaxed | None:
        """A class as a programme; None if it allows no option of some block.

        Args:
            sharing: for each hop, whether to price it (True), or to forbid every option that
                shares words there (False); None leaves all open.
        """
        which = self.space.shapes.index(empty_levels(cls.keeps))
        member = self._member(which, cls)
        classes = self.classes(which, mode, cycle_limit)
        family = classes.members.family[member]
        if sharing:
            family = classes.families.variants[family, 0] + pricings(len(sharing)).index(sharing)
        pattern, held = classes.members.pattern[member], classes.members.held[member]
        parts = classes.families, classes.columns
        problem, least = assemble(*parts, classes.goal, family, pattern)
        bars, possible = barred(*parts, family, pattern, held)
        bars = Bars(*bars)
        there = np.split(allowed(classes.options, bars), classes.options.starts[1:-1])
        if not possible or not all(part.any() for part in there):
            return None
        return Relaxed(
            cls=cls, options=which, programme=Programme(*problem), bars=bars, least=least
        )

    def variants(self, relaxed: Relaxed) -> list[tuple[bool, ...]]:
        """Every way to price the hops of a class."""
        shape = self._shape(relaxed.options)
        member = self._member(relaxed.options, relaxed.cls)
        first, end = shape.families.variants[shape.members.family[member]]
        return pricings(int(end - first).bit_length() - 1) if end > first else [()]

    def realise(self, cls: MappingClass, which: int, choice: Ints) -> Mapping:
        """The mapping that a choice of options stands for in a class: the inverse of ``relax``.

        Args:
            which: the set of options.
            choice: ``[blocks]`` the number of each block's option among all options.
        """
        space = self.space
        tile = np.ones((8, space.depth), np.int64)
        fan = np.ones((8, space.depth), np.int64)
        first = 0
        for block, option in zip(self.blocks(which), choice, strict=True):
            for n, dim in enumerate(block.dims):
                tile[DIMS.index(dim)] = block.tiles[n][option - first][: space.depth]
                fan[DIMS.index(dim)] = block.fans[n][option - first]
            first += block.size
        stages = []
        for level, array in enumerate(space.arrays):
            spatial: tuple[Extents, ...] = ()
            if array is not None:
                spatial = _spread([int(x) for x in fan[:, level]], array.axes)
            named = level < space.depth - 1 or level == cls.handed
            order = space.order(cls, level) if named else ()
            extents = Extents(*(int(x) for x in tile[:, level]))
            stages.append(Stage(extents, order, cls.keeps[level], spatial))
        return Mapping(tuple(stages), space.stage_levels)

    def _member(self, which: int, cls: MappingClass) -> int:
        """The number of a class among those with a set of options: :meth:`cls` turned round."""
        return int(np.searchsorted(self._shape(which).numbers, self.table.classes[cls]))

    def _least_cycles(self, which: int) -> float:
        """Cycles of steps that no mapping undercuts."""
        if which not in self._fewest:
            self._fewest[which] = self._banks[which].fewest_steps()
        return self.space.cycles_per_step * self._fewest[which]

    # -- families --------------------------------------------------------------------------

    def _shape(self, which: int) -> _Shape:
        if which not in self._shapes:
            self._shapes[which] = self._make_shape(which)
        return self._shapes[which]

    def _make_shape(self, which: int) -> _Shape:
        table, shapes = self.table, self.space.shapes
        gathering = Gathering(self.space, self._banks[which])
        first = {
            n: gathering.add(kind)
            for n, kind in enumerate(table.kinds)
            if shapes.index(empty_levels(kind.keeps)) == which
        }
        numbers = np.flatnonzero(np.isin(table.kind, list(first)))
        return _Shape(
            numbers=numbers,
            families=gathering.families(),
            timed=np.array(gathering.timed, np.int64),
            members=Members(
                family=np.array([first[kind] for kind in table.kind[numbers].tolist()], np.int64),
                pattern=table.patterns[numbers],
                held=table.held[numbers],
            ),
        )


def _starts(families: Families, mode: int, blocks: int) -> Starts:
    """Where dual bounds begin before any was computed."""
    count = int(families.start.max(initial=-1)) + 1
    columns = np.diff(families.columns)
    times = np.diff(families.times) // (columns + 1)
    limits = np.diff(families.limits) // np.maximum(columns, 1)  # where nothing is kept inside: 0
    limits += times  # each time may be limited as well
    rates = np.full((count, 1 + int((times + limits).max(initial=0))), TUNING.first_price)
    rates[:, 0] = mode != LATENCY
    for start, number in zip(families.start, times, strict=True):
        rates[start, 1 : 1 + number] = 1.0
    return Starts(
        means=np.zeros((count, int(columns.max(initial=0)) + 1)),
        rates=rates,
        candidates=np.zeros((count, blocks, 1 + TUNING.dual_candidates), np.int64),
    )


def _spread(fans: Sequence[int], axes: Sequence[Axis]) -> tuple[Extents, ...]:
    """Split unrollings over the axes of an array, which :func:`boxes.packable` has seen to.

    What no axes multiply to (3 on 2 x 2) becomes the next that they do, in as many steps; a copy
    more may cost more, and then the search does not call it proved (:func:`solver._priced`).
    """

    def place(index: int, left: tuple[int, ...]) -> list[tuple[int, ...]] | None:
        if index == len(fans):
            return []
        ranges = [
            range(1, min(room, fans[index]) + 1 if DIMS[index] in axis.dims else 2)
            for room, axis in zip(left, axes, strict=True)
        ]
        for split in itertools.product(*ranges):
            if math.prod(split) < fans[index]:
                continue
            rest = place(index + 1, tuple(r // f for r, f in zip(left, split, strict=True)))
            if rest is not None:
                return [split, *rest]
        return None

    placed = place(0, tuple(axis.size for axis in axes))
    assert placed is not None
    return tuple(Extents(*(split[n] for split in placed)) for n in range(len(axes)))
