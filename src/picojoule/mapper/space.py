"""The space of mappings of one layer on one accelerator under one dataflow.

It lists the classes (:mod:`mapping_classes`), and how each dimension may be cut (:mod:`chains`).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator

import numpy as np

from picojoule.accelerator import Accelerator, Array, Charging
from picojoule.cost import Ledger
from picojoule.dataflow import Dataflow, Size
from picojoule.errors import NoMappingError
from picojoule.legality import dataflow_problem, tile_words
from picojoule.mapper.blocks import BLOCKS, IRRELEVANT, Block, Key, Window, block, trim
from picojoule.mapper.chains import LONGEST, Cuts, Rules
from picojoule.mapper.kernels import Ints
from picojoule.mapper.listings import Asked
from picojoule.mapper.mapping_classes import (
    Edge,
    MappingClass,
    Order,
    Runs,
    empty_levels,
)
from picojoule.mapper.mirroring import MIRROR, mirrored
from picojoule.traffic import HandedOn, refetched
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Extents, Layer, Operand, WindowAxis

N, G, M, C, P, Q, R, S = DIMS
INPUT, WEIGHT, OUTPUT = OPERANDS


class Space:
    """One layer on one accelerator under one dataflow.

    Args:
        timed: latency counts, so unrolling may pay although it saves no access.
        perfect: only tiles that divide the tile outside them.
        uneven: those mappings as well in which operands have tiles of their own (:mod:`nests`).
        exact: only unrollings that axes of the array multiply to. Without, others become the next
            that they do (:func:`relaxation._spread`), mostly at the same price.
    """

    def __init__(
        self,
        layer: Layer,
        accelerator: Accelerator,
        dataflow: Dataflow,
        *,
        timed: bool,
        perfect: bool = False,
        exact: bool = False,
        uneven: bool = False,
    ) -> None:
        self.uneven = uneven
        self.layer, self.accelerator, self.dataflow = layer, accelerator, dataflow
        self.timed, self.perfect, self.exact = timed, perfect, exact
        if problem := dataflow_problem(accelerator, dataflow):
            raise NoMappingError(problem)
        self.levels = accelerator.levels
        self.depth = len(self.levels)
        self.arrays = accelerator.arrays
        self.array_gaps = [n for n, array in enumerate(self.arrays) if array]
        self.element_gap = self.array_gaps[-1] if self.array_gaps else None
        padded = accelerator.charge_padding
        self.axes = (layer.axis(0, padded=padded), layer.axis(1, padded=padded))
        self.reuse = accelerator.input_reuse
        self.adding_up_pays = any(map(self._adding_up_pays, self.array_gaps))
        self.mirrored = mirrored(layer, accelerator, dataflow, self.axes)
        self.keeps = tuple(self._keeps())
        # Blocks are the same for all choices of kept operands that leave the same levels empty.
        self.shapes = tuple(dict.fromkeys(map(empty_levels, self.keeps)))
        self._keys = [tuple(self._keys_of(empty)) for empty in self.shapes]

    @functools.cached_property
    def complete(self) -> bool:
        """Whether the options are all that could be better than another."""
        return all(c.complete for keys in self._keys for key in keys for c in key.cuts)

    @functools.cached_property
    def blocks(self) -> list[tuple[Block, ...]]:
        """The blocks of each of the shapes; listing their options may take long."""
        trim()
        return [tuple(block(key) for key in keys) for keys in self._keys]

    @functools.cached_property
    def cycles_per_step(self) -> float:
        """Cycles of a step of all loops, over all time steps."""
        ledger = Ledger(self.layer, self.accelerator, one=1.0)
        return ledger.cycles_per_step * self.layer.time_steps

    @property
    def stage_levels(self) -> tuple[int, ...]:
        """The levels of the stages of its mappings."""
        return tuple(range(self.depth))

    @property
    def handing(self) -> int:
        """Stages whose loops the outermost level hands tiles inward for."""
        return 1

    def _adding_up_pays(self, gap: int) -> bool:
        """Whether a hop between elements costs less than keeping a partial sum in one.

        Then spreading a sum wider may pay although it saves no step, so more chains of the
        dimensions summed over count: of the taps, which are few, all. For the others a wider spread
        only sends a word to more elements, which may save time.
        """
        array = self.arrays[gap]
        assert array is not None
        return self.accelerator.charging is Charging.DEARER_END and any(
            memory.read_energy + memory.write_energy > array.hop_energy
            for level in self.levels[gap + 1 :]
            for memory in level.memories
            if OUTPUT in memory.keeps
        )

    def _keeps(self) -> Iterator[tuple[frozenset[Operand], ...]]:
        choices: list[list[frozenset[Operand]]] = []
        for index, level in enumerate(self.levels):
            inside = self.element_gap is not None and index > self.element_gap
            wanted = self.dataflow.element_keeps if inside else None
            if wanted is not None:
                choices.append([level.keeps & wanted])
                continue
            optional = [o for o in OPERANDS if o in level.may_bypass]
            choices.append(
                [
                    level.keeps - frozenset(skipped)
                    for n in range(len(optional) + 1)
                    for skipped in itertools.combinations(optional, n)
                ]
            )
        yield from itertools.product(*choices)

    def _largest(self, dim: Dim, level: int) -> int:
        """The largest tile of *dim* that any memory of *level* can hold."""
        bound = self.layer.bounds[DIMS.index(dim)]
        low, high = 1, bound
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(
                Extents()._replace(**{dim.value: middle}), level, self.levels[level].keeps
            ):
                low = middle
            else:
                high = middle - 1
        return low

    def _fits(self, tile: Extents, level: int, keeps: frozenset[Operand]) -> bool:
        for memory in self.levels[level].memories:
            if memory.capacity is None:
                continue
            need = sum(
                tile_words(self.layer, tile, o, padded=self.accelerator.charge_padding)
                * self.width(o)
                for o in OPERANDS
                if o in memory.keeps & keeps and o not in memory.may_bypass
            )
            if need > memory.capacity:
                return False
        return True

    def width(self, operand: Operand) -> float:
        """Bits of a word of *operand* on the accelerator."""
        if operand is OUTPUT:
            return self.accelerator.psum_bits(self.layer.bits.output)
        return self.layer.stored_bits(operand)

    def _cuts(self, dim: Dim, empty: frozenset[int]) -> Cuts:
        """How a dimension may be cut where nothing is kept at the *empty* levels."""
        bound, last = self.layer.bounds[DIMS.index(dim)], self.depth - 1
        single = dim is G and not self.timed and self.layer.time_steps == 1
        quick = self.depth == 3 and self.array_gaps in ([1], []) and bound <= LONGEST
        deep = not (quick or self.perfect)
        return Cuts(
            limits=(
                bound,
                *(
                    1 if single or (n == last and n in empty) else self._largest(dim, n)
                    for n in range(1, self.depth)
                ),
            ),
            fans=tuple(
                0 if array is None else self._fan_limit(dim, n, array.size)
                for n, array in enumerate(self.arrays)
            ),
            edge=bound if self.adding_up_pays and dim in (R, S) else self._edge(dim),
            asked=self._asked(dim) if quick and not self.perfect else None,
            more=self.adding_up_pays and dim is C,
            perfect=self.perfect,
            rules=self._rules(dim),
            wide=self._wide(dim) if deep else (),
            counted=self._counted(dim) if deep else (),
            free=self._free(dim) if deep else (),
            window=self._reach(dim) if deep else (1, 0),
            spans=tuple(self._span(dim, array) for array in self.arrays) if self.exact else (),
        )

    def _wide(self, dim: Dim) -> tuple[bool, ...]:
        """Levels beneath which more elements may pay although they save no step.

        They add up sums, or each of them has less to fetch through what limits it.
        """
        return tuple(
            array is not None
            and (
                (dim is C and self._adding_up_pays(gap))
                or (self.timed and any(self._limited(n) for n in range(gap + 1, self.depth)))
            )
            for gap, array in enumerate(self.arrays)
        )

    def _limited(self, level: int) -> bool:
        """Whether the bandwidth of a memory of a level, or of the array beneath it, is limited."""
        array = self.arrays[level]
        return any(memory.bandwidth is not None for memory in self.levels[level].memories) or (
            array is not None
            and any(width is not None for width in (array.bandwidth, *array.bandwidths))
        )

    def _counted(self, dim: Dim) -> tuple[tuple[int, int, int], ...]:
        """Words that the loops of a dimension repeat, if kept so: children, grains, and levels.

        Inside those levels they stay in place; what goes to the multipliers never does.
        """
        counted = {(self.depth, 0, self.depth)} if self.timed else set()
        for edge in {edge for keeps in self.keeps for edge in self.edges(keeps)}:
            window = edge.operand is INPUT and dim in (P, Q, R, S)
            if window or dim in IRRELEVANT[edge.operand]:
                outer = range(edge.child + 1) if edge.child < self.depth else (self.depth,)
                grains = range(edge.parent, edge.child + 1)
                counted |= set(itertools.product((edge.child,), grains, outer))
        return tuple(sorted(counted))

    def _free(self, dim: Dim) -> tuple[bool, ...]:
        """Levels at which a tile takes no room, whatever is kept there."""
        free = [False] * self.depth
        for level in range(1, self.depth):
            free[level] = not any(
                dim in RELEVANT[operand]
                for memory in self.levels[level].memories
                if memory.capacity is not None
                for operand in memory.keeps
                if any(operand in keeps[level] for keeps in self.keeps)
            )
        return tuple(free)

    def _span(self, dim: Dim, array: Array | None) -> tuple[int, ...]:
        """The lengths of an array's axes that a dimension may run along."""
        return () if array is None else tuple(x.size for x in array.axes if dim in x.dims)

    def _asked(self, dim: Dim) -> Asked | None:
        """What of a dimension counts besides steps and elements.

        Turns where time does, or where a memory outside the array feeds the multipliers; in a
        window the first step's elements, and how many rows each of them adds.
        """
        turns = self.timed or any(
            dim in IRRELEVANT[operand] or (operand is INPUT and dim in MIRROR)
            for operand in self._passing
        )
        if dim not in MIRROR:
            return Asked(turns=True) if turns else None
        stride, reach = self._reach(dim)
        if not reach:
            return Asked(turns=True) if turns else None
        steps = dim in (R, S) or INPUT in self._passing
        return Asked(turns=turns, stride=stride, reach=reach, steps=steps)

    def _reach(self, dim: Dim) -> tuple[int, int]:
        """Rows from one output (tap) of a window to the next, and over how many they share some."""
        if dim not in MIRROR:
            return 1, 0
        outputs, taps, stride, dilation, _ = self.axes[0 if dim in (P, R) else 1]
        if taps == 1 or outputs == 1:
            return 1, 0
        return (1, taps) if dim in (R, S) else (stride, (taps - 1) * dilation)

    @functools.cached_property
    def _passing(self) -> frozenset[Operand]:
        """Operands that may come from outside an array to the multipliers without a stop."""
        return frozenset(
            operand
            for keeps in self.keeps
            for operand in OPERANDS
            for gap in self.array_gaps[:1]
            if not any(operand in kept for kept in keeps[gap + 1 :])
        )

    def _rules(self, dim: Dim) -> Rules | None:
        """What the dataflow asks of a dimension."""
        gap, dataflow = self.element_gap, self.dataflow
        if gap is None:
            return None
        array, bounds = self.arrays[gap], self.layer.bounds
        assert array is not None
        bound = bounds[DIMS.index(dim)]

        def size(wanted: Size | None) -> int | None:
            return None if wanted is None else 1 if wanted is Size.ONE else bound

        beside = math.prod(bounds[DIMS.index(d)] for d in dataflow.unrolled)
        longest = max((axis.size for axis in array.axes if dim in axis.dims), default=1)
        strip = None
        if dim in dataflow.spanned and dataflow.even_strips:
            strip = -(-bound // -(-bound // self._widest_strip(dim, array)))
        return Rules(
            gap=gap,
            element=size(dataflow.element_tile.get(dim)),
            buffer=size(dataflow.buffer_tile.get(dim)),
            spanned=dim in dataflow.spanned,
            on_array=dim in dataflow.on_array,
            whole=dim in dataflow.spanned and beside * bound <= array.size,
            spread=dim in dataflow.unrolled and bound <= longest,
            strip=strip,
        )

    def _widest_strip(self, dim: Dim, array: Array) -> int:
        """How much of *dim* the array has room for beside what its dataflow unrolls whole.

        What is unrolled whole runs along one axis, as often as it fits there; strips run along the
        others, and where there is room for several sets of rows they lie side by side.
        """
        beside = math.prod(self.layer.bounds[DIMS.index(d)] for d in self.dataflow.unrolled - {dim})
        return max(1, *(axis.size // beside * (array.size // axis.size) for axis in array.axes))

    def _edge(self, dim: Dim) -> int:
        """How near the ends of a window dimension a cut may save halo that lies in the padding.

        Neighbouring outputs share rows; where all shared rows are stored, only the number of cuts
        counts. Taps are few: all their chains are taken where there is padding.
        """
        if dim not in (P, Q, R, S):
            return 0
        outputs, taps, stride, dilation, stored = self.axes[0 if dim in (P, R) else 1]
        low, high, reach = stored.start, stored.stop, (taps - 1) * dilation
        last = (outputs - 1) * stride + reach
        if taps == 1:
            return 0
        if dilation // math.gcd(dilation, stride) > 1:
            return outputs if dim in (P, Q) else taps  # far outputs share rows, so size matters
        if low == 0 and high > last:
            return 0
        if dim in (R, S):
            return taps
        # The cut before output p shares rows p*stride .. (p-1)*stride + reach.
        before = max(0, -(-low // stride) - 1)
        after = max(0, outputs - 1 - (high - 1 - reach) // stride - 1)
        return max(before, after)

    def _fan_limit(self, dim: Dim, gap: int, size: int) -> int:
        array = self.arrays[gap]
        assert array is not None
        if gap == self.element_gap and dim not in self.dataflow.spatial:
            return 1
        if dim is G and not self.timed and self.layer.time_steps == 1:
            return 1
        reach = math.prod(axis.size for axis in array.axes if dim in axis.dims)
        return min(size, reach)

    def _keys_of(self, empty: frozenset[int]) -> Iterator[Key]:
        """What the options of each block follow from where the *empty* levels hold nothing."""
        sizes = tuple(0 if array is None else array.size for array in self.arrays)
        windows = {dims: self._window(axis) for dims, axis in zip(BLOCKS, self.axes, strict=False)}
        for dims in BLOCKS:
            cuts = tuple(self._cuts(dim, empty) for dim in dims)
            yield Key(dims, cuts, sizes, windows.get(dims), self.handing)

    def _window(self, axis: WindowAxis) -> Window:
        room: list[int | None] = [None] * self.depth
        for level in range(1, self.depth):
            memory = self.levels[level].holder(INPUT)
            always = all(INPUT in keeps[level] for keeps in self.keeps)
            if always and memory is not None and memory.capacity is not None:
                room[level] = int(memory.capacity // self.width(INPUT))
        return Window(axis, tuple(room))

    @functools.cached_property
    def _orders(self) -> tuple[Order, ...]:
        """The loop orders of a level that differ in a count."""
        bounds = dict(zip(DIMS, self.layer.bounds, strict=True))
        slides = {
            WEIGHT: (Q, P),
            INPUT: (Q, P, S, R),
            OUTPUT: (S, R),
        }
        useful = {P: bounds[R] > 1, R: bounds[R] > 1, Q: bounds[S] > 1, S: bounds[S] > 1}
        orders = []
        for operand, dims in slides.items():
            chosen = [d for d in dims if useful[d] and bounds[d] > 1] or [dims[0]]
            orders += [Order(operand, d) for d in chosen]
        return tuple(orders)

    @property
    def structure(self) -> object:
        """All that the classes and their stays follow from: equal for two spaces, so are these."""
        return (
            self.keeps,
            self._orders,
            self.element_gap,
            self._inner_loop,
            self.layer.time_steps > 1,
            self.mirrored,
            self.reuse,
        )

    @property
    def _inner_loop(self) -> Dim | None:
        """The loop next to the array, where the dataflow asks for one that runs at all."""
        inner = self.dataflow.inner_loop
        if inner is None or self.layer.bounds[DIMS.index(inner)] == 1:
            return None
        return inner

    def classes(self) -> Iterator[MappingClass]:
        """Every combination of kept operands, orders and levels stayed across."""
        for keeps in self.keeps:
            choices: list[list[tuple[Order, Runs]]] = []
            for level in range(self.depth - 1):
                orders = self._orders
                if level == self.element_gap and self._inner_loop is not None:
                    orders = (Order(WEIGHT, self._inner_loop),)
                states = [(order, Runs.ANY) for order in orders]
                if level > 0 or self.layer.time_steps > 1:
                    states += [(order, Runs.OWN) for order in orders]
                    states.append((orders[0], Runs.NONE))
                choices.append(states)
            for picked in itertools.product(*choices):
                cls = MappingClass(keeps, tuple(o for o, _ in picked), tuple(r for _, r in picked))
                if self._worthwhile(cls) and self._first_of_mirrored(cls):
                    yield cls
                    yield from self._handing_on(cls)

    def _handing_on(self, cls: MappingClass) -> Iterator[MappingClass]:
        """The class with its taps handed on, where an array of the machine does so.

        Then no loop may run further inside (:func:`traffic.handed_on`). That is a class of its own.
        """
        for level, taps in enumerate(self.reuse.handed_on):
            inside = self._inside(cls.keeps, level)
            handing = cls._replace(handed=level)
            if (
                taps
                and self.order(handing, level)[-1] in taps
                and (level == self.depth - 1 or cls.runs[level] is not Runs.NONE)
                and all(cls.runs[n] is Runs.NONE for n in inside if n < self.depth - 1)
            ):
                yield handing

    def order(self, cls: MappingClass, level: int) -> tuple[Dim, ...]:
        """The loops of a level, outermost first.

        Right above the multipliers only the taps that are handed on matter: the order of the others
        changes no count.
        """
        if level < self.depth - 1:
            return cls.orders[level].loops()
        taps = self.reuse.handed_on[level] if cls.handed == level else frozenset()
        return (*(d for d in DIMS if d not in taps), *(d for d in DIMS if d in taps))

    def _inside(self, keeps: tuple[frozenset[Operand], ...], level: int) -> range:
        """Levels between the array beneath *level* and what inputs from outside it go to."""
        child = next((n for n in range(level + 1, self.depth) if INPUT in keeps[n]), self.depth)
        return range(level + 1, child)

    def idle(self, cls: MappingClass) -> range:
        """Levels at which no loop runs so that inputs can be handed on."""
        return range(0) if cls.handed < 0 else self._inside(cls.keeps, cls.handed)

    def handed_on(self, cls: MappingClass, edge: Edge) -> HandedOn | None:
        """Taps whose inputs an array on the edge hands on (:func:`traffic.handed_on`)."""
        if edge.operand is not INPUT or not edge.parent <= cls.handed < edge.child:
            return None
        loops = reversed(self.order(cls, cls.handed))
        taps = itertools.takewhile(self.reuse.handed_on[cls.handed].__contains__, loops)
        return HandedOn(cls.handed, frozenset(taps))

    def _first_of_mirrored(self, cls: MappingClass) -> bool:
        """Whether a class is to be looked at, of it and the one with rows and columns changed."""
        if not self.mirrored:
            return True
        orders = self._orders
        mirror = [Order(o.stays, MIRROR.get(o.slides, o.slides)) for o in cls.orders]
        if not all(order in orders for order in mirror):
            return True
        return [orders.index(o) for o in cls.orders] <= [orders.index(o) for o in mirror]

    def _worthwhile(self, cls: MappingClass) -> bool:
        """Whether staying across levels gains anything that another class does not cover."""
        outside: Order | None = None  # nothing but time steps, over which weights alone stay
        for order, runs in zip(cls.orders, cls.runs, strict=True):
            if runs is Runs.OWN:
                if outside is None:
                    if order.stays is not WEIGHT:
                        return False
                elif order.stays is INPUT:
                    # Only M runs here, so what this level slides on is idle: one name for it.
                    if order != next(o for o in self._orders if o.stays is INPUT):
                        return False
                elif order.stays is not outside.stays:
                    return False
            if runs is not Runs.NONE:
                outside = order
        return True

    def edges(self, keeps: tuple[frozenset[Operand], ...]) -> Iterator[Edge]:
        """All edges, operand by operand, outermost first."""
        for operand in OPERANDS:
            holders = [n for n in range(self.depth) if operand in keeps[n]]
            for parent, child in zip(holders, [*holders[1:], self.depth], strict=True):
                yield Edge(operand, parent, child)

    def stay(self, cls: MappingClass, edge: Edge) -> tuple[int, tuple[int, Dim] | None]:
        """Levels whose loops leave the edge's tile in place, and where its window slides."""
        still = 0
        if edge.child == self.depth:
            return 0, None
        anew = refetched(edge.operand, edge.child, self.reuse)
        for level in reversed(range(edge.child)):
            order, runs = cls.orders[level], cls.runs[level]
            if runs is Runs.NONE:
                continue
            if order.stays is edge.operand:
                if M in anew:  # the inputs' own loop fetches them anew
                    return still, None
                still |= 1 << level
                if runs is Runs.OWN:
                    continue
            slides = edge.operand is INPUT and order.slides not in anew
            return still, (level, order.slides) if slides else None
        return still, None

    def lasting(self, cls: MappingClass) -> int:
        """The innermost level that holds weights over all time steps (:func:`traffic.lasts`)."""
        if self.layer.time_steps == 1:
            return 0
        level = 0
        for order, runs in zip(cls.orders, cls.runs, strict=True):
            if runs is Runs.ANY or (runs is Runs.OWN and order.stays is not WEIGHT):
                break
            level += 1
        return level

    def array_limits(self) -> tuple[Ints, Ints]:
        """For each array, the lengths of its axes and bit masks of their dimensions."""
        arrays = [array for array in self.arrays if array is not None]
        most = max((len(array.axes) for array in arrays), default=1)
        axes = np.ones((len(arrays), most), np.int64)
        allowed = np.zeros((len(arrays), most), np.int64)
        for a, array in enumerate(arrays):
            for n, axis in enumerate(array.axes):
                axes[a, n] = axis.size
                allowed[a, n] = sum(1 << DIMS.index(dim) for dim in axis.dims)
        return axes, allowed

    def text(self) -> str:
        """The space in words."""
        if self.perfect:
            tiles = "all tile sizes that divide"
        elif self.complete:
            tiles = "all tile sizes, dividing or not"
        else:
            tiles = "all balanced tile sizes (even splits, dividing or not)"
        if self.uneven:
            own = "" if self.perfect else ", where these divide"
            tiles += f", of each operand its own in each memory{own}"
        return (
            f"{tiles}; all loop orders; all unrollings and bypasses that the machine and "
            f"the dataflow {self.dataflow.name} allow"
        )
