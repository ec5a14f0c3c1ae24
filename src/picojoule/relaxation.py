"""Classes of mappings as discrete geometric programmes.

Within a class a mapping's price is a sum of products of per-dimension factors. The ledger of
:mod:`cost` books symbolic flows, which gives the coefficients; :mod:`tilings` gives the factors.
A class prices a mapping at no less than :func:`cost.evaluate` does and some class prices it
exactly, so the least over all classes is the optimum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from picojoule.cost import Ledger
from picojoule.mapspace import IRRELEVANT, Block, Edge, MappingClass, Runs, Space, empty_levels
from picojoule.programme import Options, Programme, value_of
from picojoule.tilings import Bools, Floats, Ints, repeats, window_words
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Operand

P = Dim.P
INPUT, _, OUTPUT = OPERANDS


class _SymbolicFlow(NamedTuple):
    """A flow whose words are coefficient vectors over symbolic counts."""

    operand: Operand
    parent: int
    child: int
    words: tuple[Floats, ...]
    sharing: dict[int, Floats]

    @property
    def at_parent(self) -> Floats:
        return self.words[0]

    @property
    def at_child(self) -> Floats:
        return self.words[-1]

    def passed(self, level: int) -> tuple[Floats, Floats]:
        return self.words[level - self.parent], self.words[level + 1 - self.parent]

    def shared(self, level: int) -> Floats:
        return self.sharing[level]


class Words(NamedTuple):
    """The words of an edge at a grain, under a pattern of stays."""

    operand: Operand
    child: int
    grain: int
    still: int  # bit mask of levels
    slide: tuple[int, Dim] | None


class Tile(NamedTuple):
    """The words of an operand's tile at a level."""

    level: int
    operand: Operand


class Elements(NamedTuple):
    """The unrolling over one array."""

    gap: int


class Steps(NamedTuple):
    """Steps of the whole nest."""


class One(NamedTuple):
    """Nothing to count."""


class Column(NamedTuple):
    """A count, whose factors are known for every option of every block."""

    count: Words | Tile | Elements | Steps | One
    divided: int = 0  # by the elements in use of that many of the outermost arrays
    inverse: bool = False  # the reciprocal: a larger count lowers what it enters


class Term(NamedTuple):
    """The words of an edge at a grain, whatever the order of the loops."""

    edge: Edge
    grain: int


class Hop(NamedTuple):
    """Words that pass an array's network; free where no neighbours share them."""

    outside: int  # terms
    inside: int


@dataclass(frozen=True, slots=True)
class Model:
    """What all classes that keep the same operands have in common.

    Every coefficient vector is over ``[1, terms, hops]``.
    """

    terms: tuple[Term, ...]
    hops: tuple[Hop, ...]
    energy: Floats
    times: tuple[Floats, ...]
    outside: tuple[int, ...]  # arrays outside the memory or network of each time
    tiles: tuple[Tile, ...]
    capacity: Floats  # [memories, tiles] bits per word as a part of the memory


@dataclass(frozen=True, slots=True)
class Relaxed:
    """One class, with every hop priced, free, or left open (and then counted as free)."""

    cls: MappingClass
    model: Model
    sharing: tuple[bool | None, ...]
    options: int  # which of the problem's sets of options
    programme: Programme
    penalty: Floats  # [options] infinite where the class or the sharing forbids an option
    least: float  # no choice is below, by the least of every column


