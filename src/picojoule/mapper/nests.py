"""Uneven mappings: the spaces in which operands of a memory have tile boundaries of their own.

An uneven mapping is one nest of loops in which a level has several *stages*, each for other
operands (:mod:`picojoule.mapping`). Which stages there are is a *nest*. On an accelerator whose
levels are these stages the uneven mappings of a nest are even ones, so a nest is a :class:`Space`
of its own; the stages of a level share its memories by name, and so their capacity.

Which nests are enough, and which loops in them, follows from how boundaries may move. A tile, and
how often it is fetched, depends on the loops outside its boundary alone. So:

1. Boundaries are drawn as far outside as they go, over loops that do not index their operand. Then
   the innermost loop above a stage that shares its level with the one outside it indexes all of its
   operands, and none stays there.
2. Between two stages of a level only loops run that index every operand of the inner one: another
   would fetch that operand less often from inside its boundary, where it changes no other count.
3. An operand without a stay gains nothing from keeping what the loops right inside its boundary
   index: it is drawn inside them, where its tile is smaller and moved no more often. So between the
   second and a third stage only loops run that do not index the second one's operand; windows,
   whose overlap would come anew, are left alone.
4. Of several operands that share a stage at most one has a stay. Drawn first, each in a stage of
   its own, they cost the same without a loop in the gaps between them. So every operand has a stage
   of its own. Only a window slides on over such gaps: there gaps without loops are classes.
5. The second takes it that nothing further inside stays over these loops. Where something does,
   there is no loop, or none but those it stays over, beneath the last stage of the level. Then the
   operands drawn last find nothing to reuse in their memory: they *pass*, in one stage right above
   the next level. An operand that may bypass the memory does so at no more cost.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from picojoule.accelerator import Accelerator, Array, Level
from picojoule.dataflow import Dataflow
from picojoule.mapper.blocks import IRRELEVANT
from picojoule.mapper.chains import Cuts
from picojoule.mapper.mapping_classes import MappingClass, Order, Runs
from picojoule.mapper.space import Space
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Layer, Operand

INPUT, WEIGHT, OUTPUT = OPERANDS
Gap = tuple[Order, Runs]


class Nest(NamedTuple):
    """The stages of uneven mappings, outermost first.

    Args:
        levels: of the accelerator, one for each stage.
        keeps: operands of each stage.
        passes: whether a stage lies right above the next level, without a loop between.
    """

    levels: tuple[int, ...]
    keeps: tuple[frozenset[Operand], ...]
    passes: tuple[bool, ...]

    def shares(self, stage: int) -> bool:
        """Whether a stage has its level together with the one outside it."""
        return 0 < stage < len(self.levels) and self.levels[stage] == self.levels[stage - 1]

    def splits(self, gap: int) -> bool:
        """Whether the loops beneath a stage run between two operands of one level."""
        return self.shares(gap + 1) and not self.passes[gap + 1]


def why_even(layer: Layer, accelerator: Accelerator, dataflow: Dataflow) -> str | None:
    """Why uneven mappings are not searched, if they are not."""
    tiles = (dataflow.element_tile, dataflow.buffer_tile, dataflow.spanned, dataflow.on_array)
    if any(tiles) or dataflow.stationary or dataflow.inner_loop or dataflow.ruled:
        return f"the dataflow {dataflow.name!r} rules tiles that operands share"
    reuse = accelerator.input_reuse
    if any(reuse.refetches) or any(reuse.handed_on):
        return f"{accelerator.name!r} forwards or refetches inputs"
    if layer.time_steps > 1:
        return "its weights may stay over its time steps"
    return None


class _Stages(NamedTuple):
    """The stages of one level of a nest."""

    keeps: tuple[frozenset[Operand], ...]
    passes: tuple[bool, ...]


def nests(space: Space) -> Iterator[Nest]:
    """The nests of a space, which hold its even mappings as well."""
    # What bypasses a memory may be waited for, where that costs energy.
    kept_always = [
        frozenset(OPERANDS) if space.accelerator.priced_in_time else frozenset.intersection(*kept)
        for kept in zip(*space.keeps, strict=True)
    ]
    for keeps in space.keeps:
        choices = [[_Stages((keeps[0],), (False,))]]
        for level, kept in enumerate(keeps[1:], start=1):
            innermost = level == len(keeps) - 1
            may_pass = frozenset[Operand]() if innermost else kept & kept_always[level]
            choices.append(list(_stages(kept, may_pass)))
        for parts in itertools.product(*choices):
            yield Nest(
                tuple(level for level, part in enumerate(parts) for _ in part.keeps),
                tuple(kept for part in parts for kept in part.keeps),
                tuple(passing for part in parts for passing in part.passes),
            )


def _stages(kept: frozenset[Operand], may_pass: frozenset[Operand]) -> Iterator[_Stages]:
    """All orders of the operands that a level keeps, each in a stage of its own, or passing."""
    members = [operand for operand in OPERANDS if operand in kept]
    if not members:
        yield _Stages((kept,), (True,))
    for count in range(len(may_pass) + 1):
        for passing in itertools.combinations([o for o in members if o in may_pass], count):
            for order in itertools.permutations([o for o in members if o not in passing]):
                alone = tuple(frozenset({operand}) for operand in order)
                if passing:
                    yield _Stages((*alone, frozenset(passing)), (*(False for _ in alone), True))
                elif alone:
                    yield _Stages(alone, (False,) * len(alone))


class NestSpace(Space):
    """The uneven mappings of one nest: those that are even where each stage is a level.

    Of tiles only those that divide the one outside them, whatever operands share.

    Args:
        even: the space of even mappings.
    """

    def __init__(self, even: Space, nest: Nest) -> None:
        self.even, self.nest = even, nest
        super().__init__(
            even.layer,
            staged(even.accelerator, nest),
            even.dataflow,
            timed=even.timed,
            perfect=True,
            exact=even.exact,
        )

    @property
    def stage_levels(self) -> tuple[int, ...]:
        """The levels of the stages of its mappings."""
        return self.nest.levels

    @property
    def handing(self) -> int:
        """Stages whose loops the outermost level hands tiles inward for."""
        return max(1, max(n for n, level in enumerate(self.nest.levels) if level <= 1))

    @property
    def structure(self) -> object:
        """All that the classes and their stays follow from: equal for two spaces, so are these."""
        running = tuple(self._running(gap) for gap in range(self.depth - 1))
        return (super().structure, self.nest, running)

    def _keeps(self) -> Iterator[tuple[frozenset[Operand], ...]]:
        yield self.nest.keeps

    def _cuts(self, dim: Dim, empty: frozenset[int]) -> Cuts:
        barred = (dim not in self._running(gap) for gap in range(self.depth - 1))
        return super()._cuts(dim, empty)._replace(barred=(*barred, False))

    def _running(self, gap: int) -> frozenset[Dim]:
        """Dimensions whose loops may run between a stage and the next one inward."""
        nest, dims = self.nest, frozenset(DIMS)
        if nest.passes[gap]:
            return frozenset()
        if not nest.splits(gap):
            return dims
        for operand in nest.keeps[gap + 1]:
            dims &= RELEVANT[operand]
        if nest.shares(gap):
            for operand in nest.keeps[gap]:
                if operand is not INPUT or not self._windowed:
                    dims &= IRRELEVANT[operand]
        return dims

    @property
    def _windowed(self) -> bool:
        """Whether inputs have windows that overlap, or slide."""
        return self.layer.bounds.R > 1 or self.layer.bounds.S > 1

    def classes(self) -> Iterator[MappingClass]:
        """Orders of all gaps that differ in a count."""
        for gaps in self._gaps(self.depth - 2, self.nest.keeps[-1]):
            orders, runs = tuple(o for o, _ in gaps), tuple(r for _, r in gaps)
            cls = MappingClass(self.nest.keeps, orders, runs)
            if self._first_of_mirrored(cls):
                yield cls

    def _gaps(self, gap: int, seen: frozenset[Operand]) -> Iterator[tuple[Gap, ...]]:
        """The loops of all gaps down to one, of which tiles of the operands *seen* may stay."""
        for order, runs in self._states(gap, seen):
            if gap == 0:
                yield ((order, runs),)
                continue
            through = seen if runs is Runs.NONE else frozenset[Operand]()
            for outer in self._gaps(gap - 1, self.nest.keeps[gap] | through):
                yield (*outer, (order, runs))

    def _states(self, gap: int, seen: frozenset[Operand]) -> Iterator[Gap]:
        nest = self.nest
        if nest.passes[gap]:
            yield self._orders[0], Runs.NONE
            return
        yield from ((order, Runs.ANY) for order in self._different(gap, seen))
        if nest.splits(gap) and self._windowed and INPUT in nest.keeps[gap + 1]:
            yield self._orders[0], Runs.NONE

    def _different(self, gap: int, seen: frozenset[Operand]) -> list[Order]:
        """The orders of a gap that differ in a count of the operands seen there."""
        inner = self.nest.keeps[gap + 1] if self.nest.shares(gap + 1) else frozenset[Operand]()
        running = self._running(gap)
        orders = [order for order in self._orders if order.stays not in inner] or self._orders
        staying = [order for order in orders if order.stays in seen]
        different: dict[object, Order] = {}
        for order in staying or orders:
            slides = INPUT in seen and order.slides in running
            different.setdefault(
                (order.stays if staying else None, order.slides if slides else None), order
            )
        return list(different.values())


def staged(accelerator: Accelerator, nest: Nest) -> Accelerator:
    """The accelerator with a level for each stage of a nest, of the operands of that stage.

    What bypasses a level could wait in its first stage.
    """
    parts: list[Level | Array] = []
    for level, part in enumerate(accelerator.levels):
        stages = [n for n, place in enumerate(nest.levels) if place == level]
        kept = frozenset[Operand]().union(*(nest.keeps[n] for n in stages))
        for n in stages:
            passing = part.keeps - kept if n == stages[0] else frozenset[Operand]()
            held = nest.keeps[n] | passing
            memories = (
                replace(memory, keeps=memory.keeps & held, may_bypass=memory.keeps & passing)
                for memory in part.memories
                if memory.keeps & held
            )
            parts.append(Level(tuple(memories)))
        array = accelerator.arrays[level]
        if array is not None:
            parts.append(array)
    return replace(accelerator, nest=tuple(parts))
