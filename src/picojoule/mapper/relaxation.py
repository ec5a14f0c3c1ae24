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
<<<<<<< HEAD
from collections.abc import Sequence
from dataclasses import dataclass
=======
from collections.abc import Iterator, Sequence
>>>>>>> wip/deep

import numpy as np

from picojoule.accelerator import Axis
from picojoule.cost import Ledger
from picojoule.mapper.bank import Bank
<<<<<<< HEAD
from picojoule.mapper.blocks import Block
from picojoule.mapper.class_table import ClassTable, class_table
from picojoule.mapper.families import Families, Goal, Members, assemble, forbid
from picojoule.mapper.frontier import NOWHERE, Classes, Starts
from picojoule.mapper.gathering import Gathering, pricings
from picojoule.mapper.kernels import Floats, Ints
from picojoule.mapper.programme import ENERGY, LATENCY, Options, Programme
from picojoule.mapper.space import MappingClass, Space, empty_levels
from picojoule.mapper.tuning import TUNING
from picojoule.mapping import Mapping, Stage
from picojoule.workload import DIMS, Extents


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxed:
    """One class, with every hop priced, free, or left open (and then counted as free)."""

    cls: MappingClass
    options: int  # which of the problem's sets of options
    programme: Programme
    penalty: Floats  # [options] infinite where the class or the sharing forbids an option
    least: float  # no choice is below, by the least of every column


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """The classes that have the same options."""

    bank: Bank
    numbers: Ints  # of its classes in the table
    families: Families
    timed: Ints  # [families] 1 if passing a hop takes time
    members: Members
=======
from picojoule.mapper.blocks import Block, Column, Elements, Ratio, Tile, Total, Words
from picojoule.mapper.kernels import Bools, Floats, Ints
from picojoule.mapper.models import (
    Hop,
    Model,
    Relaxed,
    Residence,
    Rows,
    Slot,
    Term,
    beyond_others,
)
from picojoule.mapper.programme import ENERGY, LATENCY, Beyond, Options, Programme
from picojoule.mapper.space import (
    Edge,
    MappingClass,
    Runs,
    Space,
    Stay,
    empty_levels,
    words_of,
)
from picojoule.mapping import Mapping, Stage
from picojoule.traffic import Flow
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Extents, Operand

INPUT, WEIGHT, OUTPUT = OPERANDS
>>>>>>> wip/deep


class Relaxation:
    """The programmes of all classes of a space; they share the factors of the options."""

    def __init__(self, space: Space) -> None:
        self.space = space
<<<<<<< HEAD
        self._ledger = Ledger(space.layer, space.accelerator, one=1.0)
        self._banks = [Bank(space, which) for which in range(len(space.shapes))]
        self._shapes: dict[int, _Shape] = {}
=======
        self._banks = [Bank(space, blocks) for blocks in space.blocks]
        self._models: dict[tuple[tuple[frozenset[Operand], ...], int], Model] = {}
        self._numbers: dict[tuple[Operand, int, int], int] = {}
        self._residences: dict[MappingClass, Residence] = {}
        self._rows: dict[object, Rows] = {}
        self._factors: dict[object, int] = {}
        self._penalties: dict[object, Floats | None] = {}
        self._alike: dict[tuple[int, bytes], Floats] = {}
        self._axes, self._allowed = space.array_limits()
>>>>>>> wip/deep
        self._fewest: dict[int, float] = {}
        self._classes: dict[tuple[int, int, float], Classes] = {}

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
        key = (which, mode, cycle_limit)
        if key not in self._classes:
            self._classes[key] = self._make_classes(*key)
        classes = self._classes[key]
        return classes._replace(starts=_starts(classes))

    def _make_classes(self, which: int, mode: int, cycle_limit: float) -> Classes:
        shape = self._shape(which)
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
            columns=shape.bank.columns(),
            options=shape.bank.options(),
            goal=goal,
            starts=NOWHERE,
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
        member = int(np.searchsorted(self._shape(which).numbers, self.table.classes[cls]))
        classes = self.classes(which, mode, cycle_limit)
        family = classes.members.family[member]
        if sharing:
            family = classes.families.variants[family, 0] + pricings(len(sharing)).index(sharing)
        pattern, held = classes.members.pattern[member], classes.members.held[member]
        parts = classes.families, classes.columns
        problem, least = assemble(*parts, classes.goal, family, pattern)
        penalty = np.empty(classes.options.starts[-1])
        if not forbid(*parts, classes.options, family, pattern, held, penalty):
            return None