class Relaxation:
    """The programmes of all classes of a space; they share the factors of the options."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._banks = [_Bank(space, blocks) for blocks in space.blocks]
        self._models: dict[tuple[frozenset[Operand], ...], Model] = {}
        self._axes, self._allowed = self._array_limits()

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
        model = self._model(cls.keeps)
        if sharing is None:
            sharing = (None,) * len(model.hops)
        which = self.space.shapes.index(empty_levels(cls.keeps))
        bank = self._banks[which]
        words = []
        for term in model.terms:
            still, slide = self.space.stay(cls, term.edge)
            words.append(Words(term.edge.operand, term.edge.child, term.grain, still, slide))
        rows = _Rows(model, words, sharing, self.space)
        where, scale = bank.lookup(rows.columns)
        penalty = self._penalty(cls, model, words, sharing, bank)
        if penalty is None:
            return None
        energy, times = rows.energy * scale, rows.times * np.append(scale, 1.0)
        # A column that stands for a reciprocal divides instead.
        for k in np.flatnonzero([column.inverse for column in rows.columns]):
            energy[k], times[:, k] = rows.energy[k] / scale[k], rows.times[:, k] / scale[k]
        limits = rows.limits * scale
        if cycle_limit < math.inf:
            plain = times[(times[:, :-1] >= 0).all(axis=1)]
            limits = np.concatenate([limits, plain[:, :-1] / (cycle_limit - plain[:, -1:])])
        least = bank.least(where)
        given = energy < 0
        constant = rows.constant + float((energy[given] / least[given]).sum())
        varies = float((np.maximum(energy, 0) * least).sum())
        problem = Programme(
            where,
            mode,
            rows.constant,
            constant,
            _discount(constant, varies),
            energy,
            rows.static,
            times,
            (times[:, :-1] >= 0).all(axis=1),
            cycle_limit,
            limits,
            self._axes,
            self._allowed,
        )
        # No choice is below what the least of every column makes, capacities aside.
        free = problem._replace(limits=np.zeros((0, len(energy))))
        return Relaxed(cls, model, sharing, which, problem, penalty, value_of(free, least))

    def variants(self, relaxed: Relaxed) -> Iterator[tuple[bool, ...]]:
        """Every way to price its hops."""
        yield from itertools.product((False, True), repeat=len(relaxed.model.hops))

    # -- coefficients ----------------------------------------------------------------------

    def _model(self, keeps: tuple[frozenset[Operand], ...]) -> Model:
        if keeps not in self._models:
            self._models[keeps] = self._make_model(keeps)
        return self._models[keeps]

    def _make_model(self, keeps: tuple[frozenset[Operand], ...]) -> Model:
        """The coefficients of all counts, priced by the ledger of ``cost``."""
        space = self.space
        terms: list[Term] = []
        shapes: list[tuple[Edge, list[Term | None]]] = []
        for edge in space.edges(keeps):
            per_grain: list[Term | None] = []
            for grain in range(edge.parent, edge.child + 1):
                term = Term(edge, self._grain(edge.parent, grain))
                known = edge.child == space.depth and not any(
                    space.arrays[n] for n in range(edge.parent, space.depth)
                )
                if not known and term not in terms:
                    terms.append(term)
                per_grain.append(None if known else term)
            shapes.append((edge, per_grain))
        pairs: list[Hop] = []
        for edge, per_grain in shapes:
            for level in range(edge.parent, edge.child):
                if edge.operand is not OUTPUT and space.arrays[level] is not None:
                    outside, inside = (per_grain[level - edge.parent + n] for n in (0, 1))
                    assert outside is not None and inside is not None
                    pairs.append(Hop(terms.index(outside), terms.index(inside)))
        size = 1 + len(terms) + len(pairs)
        unit: Floats = np.eye(size)
        flows, used = [], 1 + len(terms)
        for edge, per_grain in shapes:
            sharing = {}
            for level in range(edge.parent, edge.child):
                if edge.operand is not OUTPUT and space.arrays[level] is not None:
                    sharing[level] = unit[used]
                    used += 1
            words = tuple(
                self._mac_words(edge.operand) * unit[0]
                if term is None
                else unit[1 + terms.index(term)]
                for term in per_grain
            )
            flows.append(_SymbolicFlow(*edge, words, sharing))
        ledger = Ledger(space.layer, space.machine, one=unit[0])
        ledger.book(flows)  # type: ignore[arg-type]
        energy = sum(
            access.energy
            for table in (ledger.accesses, ledger.hops)
            for operands in table.values()
            for access in operands.values()
        )
        energy = np.asarray(energy, float) + ledger.compute * unit[0]
        times, outside_of = self._times(ledger) if space.timed else ([], [])
        first = 1 + len(terms)
        priced = [
            n for n in range(len(pairs)) if energy[first + n] or any(t[first + n] for t in times)
        ]
        chosen = [*range(first), *(first + n for n in priced)]
        tiles, capacity = self._capacities(keeps)
        return Model(
            tuple(terms),
            tuple(pairs[n] for n in priced),
            energy[chosen],
            tuple(time[chosen] for time in times),
            tuple(outside_of),
            tiles,
            capacity,
        )

    def _grain(self, parent: int, grain: int) -> int:
        """The outermost grain with the same words: no array lies between."""
        while grain > parent and self.space.arrays[grain - 1] is None:
            grain -= 1
        return grain

    def _times(self, ledger: Ledger) -> tuple[list[Floats], list[int]]:
        vectors, outside = [], []
        arrays_outside = 0
        for index, level in enumerate(self.space.levels):
            for memory in level.memories:
                if memory.bandwidth is not None:
                    vectors.append(np.asarray(ledger.bits_moved[memory.name]) / memory.bandwidth)
                    outside.append(arrays_outside)
            array = self.space.arrays[index]
            if array is not None:
                if array.bandwidth is not None:
                    vectors.append(np.asarray(ledger.bits_moved[array.name]) / array.bandwidth)
                    outside.append(arrays_outside)
                arrays_outside += 1
        return vectors, outside

    def _mac_words(self, operand: Operand) -> float:
        """Words that the multipliers take from a memory right above them."""
        layer = self.space.layer
        if operand is not INPUT:
            return float(layer.macs)
        total = float(layer.bounds.N * layer.bounds.G * layer.bounds.M * layer.bounds.C)
        for axis in (0, 1):
            low, high = self.space.stored(axis)
            outputs, taps = layer.bounds[4 + axis], layer.bounds[6 + axis]
            rows = (
                np.arange(outputs)[:, None] * layer.stride[axis]
                + np.arange(taps)[None, :] * layer.dilation[axis]
            )
            total *= int(((rows >= low) & (rows < high)).sum())
        return total

    def _capacities(self, keeps: tuple[frozenset[Operand], ...]) -> tuple[tuple[Tile, ...], Floats]:
        """Tiles that memories hold, and how much of each memory a word takes."""
        tiles: list[Tile] = []
        rows: list[dict[int, float]] = []
        for index, level in enumerate(self.space.levels):
            for memory in level.memories:
                held = [o for o in OPERANDS if o in memory.keeps & keeps[index]]
                if memory.capacity is None or not held:
                    continue
                rows.append({})
                for operand in held:
                    rows[-1][len(tiles)] = self.space.width(operand) / memory.capacity
                    tiles.append(Tile(index, operand))
        weights = np.zeros((len(rows), len(tiles)))
        for n, row in enumerate(rows):
            for column, part in row.items():
                weights[n, column] = part
        return tuple(tiles), weights

    def _array_limits(self) -> tuple[Ints, Ints]:
        arrays = [array for array in self.space.arrays if array is not None]
        most = max((len(array.axes) for array in arrays), default=1)
        axes = np.ones((len(arrays), most), np.int64)
        allowed = np.zeros((len(arrays), most), np.int64)
        for a, array in enumerate(arrays):
            for n, axis in enumerate(array.axes):
                axes[a, n] = axis.size
                allowed[a, n] = sum(1 << DIMS.index(dim) for dim in axis.dims)
        return axes, allowed

    # -- which options a class allows ------------------------------------------------------

    def _penalty(
        self,
        cls: MappingClass,
        model: Model,
        words: Sequence[Words],
        sharing: tuple[bool | None, ...],
        bank: _Bank,
    ) -> Floats | None:
        """Zero for every option allowed, else infinite; None if a block is left without."""
        unshared = [
            (words[hop.outside], words[hop.inside])
            for hop, priced in zip(model.hops, sharing, strict=True)
            if priced is False
        ]
        parts = []
        for which in range(len(bank.blocks)):
            part = bank.mask(which, cls, tuple(unshared), self._once(cls))
            if part is None:
                return None
            parts.append(part)
        return np.concatenate(parts)

    def _once(self, cls: MappingClass) -> tuple[Words, ...]:
        """Counts that may not repeat: the stationary operand enters the elements once."""
        flow, gap = self.space.dataflow, self.space.element_gap
        if flow.stationary is None or gap is None:
            return ()
        return tuple(
            Words(edge.operand, edge.child, edge.parent, *self.space.stay(cls, edge))
            for edge in self.space.edges(cls.keeps)
            if edge.operand is flow.stationary and edge.parent <= gap < edge.child
        )


def _discount(constant: float, varies: float) -> float:
    """The logarithm of the least share of a sum that a negative constant leaves."""
    if constant >= 0:
        return 0.0
    return math.log1p(constant / varies) if constant > -varies else -math.inf


class _Rows:
    """The coefficients of one class over its columns."""

    def __init__(
        self,
        model: Model,
        words: Sequence[Words],
        sharing: tuple[bool | None, ...],
        space: Space,
    ) -> None:
        ledger = Ledger(space.layer, space.machine)
        self.columns: list[Column] = []
        self._index: dict[Column, int] = {}
        self._words, self._sharing, self._model = words, sharing, model
        energy = self._row(model.energy, 0)
        arrays = [Elements(gap) for gap in space.array_gaps]
        times = []
        if space.timed:
            times.append({self._at(Column(Steps())): ledger.cycles_per_step, -1: 0.0})
            times += [
                self._row(time, outside)
                for time, outside in zip(model.times, model.outside, strict=True)
            ]
        tiles = [self._at(Column(tile)) for tile in model.tiles]
        elements = [self._at(Column(array)) for array in arrays]
        count = len(self.columns)
        self.constant = energy.pop(-1)
        self.static = ledger.static_per_cycle if space.timed else 0.0
        self.energy = _dense([energy], count)[0]
        self.times = _dense(times, count + 1)
        self.limits = np.zeros((len(model.capacity) + len(arrays), count))
        self.limits[: len(model.capacity), tiles] = model.capacity
        for row, column, array in zip(
            self.limits[len(model.capacity) :], elements, space.array_gaps, strict=True
        ):
            there = space.arrays[array]
            assert there is not None
            row[column] = 1 / there.size

    def _at(self, column: Column) -> int:
        if column not in self._index:
            self._index[column] = len(self.columns)
            self.columns.append(column)
        return self._index[column]

    def _row(self, vector: Floats, divided: int) -> dict[int, float]:
        """Coefficients over ``[1, terms, hops]`` as coefficients of columns; -1: the constant."""
        first = 1 + len(self._words)
        values = vector[1:first].copy()
        for hop, priced, value in zip(self._model.hops, self._sharing, vector[first:], strict=True):
            if priced:
                values[hop.inside] += value
        row = {-1: float(vector[0])}
        if divided and vector[0]:
            row = {-1: 0.0, self._at(Column(One(), divided)): float(vector[0])}
        for words, value in zip(self._words, values, strict=True):
            # Also where it counts nothing: columns stand for the same in all classes.
            at = self._at(Column(words, divided, inverse=bool(value < 0)))
            row[at] = row.get(at, 0.0) + float(value)
        return row


def _dense(rows: Sequence[dict[int, float]], width: int) -> Floats:
    table = np.zeros((len(rows), width))
    for line, row in zip(table, rows, strict=True):
        for column, value in row.items():
            line[column] = value
    return table


class _Bank:
    """The factors of all options of a set of blocks; each column is computed once."""

    def __init__(self, space: Space, blocks: tuple[Block, ...]) -> None:
        self.space, self.blocks = space, blocks
        self._known: dict[tuple[int, Column], tuple[int, float, float]] = {}
        self._columns: list[Floats] = []
        self._size = 0
        self._windows: dict[object, Floats] = {}
        self._masks: dict[object, Floats | None] = {}
        self._runs: dict[object, Bools] = {}
        self._counted: dict[tuple[int, Words], Floats] = {}
        self._options: Options | None = None

    def options(self) -> Options:
        if self._options is None:
            gaps = self.space.array_gaps
            starts = np.cumsum([0] + [block.size for block in self.blocks])
            fans = np.ones((int(starts[-1]), len(gaps), 2), np.int64)
            dims = np.full((len(self.blocks), 2), -1, np.int64)
            for b, block in enumerate(self.blocks):
                for n, dim in enumerate(block.dims):
                    fans[starts[b] : starts[b + 1], :, n] = block.fans[n][:, gaps]
                    dims[b, n] = DIMS.index(dim)
            raw = np.concatenate([*self._columns, np.ones(1)])
            self._options = Options(
                starts.astype(np.int64),
                raw,
                np.log(raw),
                fans,
                dims,
                np.concatenate([block.group for block in self.blocks]),
            )
        return self._options

    def lookup(self, columns: Sequence[Column]) -> tuple[Ints, Floats]:
        """Where each block's factors are, and the product of those that do not vary."""
        where = np.empty((len(self.blocks), len(columns)), np.int64)
        scale = np.ones(len(columns))
        known = self._known
        for b in range(len(self.blocks)):
            for k, column in enumerate(columns):
                if (b, column) not in known:
                    known[b, column] = self._add(b, column)
                where[b, k], constant, _ = known[b, column]
                scale[k] *= constant
        self._lows = {at: low for at, _, low in known.values()}
        return where, scale

    def least(self, where: Ints) -> Floats:
        """The least of each column over all options."""
        lows = np.ones(where.shape[1])
        for b in range(len(where)):
            for k in range(where.shape[1]):
                if where[b, k] >= 0:
                    lows[k] *= self._lows[int(where[b, k])]
        return lows

    def _add(self, which: int, column: Column) -> tuple[int, float, float]:
        values = self._values(which, column)
        low = float(values.min())
        if low == values.max():
            return -1, low, 1.0
        at = self._size
        self._columns.append(values)
        self._size += len(values)
        self._options = None
        return at, 1.0, low

    def _values(self, which: int, column: Column) -> Floats:
        block, count = self.blocks[which], column.count
        if isinstance(count, Words):
            values = self.counted(which, count)
        elif isinstance(count, Tile):
            values = self._tile(block, count)
        elif isinstance(count, Elements):
            values = block.unrolled(count.gap)
        elif isinstance(count, Steps):
            values = np.ones(block.size)
            for n in range(len(block.dims)):
                values = values * repeats(block.tiles[n], block.fans[n], self.space.depth, 0, 0)
        else:
            values = np.ones(block.size)
        for gap in self.space.array_gaps[: column.divided]:
            values = values / block.unrolled(gap)
        return 1 / values if column.inverse else values

    def counted(self, which: int, words: Words) -> Floats:
        """The factor of one block in a count of words, for all of its options."""
        key = (which, words)
        if key not in self._counted:
            block = self.blocks[which]
            if words.operand is INPUT and len(block.dims) == 2:
                self._counted[key] = self._window(which, words)
            else:
                total = np.ones(block.size)
                for n, dim in enumerate(block.dims):
                    total = total * self._single(which, n, dim, words)
                self._counted[key] = total
        return self._counted[key]

    def _single(self, which: int, n: int, dim: Dim, words: Words) -> Floats:
        block = self.blocks[which]
        bound = self.space.layer.bounds[DIMS.index(dim)]
        if dim in RELEVANT[words.operand]:
            return np.full(block.size, float(bound))
        if bound == 1:
            return np.ones(block.size)
        chains = block.chains[n]
        per_chain = repeats(chains[0], chains[1], words.child, words.grain, words.still)
        return per_chain if block.pick is None else per_chain[block.pick[n]]

    def _window(self, which: int, words: Words) -> Floats:
        """Window words of all options of a pair."""
        block = self.blocks[which]
        axis = 0 if block.dims[0] is P else 1
        level, tap = -1, False
        if words.slide is not None and words.slide[1] in block.dims:
            level, tap = words.slide[0], words.slide[1] is block.dims[1]
        key = (which, words.child, words.grain, level, tap)
        if key not in self._windows:
            self._windows[key] = window_table(
                block,
                self.space.layer.stride[axis],
                self.space.layer.dilation[axis],
                self.space.stored(axis),
                words.child,
                words.grain,
                level,
                tap,
            )
        return self._windows[key]

    def _tile(self, block: Block, tile: Tile) -> Floats:
        """The factor of a block's options in the words of a tile."""
        if tile.operand is INPUT and len(block.dims) == 2:
            axis = 0 if block.dims[0] is P else 1
            tiles = block.tiles
            extent = self.space.extent(tiles[0][:, tile.level], tiles[1][:, tile.level], axis)
            return extent.astype(float)
        total = np.ones(block.size)
        for n, dim in enumerate(block.dims):
            if dim in RELEVANT[tile.operand]:
                total = total * block.tiles[n][:, tile.level]
        return total

    def mask(
        self,
        which: int,
        cls: MappingClass,
        unshared: tuple[tuple[Words, Words], ...],
        once: tuple[Words, ...],
    ) -> Floats | None:
        """Zero where a class allows an option of a block, infinite elsewhere; None if nowhere."""
        block = self.blocks[which]
        held = tuple(
            (level, None if runs is Runs.NONE else order.stays)
            for level, (order, runs) in enumerate(zip(cls.orders, cls.runs, strict=True))
            if runs is not Runs.ANY
        )
        key = (which, held, unshared, once)
        if key not in self._masks:
            keep = np.ones(block.size, bool)
            for level, stays in held:
                for n, dim in enumerate(block.dims):
                    if stays is None or dim in RELEVANT[stays]:
                        inner = block.tiles[n][:, level + 1] * block.fans[n][:, level]
                        keep = keep & (inner >= block.tiles[n][:, level])
            for outside, inside in unshared:
                keep = keep & (self.counted(which, outside) == self.counted(which, inside))
            for words in once:
                for n, dim in enumerate(block.dims):
                    if dim in IRRELEVANT[words.operand]:
                        keep = keep & (self._single(which, n, dim, words) == 1)
            self._masks[key] = np.where(keep, 0.0, np.inf) if keep.any() else None
        return self._masks[key]


def window_table(
    block: Block,
    stride: int,
    dilation: int,
    stored: tuple[int, int],
    child: int,
    grain: int,
    level: int,
    tap: bool,
) -> Floats:
    """Window words of all options of a pair; equal prefixes of chains are counted once."""
    assert block.pick is not None
    picks, inverses = [], []
    for tiles, fans in block.chains:
        # Only what lies outside the child matters.
        columns = np.concatenate([tiles[:, 1 : child + 1], fans[:, :child]], axis=1)
        _, first, inverse = np.unique(columns, axis=0, return_index=True, return_inverse=True)
        inverses.append(inverse.ravel())
        picks.append((tiles[first], fans[first]))
    table = window_words(*picks[0], *picks[1], stride, dilation, *stored, child, grain, level, tap)
    return np.asarray(table[inverses[0][block.pick[0]], inverses[1][block.pick[1]]])
