"""A class of mappings as a problem for :mod:`branch`: monomials, coefficients and options.

Within a class a mapping's price is a sum of products of per-dimension factors. The ledger of
:mod:`cost` books symbolic flows, which gives the coefficients; :mod:`tilings` gives the factors.
A class prices a mapping at no less than :func:`cost.evaluate` does and some class prices it
exactly, so the least over all classes is the optimum.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from picojoule import branch
from picojoule.cost import Ledger
from picojoule.mapspace import IRRELEVANT, Block, Edge, MappingClass, Runs, Space, empty_levels
from picojoule.tilings import Bools, Floats, Ints, pareto, repeats, window_words
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Operand

P = Dim.P
INPUT, _, OUTPUT = OPERANDS


class _SymbolicFlow(NamedTuple):
    """A flow whose words are coefficient vectors over monomials."""

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


class Monomial(NamedTuple):
    """One symbolic count: the words of an edge at a grain, under a pattern of stays."""

    operand: Operand | None  # None: steps of the whole nest
    child: int
    grain: int
    still: int  # bit mask of levels
    slide: tuple[int, Dim] | None


class Factors:
    """The factors of all options of a space; each is computed once for all classes."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._columns: dict[object, Floats] = {}
        self._ranges: dict[object, tuple[float, float]] = {}
        self._tiles: dict[tuple[int, int], Floats] = {}

    def relax(self, cls: MappingClass, mode: int, cycle_limit: float) -> Relaxation | None:
        """Model a class, find which options it allows, and bound it; None if it allows none."""
        monomials, objective = self._model(cls, mode, cycle_limit)
        capacities, weights, sizes = self._capacities(cls.keeps)
        shape = self.space.shapes.index(empty_levels(cls.keeps))
        blocks = self.space.blocks[shape]
        masks = []
        low, high = np.ones(len(monomials)), np.ones(len(monomials))
        for which, block in enumerate(blocks):
            mask = self._mask(cls, block, (shape, which))
            if not mask.any():
                return None
            masks.append(mask)
            everything = bool(mask.all())
            for k, monomial in enumerate(monomials):
                least, most = self._range(block, (shape, which), monomial, mask, everything)
                low[k] *= least
                high[k] *= most
        limits = branch.Limits(weights, sizes, *self._array_limits())
        instances = np.cumprod([1.0, *limits.sizes])
        bound = branch.value_of(
            low, high, instances, np.zeros(len(objective.shared) + 1), objective
        )
        return Relaxation(
            self, cls, shape, blocks, bound, objective, monomials, capacities, limits, masks
        )

    def table(self, relaxed: Relaxation, which: int) -> Floats:
        """The factors of a block's options in all monomials of a class."""
        key, block = (relaxed.shape, which), relaxed.blocks[which]
        return np.stack([self._factor(block, key, m) for m in relaxed.monomials], axis=1)

    def held(self, relaxed: Relaxation, which: int) -> Floats:
        """The factors of a block's options in all capacity monomials of a class."""
        key = (self.space.keeps.index(relaxed.cls.keeps), which)
        if key not in self._tiles:
            block = relaxed.blocks[which]
            self._tiles[key] = np.stack(
                [np.ones(len(block.group))]
                + [self._tile_factor(block, n, o) for n, o in relaxed.capacities],
                axis=1,
            )[:, 1:]
        return self._tiles[key]

    def _model(
        self, cls: MappingClass, mode: int, cycle_limit: float
    ) -> tuple[list[Monomial], branch.Objective]:
        """The class as monomials and their coefficients, priced by the ledger of ``cost``."""
        monomials: list[Monomial] = []
        constants: dict[Monomial, float] = {}
        shapes: list[tuple[Edge, list[Monomial]]] = []
        for edge in self.space.edges(cls.keeps):
            still, slide = self.space.stay(cls, edge)
            per_grain = []
            for grain in range(edge.parent, edge.child + 1):
                grain = self._grain(edge.parent, grain)
                monomial = Monomial(edge.operand, edge.child, grain, still, slide)
                if edge.child == self.space.depth and not any(
                    self.space.arrays[n] for n in range(edge.parent, self.space.depth)
                ):
                    constants[monomial] = self._mac_words(edge.operand)
                elif monomial not in monomials:
                    monomials.append(monomial)
                per_grain.append(monomial)
            shapes.append((edge, per_grain))
        pairs: list[tuple[int, int]] = []
        for edge, per_grain in shapes:
            if edge.operand is OUTPUT:
                continue
            for level in range(edge.parent, edge.child):
                if self.space.arrays[level] is not None:
                    outside, inside = (per_grain[level - edge.parent + n] for n in (0, 1))
                    pairs.append((monomials.index(outside), monomials.index(inside)))
        size = 1 + len(monomials) + len(pairs)
        unit: Floats = np.eye(size)

        def vector(monomial: Monomial) -> Floats:
            if monomial in constants:
                return np.asarray(constants[monomial] * unit[0])
            return np.asarray(unit[1 + monomials.index(monomial)])

        flows, used = [], 0
        for edge, per_grain in shapes:
            sharing = {}
            if edge.operand is not OUTPUT:
                for level in range(edge.parent, edge.child):
                    if self.space.arrays[level] is not None:
                        sharing[level] = unit[1 + len(monomials) + used]
                        used += 1
            flows.append(_SymbolicFlow(*edge, tuple(map(vector, per_grain)), sharing))
        ledger = Ledger(self.space.layer, self.space.machine, one=unit[0])
        ledger.book(flows)  # type: ignore[arg-type]
        energy = sum(
            access.energy
            for table in (ledger.accesses, ledger.hops)
            for operands in table.values()
            for access in operands.values()
        )
        energy = np.asarray(energy, float) + ledger.compute * unit[0]
        times, outside_of = self._times(ledger) if self.space.timed else ([], [])
        steps = -1
        if self.space.timed:
            monomials.append(Monomial(None, self.space.depth, 0, 0, None))
            steps = len(monomials) - 1
        count = len(monomials)
        coefficients = np.zeros(count)
        known = size - 1 - len(pairs)
        coefficients[:known] = energy[1 : 1 + known]
        hops = [
            n
            for n in range(len(pairs))
            if energy[1 + known + n] or any(cycles[1 + known + n] for cycles in times)
        ]
        shared = np.array([(*pairs[n], energy[1 + known + n]) for n in hops], float).reshape(-1, 3)
        table = np.zeros((len(times), count + 1))
        shared_times = np.zeros((len(times), len(hops)))
        for row, shared_row, cycles in zip(table, shared_times, times, strict=True):
            row[:known] = cycles[1 : 1 + known]
            row[-1] = cycles[0]
            shared_row[:] = [cycles[1 + known + n] for n in hops]
        return monomials, branch.Objective(
            mode,
            float(energy[0]),
            coefficients,
            shared,
            ledger.static_per_cycle if self.space.timed else 0.0,
            steps,
            ledger.cycles_per_step,
            table,
            shared_times,
            np.array(outside_of, np.int64),
            cycle_limit,
        )

    def _grain(self, parent: int, grain: int) -> int:
        """The outermost grain with the same words: no array lies between."""
        while grain > parent and self.space.arrays[grain - 1] is None:
            grain -= 1
        return grain

    def _times(self, ledger: Ledger) -> tuple[list[Floats], list[int]]:
        arrays_outside = np.cumsum([0, *(array is not None for array in self.space.arrays)])
        vectors, outside = [], []
        for channel in ledger.channels():
            vectors.append(np.asarray(channel.bits) / channel.bandwidth)
            outside.append(int(arrays_outside[channel.level]))
        return vectors, outside

    def _mac_words(self, operand: Operand) -> float:
        """Words that the multipliers take from a memory right above them."""
        if operand is not INPUT:
            return float(self.space.layer.macs)
        words = (
            self.space.layer.bounds.N
            * self.space.layer.bounds.G
            * self.space.layer.bounds.M
            * self.space.layer.bounds.C
        )
        total = float(words)
        for axis in (0, 1):
            low, high = self.space.stored(axis)
            outputs, taps = self.space.layer.bounds[4 + axis], self.space.layer.bounds[6 + axis]
            rows = (
                np.arange(outputs)[:, None] * self.space.layer.stride[axis]
                + np.arange(taps)[None, :] * self.space.layer.dilation[axis]
            )
            total *= int(((rows >= low) & (rows < high)).sum())
        return total

    def _factor(self, block: Block, which: tuple[int, int], monomial: Monomial) -> Floats:
        """The factor of one block in one monomial, for all of its options."""
        operand = monomial.operand
        if len(block.dims) == 1 or operand is not INPUT:
            total = np.ones(len(block.group))
            for n, dim in enumerate(block.dims):
                total = total * self._single(block, which, n, dim, monomial)
            return total
        axis = 0 if block.dims[0] is P else 1
        slide = monomial.slide
        level, tap = -1, False
        if slide is not None and slide[1] in block.dims:
            level, tap = slide[0], slide[1] is block.dims[1]
        key = (which, "window", monomial.child, monomial.grain, level, tap)
        if key not in self._columns:
            self._columns[key] = self._window(block, axis, monomial, level, tap)
        return self._columns[key]

    def _single(
        self, block: Block, which: tuple[int, int], n: int, dim: Dim, monomial: Monomial
    ) -> Floats:
        operand = monomial.operand
        bound = self.space.layer.bounds[DIMS.index(dim)]
        if operand is not None and dim in RELEVANT[operand]:
            return np.full(len(block.group), float(bound))
        if bound == 1:
            return np.ones(len(block.group))
        key = (which, n, monomial.child, monomial.grain, monomial.still)
        if key not in self._columns:
            if block.pick is None:
                self._columns[key] = repeats(
                    block.tiles[n], block.fans[n], monomial.child, monomial.grain, monomial.still
                )
            else:
                _, back = np.unique(block.pick[n], return_index=True)
                per_chain = repeats(
                    block.tiles[n][back],
                    block.fans[n][back],
                    monomial.child,
                    monomial.grain,
                    monomial.still,
                )
                lookup = np.zeros(int(block.pick[n].max()) + 1)
                lookup[block.pick[n][back]] = per_chain
                self._columns[key] = lookup[block.pick[n]]
        return self._columns[key]

    def _window(self, block: Block, axis: int, monomial: Monomial, level: int, tap: bool) -> Floats:
        """Window words of all options of a pair; equal prefixes of chains are counted once."""
        child, grain = monomial.child, monomial.grain
        low, high = self.space.stored(axis)
        picks, firsts, inverses = [], [], []
        for n in (0, 1):
            # Only what lies outside the child matters, and without sliding only the steps do.
            columns = np.concatenate(
                [block.tiles[n][:, 1 : child + 1], block.fans[n][:, :child]], axis=1
            )
            _, first, inverse = np.unique(columns, axis=0, return_index=True, return_inverse=True)
            firsts.append(first)
            inverses.append(inverse.ravel())
            picks.append((block.tiles[n][first], block.fans[n][first]))
        table = window_words(
            picks[0][0],
            picks[0][1],
            picks[1][0],
            picks[1][1],
            self.space.layer.stride[axis],
            self.space.layer.dilation[axis],
            low,
            high,
            child,
            grain,
            level,
            tap,
        )
        return table[inverses[0], inverses[1]]

    def _range(
        self,
        block: Block,
        which: tuple[int, int],
        monomial: Monomial,
        mask: Bools,
        everything: bool,
    ) -> tuple[float, float]:
        """Least and greatest factor of a block in a monomial."""
        if not everything:
            inside = self._factor(block, which, monomial)[mask]
            return float(inside.min()), float(inside.max())
        key = ("range", which, monomial)
        if key not in self._ranges:
            factor = self._factor(block, which, monomial)
            self._ranges[key] = (float(factor.min()), float(factor.max()))
        return self._ranges[key]

    def _capacities(
        self, keeps: tuple[frozenset[Operand], ...]
    ) -> tuple[list[tuple[int, Operand]], Floats, Floats]:
        """Capacity monomials (level, operand), bits per word in each memory, and its size."""
        monomials: list[tuple[int, Operand]] = []
        rows: list[dict[int, float]] = []
        sizes: list[float] = []
        for index, level in enumerate(self.space.levels):
            for memory in level.memories:
                held = [o for o in OPERANDS if o in memory.keeps & keeps[index]]
                if memory.capacity is None or not held:
                    continue
                row = {}
                for operand in held:
                    monomials.append((index, operand))
                    row[len(monomials) - 1] = float(self.space.width(operand))
                rows.append(row)
                sizes.append(memory.capacity)
        weights = np.zeros((len(rows), len(monomials)))
        for n, row in enumerate(rows):
            for column, width in row.items():
                weights[n, column] = width
        return monomials, weights, np.array(sizes)

    def _tile_factor(self, block: Block, level: int, operand: Operand) -> Floats:
        """The factor of a block's options in the words of a tile."""
        if operand is INPUT and len(block.dims) == 2:
            axis = 0 if block.dims[0] is P else 1
            extent = self.space.extent(block.tiles[0][:, level], block.tiles[1][:, level], axis)
            return extent.astype(float)
        total = np.ones(len(block.group))
        for n, dim in enumerate(block.dims):
            if dim in RELEVANT[operand]:
                total = total * block.tiles[n][:, level]
        return total

    def _array_limits(self) -> tuple[Floats, Ints, Ints]:
        arrays = [array for array in self.space.arrays if array is not None]
        most = max((len(array.axes) for array in arrays), default=1)
        axes = np.ones((len(arrays), most), np.int64)
        allowed = np.zeros((len(arrays), most), np.int64)
        for a, array in enumerate(arrays):
            for n, axis in enumerate(array.axes):
                axes[a, n] = axis.size
                allowed[a, n] = sum(1 << DIMS.index(dim) for dim in axis.dims)
        return np.array([float(array.size) for array in arrays]), axes, allowed

    def _mask(self, cls: MappingClass, block: Block, which: tuple[int, int]) -> Bools:
        """Options that take no step at a level that the class stays across."""
        mask = np.ones(len(block.group), bool)
        for level, (order, runs) in enumerate(zip(cls.orders, cls.runs, strict=True)):
            if runs is Runs.ANY:
                continue
            for n, dim in enumerate(block.dims):
                if runs is Runs.NONE or dim in RELEVANT[order.stays]:
                    inner = block.tiles[n][:, level + 1] * block.fans[n][:, level]
                    mask &= inner >= block.tiles[n][:, level]
        flow, gap = self.space.dataflow, self.space.element_gap
        if flow.stationary is not None and gap is not None:
            # The operand enters the elements once: no loop outside them makes it come again.
            for edge in self.space.edges(cls.keeps):
                if edge.operand is flow.stationary and edge.parent <= gap < edge.child:
                    still, slide = self.space.stay(cls, edge)
                    monomial = Monomial(edge.operand, edge.child, edge.parent, still, slide)
                    for n, dim in enumerate(block.dims):
                        if dim in IRRELEVANT[flow.stationary]:
                            mask &= self._single(block, which, n, dim, monomial) == 1
        return mask