<<<<<<< HEAD
=======
        if (model.number, sharing) not in self._rows:
            self._rows[model.number, sharing] = self._make_rows(model, sharing)
        rows = self._rows[model.number, sharing]
        bank = self._banks[which]
        numbers = [
            self._number(which, model, slot, *(stays[model.terms[n].edge] for n in slot.terms))
            for slot in rows.slots
        ]
        numbers += [bank.number(column) for column in rows.fixed]
        where, scale, least = bank.factors(numbers)
        # A column of reciprocals divides; another may be nothing at all, all of it padding.
        by = np.divide(1.0, scale, out=scale.copy(), where=rows.inverse)
        energy, times, limits = rows.energy * by, rows.times.copy(), rows.limits * by
        times[:, :-1] *= by
        plain: Bools = np.asarray((times[:, :-1] >= 0).all(axis=1))
        moved = times[:, :-1] @ least
        relief = np.where(plain, 1 + np.minimum(times[:, -1], 0) / np.maximum(moved, 1e-300), 0.0)
        if cycle_limit < math.inf:
            room = cycle_limit - times[plain, -1:]
            limits = np.concatenate([limits, times[plain, :-1] / room])
        base = rows.constant + float(np.minimum(energy, 0) @ (1 / least))
        varies = float(np.maximum(energy, 0) @ least)
        beyond = _beyond(rows, by, least)
        problem = Programme(
            where=where,
            mode=mode,
            constant=rows.constant,
            base=base,
            discount=_discount(base, varies),
            energy=energy,
            drawn=rows.drawn,
            times=times,
            relief=np.maximum(relief, 0.0),
            cycle_limit=cycle_limit,
            beyond=beyond,
            limits=limits,
            axes=self._axes,
            allowed=self._allowed,
        )
        bound = base + varies + float(beyond.coefficients[0] @ (least[beyond.words] * beyond.share))
        if mode != ENERGY or rows.drawn:
            cycles = max(
                rows.per_step * self._steps(which), *(times[plain, :-1] @ least + times[plain, -1])
            )
            bound += rows.drawn * cycles
            if mode != ENERGY:
                bound = cycles if mode == LATENCY else max(0.0, bound) * cycles
>>>>>>> wip/deep
        return Relaxed(
            cls=cls, options=which, programme=Programme(*problem), penalty=penalty, least=least
        )

    def variants(self, relaxed: Relaxed) -> list[tuple[bool, ...]]:
        """Every way to price the hops of a class."""
        shape = self._shape(relaxed.options)
        member = int(np.searchsorted(shape.numbers, self.table.classes[relaxed.cls]))
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
        return Mapping(tuple(stages))

    def _least_cycles(self, which: int) -> float:
        """Cycles of steps that no mapping undercuts."""
        if which not in self._fewest:
            self._fewest[which] = self._banks[which].fewest_steps()
        return self._ledger.cycles_per_step * self.space.layer.time_steps * self._fewest[which]

    # -- families --------------------------------------------------------------------------

    def _shape(self, which: int) -> _Shape:
        if which not in self._shapes:
            self._shapes[which] = self._make_shape(which)
        return self._shapes[which]

