"""Classes of mappings as discrete geometric programmes, and the way back.

:meth:`Relaxation.relax` turns a class into a programme, :meth:`Relaxation.realise` a point of that
programme into a mapping. Within a class a mapping's price is a sum of products of per-dimension
factors. The ledger of :mod:`cost` books symbolic flows, which gives the coefficients, and
:mod:`bank` holds the factors. A class prices a mapping at no less than :func:`cost.evaluate` does
and some class prices it exactly, so the least over all classes is the optimum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from picojoule.accelerator import Axis
from picojoule.cost import Ledger
from picojoule.mapper.bank import Bank
from picojoule.mapper.blocks import Block, Column, Elements, Tile, Total, Words
from picojoule.mapper.kernels import Bools, Floats, Ints
from picojoule.mapper.programme import ENERGY, LATENCY, Options, Programme
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
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Extents, Operand

INPUT, WEIGHT, OUTPUT = OPERANDS


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
    """A column of every class of a model: a term under the class's own order of loops."""

    term: int
    divided: int
    inverse: bool


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


class Relaxation:
    """The programmes of all classes of a space; they share the factors of the options."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._banks = [Bank(space, blocks) for blocks in space.blocks]
        self._models: dict[tuple[tuple[frozenset[Operand], ...], int], Model] = {}
        self._numbers: dict[tuple[Operand, int, int], int] = {}
        self._residences: dict[MappingClass, Residence] = {}
        self._rows: dict[object, Rows] = {}
        self._factors: dict[object, int] = {}
        self._penalties: dict[object, Floats | None] = {}
        self._axes, self._allowed = space.array_limits()
        self._fewest: dict[int, float] = {}

    def options(self, which: int) -> Options:
        """The options of all blocks, with every column asked for so far."""
        return self._banks[which].options()

    def blocks(self, which: int) -> tuple[Block, ...]:
        """The blocks whose options these are."""
        return self.space.blocks[which]

    def relax(
        self,
        cls: MappingClass,
        mode: int,
        cycle_limit: float,
        sharing: tuple[bool | None, ...] | None = None,
    ) -> Relaxed | None:
        """A class as a programme; None if it allows no option of some block.

        Args:
            mode: what to minimise (:mod:`programme`).
            cycle_limit: more cycles are not allowed.
            sharing: for each hop, whether to price it (True), or to forbid every option that
                shares words there (False); None leaves it open.
        """
        if cls not in self._residences:
            self._residences[cls] = self._residence(cls)
        residence = self._residences[cls]
        model, stays, which = residence.model, residence.stays, residence.model.options
        if sharing is None:
            sharing = (None,) * len(model.hops)
        penalty = self._penalty(residence, sharing)
        if penalty is None:
            return None
        if (model.number, sharing) not in self._rows:
            self._rows[model.number, sharing] = self._make_rows(model, sharing)
        rows = self._rows[model.number, sharing]
        bank = self._banks[which]
        numbers = [
            self._number(which, model, slot, stays[model.terms[slot.term].edge])
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
            limits=limits,
            axes=self._axes,
            allowed=self._allowed,
        )
        bound = base + varies
        if mode != ENERGY or rows.drawn:
            cycles = max(
                rows.per_step * self._steps(which), *(times[plain, :-1] @ least + times[plain, -1])
            )
            bound += rows.drawn * cycles
            if mode != ENERGY:
                bound = cycles if mode == LATENCY else max(0.0, bound) * cycles
        return Relaxed(
            cls=cls,
            model=model,
            sharing=sharing,
            options=which,
            programme=problem,
            penalty=penalty,
            least=bound,
        )

    def realise(self, relaxed: Relaxed, choice: Ints) -> Mapping:
        """The mapping that a point of a class's programme stands for: the inverse of ``relax``.

        Args:
            choice: ``[blocks]`` the number of each block's option among all options.
        """
        space, cls = self.space, relaxed.cls
        starts = self.options(relaxed.options).starts
        tile = np.ones((8, space.depth), np.int64)
        fan = np.ones((8, space.depth), np.int64)
        for block, option in zip(self.blocks(relaxed.options), choice - starts[:-1], strict=True):
            for n, dim in enumerate(block.dims):
                tile[DIMS.index(dim)] = block.tiles[n][option][: space.depth]
                fan[DIMS.index(dim)] = block.fans[n][option]
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

    def variants(self, relaxed: Relaxed) -> Iterator[tuple[bool, ...]]:
        """Every way to price its hops."""
        yield from itertools.product((False, True), repeat=len(relaxed.model.hops))

    def _steps(self, which: int) -> float:
        if which not in self._fewest:
            self._fewest[which] = self._banks[which].fewest_steps()
        return self._fewest[which]

    # -- columns ---------------------------------------------------------------------------

    def _words(self, model: Model, term: int, stay: Stay) -> Words:
        edge = model.edges[model.terms[term].edge]
        return words_of(edge, model.terms[term].grain, stay)

    def _number(self, which: int, model: Model, slot: Slot, stay: Stay) -> int:
        key = (which, model.terms[slot.term].number, slot.divided, slot.inverse, stay)
        if key not in self._factors:
            words = self._words(model, slot.term, stay)
            column = Column(words, slot.divided, slot.inverse)
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
            self._penalties[key] = bank.penalty(residence.held, pairs, residence.once)
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
        first = 1 + len(model.terms)

        def spread(vector: Floats, divided: int) -> dict[object, float]:
            """Coefficients over ``[1, terms, hops]`` as coefficients of columns."""
            values = vector[1:first].copy()
            for hop, priced, value in zip(model.hops, sharing, vector[first:], strict=True):
                if priced:
                    values[hop.inside] += value
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

        energy = spread(model.energy, 0)
        each = space.accelerator.control.per_command * space.layer.time_steps
        if each:
            fixed[Column(Total.COMMANDS)] = 0
            energy[Column(Total.COMMANDS)] = each
        times: list[dict[object, float]] = []
        if space.timed:
            fixed.setdefault(Column(Total.STEPS), len(fixed))
            times.append({Column(Total.STEPS): ledger.cycles_per_step * space.layer.time_steps})
            for bits, divided, waited in zip(model.times, model.outside, model.waited, strict=True):
                times.append(spread(bits, divided))
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
        )

    # -- coefficients ----------------------------------------------------------------------

    def _model(self, cls: MappingClass) -> Model:
        key = (cls.keeps, self.space.lasting(cls))
        if key not in self._models:
            self._models[key] = self._make_model(*key)
        return self._models[key]

    def _make_model(self, keeps: tuple[frozenset[Operand], ...], lasting: int) -> Model:
        """The coefficients of all counts, priced by the ledger of ``cost``.

        Args:
            lasting: weights down to this level are fetched in the first time step alone.
        """
        space = self.space
        edges = tuple(space.edges(keeps))
        terms: list[Term] = []
        shapes: list[tuple[Edge, list[Term | None]]] = []
        for n, edge in enumerate(edges):
            per_grain: list[Term | None] = []
            for grain in range(edge.parent, edge.child + 1):
                grain = self._grain(edge.parent, grain)
                words = (edge.operand, edge.child, grain)
                term = Term(n, grain, self._numbers.setdefault(words, len(self._numbers)))
                constant = edge.child == space.depth and not any(
                    space.arrays[n] for n in range(edge.parent, space.depth)
                )
                if not constant and term not in terms:
                    terms.append(term)
                per_grain.append(None if constant else term)
            shapes.append((edge, per_grain))
        pairs: list[Hop] = []
        for edge, per_grain in shapes:
            for level in range(edge.parent, edge.child):
                if edge.operand is not OUTPUT and space.arrays[level] is not None:
                    outside, inside = (per_grain[level - edge.parent + n] for n in (0, 1))
                    assert outside is not None
                    assert inside is not None
                    pairs.append(Hop(terms.index(outside), terms.index(inside)))
        unit: Floats = np.eye(1 + len(terms) + len(pairs))
        ledger = Ledger(space.layer, space.accelerator, one=unit[0])
        ledger.book(self._symbolic_flows(shapes, terms, unit, lasting))
        energy = sum(
            access.energy
            for table in (ledger.accesses, ledger.hops)
            for operands in table.values()
            for access in operands.values()
        )
        energy = np.asarray(energy, float) + ledger.compute * unit[0]
        times, outside_of, waited = self._times(ledger) if space.timed else ([], [], [])
        first = 1 + len(terms)
        priced = [
            n for n in range(len(pairs)) if energy[first + n] or any(t[first + n] for t in times)
        ]
        chosen = [*range(first), *(first + n for n in priced)]
        tiles, capacity = self._capacities(keeps)
        return Model(
            number=len(self._models),
            options=space.shapes.index(empty_levels(keeps)),
            edges=edges,
            terms=tuple(terms),
            hops=tuple(pairs[n] for n in priced),
            energy=energy[chosen],
            times=tuple(time[chosen] for time in times),
            outside=tuple(outside_of),
            waited=tuple(waited),
            tiles=tiles,
            capacity=capacity,
        )

    def _symbolic_flows(
        self,
        shapes: list[tuple[Edge, list[Term | None]]],
        terms: list[Term],
        unit: Floats,
        lasting: int,
    ) -> list[Flow[Floats]]:
        """Flows whose words are symbols: rows of *unit*, for one, each term and each hop."""
        space = self.space
        flows: list[Flow[Floats]] = []
        used = 1 + len(terms)
        for edge, per_grain in shapes:
            lasts = edge.operand is WEIGHT and edge.child <= lasting
            often = 1 if lasts else space.layer.time_steps
            sharing = []
            for level in range(edge.parent, edge.child):
                counts = edge.operand is not OUTPUT and space.arrays[level] is not None
                sharing.append(often * unit[used] if counts else 0 * unit[0])
                used += counts
            words_at = tuple(
                often * self._mac_words(edge.operand) * unit[0]
                if term is None
                else often * unit[1 + terms.index(term)]
                for term in per_grain
            )
            flows.append(
                Flow(
                    operand=edge.operand,
                    parent=edge.parent,
                    child=edge.child,
                    words=words_at,
                    sharing=tuple(sharing),
                )
            )
        return flows

    def _grain(self, parent: int, grain: int) -> int:
        """The outermost grain with the same words: no array lies between."""
        while grain > parent and self.space.arrays[grain - 1] is None:
            grain -= 1
        return grain

    def _times(self, ledger: Ledger[Floats]) -> tuple[list[Floats], list[int], list[bool]]:
        arrays_outside = np.cumsum([0, *(array is not None for array in self.space.arrays)])
        vectors, outside, waited = [], [], []
        for channel in (*ledger.channels(), *ledger.waits()):
            vectors.append(np.asarray(channel.bits) / channel.bandwidth)
            outside.append(int(arrays_outside[channel.level]))
            waited.append(channel.waited)
        return vectors, outside, waited

    def _mac_words(self, operand: Operand) -> float:
        """Words that the multipliers take from a memory right above them, in one time step."""
        layer = self.space.layer
        if operand is not INPUT:
            return float(layer.macs // layer.time_steps)
        total = float(layer.bounds.N * layer.bounds.G * layer.bounds.M * layer.bounds.C)
        for axis in self.space.axes:
            outputs, taps, stride, dilation, stored = axis
            rows = np.arange(outputs)[:, None] * stride + np.arange(taps)[None, :] * dilation
            total *= int(((rows >= stored.start) & (rows < stored.stop)).sum())
        return total

    def _capacities(self, keeps: tuple[frozenset[Operand], ...]) -> tuple[tuple[Tile, ...], Floats]:
        """Tiles that memories hold, and how much of each memory a word takes."""
        tiles: list[Tile] = []
        rows: dict[str, dict[int, float]] = {}  # by memory, which may stand at several levels
        for index, level in enumerate(self.space.levels):
            for memory in level.memories:
                held = [o for o in OPERANDS if o in memory.keeps & keeps[index]]
                if memory.capacity is None or not held:
                    continue
                row = rows.setdefault(memory.name, {})
                for operand in held:
                    row[len(tiles)] = self.space.width(operand) / memory.capacity
                    tiles.append(Tile(index, operand))
        weights = np.zeros((len(rows), len(tiles)))
        for n, row in enumerate(rows.values()):
            for column, part in row.items():
                weights[n, column] = part
        return tuple(tiles), weights


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


def _discount(constant: float, varies: float) -> float:
    """The logarithm of the least share of a sum that a negative constant leaves."""
    if constant >= 0:
        return 0.0
    return math.log1p(constant / varies) if constant > -varies else -math.inf