@dataclass(slots=True)
class Relaxation:
    """A class ready to be searched."""

    factors: Factors
    cls: MappingClass
    shape: int  # which of the problem's sets of blocks
    blocks: tuple[Block, ...]
    bound: float
    objective: branch.Objective
    monomials: list[Monomial]
    capacities: list[tuple[int, Operand]]  # (level, operand) of each capacity monomial
    limits: branch.Limits
    masks: list[Bools]  # for each block, the options the class allows
    _made: list[Floats] = field(default_factory=list)

    @property
    def tables(self) -> list[Floats]:
        """For each block, the factor of every option in every monomial; made when first asked."""
        if not self._made:
            self._made = [self.factors.table(self, n) for n in range(len(self.masks))]
        return self._made

    def held(self, which: int) -> Floats:
        """For a block, the factor of every option in every capacity monomial."""
        return self.factors.held(self, which)

    def options(self, masks: list[Bools]) -> tuple[branch.Options, list[int]]:
        """The options in *masks*, Pareto-filtered within their groups, and which they are."""
        blocks, gaps = self.blocks, self.factors.space.array_gaps
        first_group, first_option = [0], [0]
        factors, tiles, fans, dims = [], [], [], []
        picks: list[int] = []
        for which, (block, mask) in enumerate(zip(blocks, masks, strict=True)):
            indices = np.flatnonzero(mask)
            indices = indices[np.argsort(block.group[indices], kind="stable")]
            table = self.tables[which][indices]
            held = self.held(which)[indices]
            spread = np.ones((len(indices), len(gaps), 2), np.int64)
            for n in range(len(block.dims)):
                spread[:, :, n] = block.fans[n][indices][:, gaps]
            merit = _merit(table, held, spread, self.objective)
            group = block.group[indices]
            edges = np.flatnonzero(np.diff(group, prepend=-1, append=-1))
            for start, stop in itertools.pairwise(edges):
                members = start + (
                    pareto(merit[start:stop]) if merit.shape[1] else np.zeros(1, np.int64)
                )
                factors.append(table[members])
                tiles.append(held[members])
                fans.append(spread[members])
                picks += [int(o) for o in indices[members]]
                first_option.append(first_option[-1] + len(members))
            first_group.append(len(first_option) - 1)
            dims.append(([DIMS.index(d) for d in block.dims] + [-1])[:2])
        return branch.Options(
            np.array(first_group, np.int64),
            np.array(first_option, np.int64),
            np.concatenate(factors),
            np.concatenate(tiles),
            np.concatenate(fans),
            np.array(dims, np.int64),
        ), picks


def _merit(table: Floats, held: Floats, spread: Ints, objective: branch.Objective) -> Floats:
    """Columns in which a smaller entry is never worse, for the Pareto filter.

    Where a larger count lowers the price or a time, or an outer array's use divides a time, the
    reciprocal stands; a shared hop is dearer where words outside and inside differ.
    """
    columns = [held, spread.reshape(len(spread), -1).astype(float)]
    signs = np.sign(objective.energy)
    for k in range(table.shape[1]):
        ups = signs[k] > 0 or k == objective.steps or (objective.times[:, k] > 0).any()
        downs = signs[k] < 0 or (objective.times[:, k] < 0).any()
        if ups or (objective.shared[:, :2] == k).any():
            columns.append(table[:, [k]])
        if downs:
            columns.append(1 / table[:, [k]])
    if len(objective.times):
        columns.append(1.0 / spread.prod(axis=2))
    for a, b, _ in objective.shared:
        columns.append(1.0 + (table[:, [int(a)]] != table[:, [int(b)]]))
    merit = np.concatenate(columns, axis=1)
    return np.ascontiguousarray(merit[:, merit.min(axis=0) < merit.max(axis=0)])