<<<<<<< HEAD
    def _make_shape(self, which: int) -> _Shape:
        table, bank, shapes = self.table, self._banks[which], self.space.shapes
        gathering = Gathering(self.space, bank)
        first = {
            n: gathering.add(kind)
            for n, kind in enumerate(table.kinds)
            if shapes.index(empty_levels(kind.keeps)) == which
        }
        numbers = np.flatnonzero(np.isin(table.kind, list(first)))
        return _Shape(
            bank=bank,
            numbers=numbers,
            families=gathering.families(),
            timed=np.array(gathering.timed, np.int64),
            members=Members(
                family=np.array([first[kind] for kind in table.kind[numbers].tolist()], np.int64),
                pattern=table.patterns[numbers],
                held=table.held[numbers],
=======
    def _number(self, which: int, model: Model, slot: Slot, *stays: Stay) -> int:
        numbers = tuple(model.terms[n].number for n in slot.terms)
        key = (which, numbers, slot.divided, slot.inverse, stays)
        if key not in self._factors:
            words = [self._words(model, n, x) for n, x in zip(slot.terms, stays, strict=True)]
            what = words[0] if len(words) == 1 else Ratio(*words)
            column = Column(what, slot.divided, slot.inverse)
            self._factors[key] = self._banks[which].number(column)
        return self._factors[key]

    def _penalty(self, residence: Residence, sharing: tuple[bool | None, ...]) -> Floats | None:
        """Zero for every option allowed, else infinite; None if a block is left without."""
        model, stays = residence.model, residence.stays
        unshared = tuple(
            (model.terms[hop.outside].number, stays[model.terms[hop.outside].edge])
            for hop, priced in zip(model.hops, sharing, strict=True)
            if priced is False
        )
        key = (model.options, residence.held, unshared, residence.once)
        if key not in self._penalties:
            pairs = [
                (
                    self._words(model, hop.outside, stays[model.terms[hop.outside].edge]),
                    self._words(model, hop.inside, stays[model.terms[hop.inside].edge]),
                )
                for hop, priced in zip(model.hops, sharing, strict=True)
                if priced is False
            ]
            bank = self._banks[model.options]
            penalty = bank.penalty(residence.held, pairs, residence.once)
            if penalty is not None:  # many are alike
                penalty = self._alike.setdefault((model.options, penalty.tobytes()), penalty)
            self._penalties[key] = penalty
        return self._penalties[key]

    def _residence(self, cls: MappingClass) -> Residence:
        model = self._model(cls)
        return Residence(
            model=model,
            stays=tuple(self._stay(cls, edge) for edge in model.edges),
            held=(
                *(
                    (level, frozenset(DIMS) if runs is Runs.NONE else RELEVANT[order.stays])
                    for level, (order, runs) in enumerate(zip(cls.orders, cls.runs, strict=True))
                    if runs is not Runs.ANY
                ),
                *((level, frozenset(DIMS)) for level in self.space.idle(cls)),
            ),
            once=self._once(cls),
        )

    def _stay(self, cls: MappingClass, edge: Edge) -> Stay:
        return (*self.space.stay(cls, edge), self.space.handed_on(cls, edge))

    def _once(self, cls: MappingClass) -> tuple[Words, ...]:
        """Counts that may not repeat: the stationary operand enters the elements once.

        Where partial sums stay on the chip, outputs leave for the outermost level once.
        """
        dataflow, gap = self.space.dataflow, self.space.element_gap

        def once(edge: Edge) -> bool:
            entered = gap is not None and edge.parent <= gap < edge.child
            spilt = dataflow.sums_stay and edge.operand is OUTPUT and edge.parent == 0
            return spilt or (entered and edge.operand is dataflow.stationary)

        return tuple(
            words_of(edge, edge.parent, self._stay(cls, edge))
            for edge in self.space.edges(cls.keeps)
            if once(edge)
        )

    def _make_rows(self, model: Model, sharing: tuple[bool | None, ...]) -> Rows:
        space, ledger = self.space, Ledger(self.space.layer, self.space.accelerator, one=1.0)
        slots: dict[Slot, int] = {}
        fixed: dict[Column, int] = {}
        parts: dict[tuple[Slot, Slot], dict[int, float]] = {}
        first = 1 + len(model.terms)

        def spread(vector: Floats, divided: int, line: int) -> dict[object, float]:
            """Coefficients over ``[1, terms, hops]`` as coefficients of columns."""
            values = vector[1:first].copy()
            for hop, priced, value in zip(model.hops, sharing, vector[first:], strict=True):
                if priced:
                    values[hop.inside] += value
            for words, others, value in beyond_others(model, values):
                slots.setdefault(ratio := Slot(words, 0, False, others), len(slots))
                parts.setdefault((Slot(words, divided, False), ratio), {})[line] = value
            constant: object = None
            if divided and vector[0]:
                constant = Column(Total.ONE, divided, inverse=bool(vector[0] < 0))
            row = {constant: float(vector[0])}
            if constant is not None:
                fixed.setdefault(constant, len(fixed))  # type: ignore[arg-type]
            for term, value in enumerate(values):
                # Also where it counts nothing: columns stand for the same in all classes.
                slot = Slot(term, divided, bool(value < 0))
                slots.setdefault(slot, len(slots))
                row[slot] = float(value)
            return row

        energy = spread(model.energy, 0, 0)
        each = space.accelerator.control.per_command * space.layer.time_steps
        if each:
            fixed[Column(Total.COMMANDS)] = 0
            energy[Column(Total.COMMANDS)] = each
        times: list[dict[object, float]] = []
        if space.timed:
            fixed.setdefault(Column(Total.STEPS), len(fixed))
            times.append({Column(Total.STEPS): ledger.cycles_per_step * space.layer.time_steps})
            for bits, divided, waited in zip(model.times, model.outside, model.waited, strict=True):
                times.append(spread(bits, divided, 1 + len(times)))
                if waited:  # the multipliers stand still meanwhile
                    times[-1][Column(Total.STEPS)] = times[0][Column(Total.STEPS)]
        limits: list[dict[object, float]] = []
        for part in model.capacity:
            limits.append(
                {Column(t): float(p) for t, p in zip(model.tiles, part, strict=True) if p}
            )
        for gap in space.array_gaps:
            array = space.arrays[gap]
            assert array is not None
            limits.append({Column(Elements(gap)): 1 / array.size})
        for row in limits:
            for column in row:
                fixed.setdefault(column, len(fixed))  # type: ignore[arg-type]
        order: dict[object, int] = {
            column: n for n, column in enumerate(itertools.chain(slots, fixed))
        }

        def dense(rows: Sequence[dict[object, float]], constant: int) -> Floats:
            table = np.zeros((len(rows), len(order) + constant))
            for line, row in zip(table, rows, strict=True):
                for column, value in row.items():
                    line[-1 if column is None else order[column]] = value
            return table

        return Rows(
            slots=tuple(slots),
            fixed=tuple(fixed),
            inverse=np.array([x.inverse for x in slots] + [x.inverse for x in fixed], np.bool_),
            constant=energy.pop(None),
            energy=dense([energy], 0)[0],
            drawn=space.accelerator.drawn_per_cycle if space.timed else 0.0,
            per_step=ledger.cycles_per_step * space.layer.time_steps,
            times=dense(times, 1),
            limits=dense(limits, 0),
            beyond=tuple((slots[words], slots[ratio]) for words, ratio in parts),
            coefficients=np.array(
                [[part.get(line, 0.0) for part in parts.values()] for line in range(1 + len(times))]
>>>>>>> wip/deep
            ),
        )


def _starts(classes: Classes) -> Starts:
    """Where dual bounds begin before any was computed."""
    families, blocks = classes.families, classes.columns.where.shape[1]
    count = int(families.start.max(initial=-1)) + 1
    columns = np.diff(families.columns)
    times = np.diff(families.times) // (columns + 1)
    limits = np.diff(families.limits) // columns + times  # each time may be limited as well
    rates = np.full((count, 1 + int((times + limits).max(initial=0))), TUNING.first_price)
    rates[:, 0] = classes.goal.mode != LATENCY
    for start, number in zip(families.start, times, strict=True):
        rates[start, 1 : 1 + number] = 1.0
    return Starts(
        means=np.zeros((count, int(columns.max(initial=0)) + 1)),
        rates=rates,
        candidates=np.zeros((count, blocks, 1 + TUNING.dual_candidates), np.int64),
    )


def _beyond(rows: Rows, by: Floats, least: Floats) -> Beyond:
    """Words of a class that count only beyond others.

    Args:
        by: what the constant factors of each column come to.
        least: the least products of the others.
    """
    words, times = np.array(rows.beyond, np.int64).reshape(-1, 2).T
    return Beyond(
        words=words.copy(),
        times=times.copy(),
        against=by[times],
        coefficients=rows.coefficients * by[words],
        share=np.maximum(0.0, 1 - by[times] / least[times]),
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
