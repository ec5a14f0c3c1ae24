"""Uneven mappings: the spaces in which operands of a memory have tile boundaries of their own.

An uneven mapping is one nest of loops in which a level has several *stages*, each for other
operands (:mod:`picojoule.mapping`). Which stages there are is a *nest*. On an accelerator whose
levels are these stages the uneven mappings of a nest are even ones, so a nest is a :class:`Space`
of its own; the stages of a level share its memories by name, and so their capacity.

What a nest need not look at follows from how loops may move. A tile, and how often it is fetched,
depends on the loops outside its boundary alone, so an operand's boundary may cross loops that do
not index it, and a loop may leave a gap between two stages:

1. Boundaries are drawn as far outside as they go: the innermost loop above a stage that shares its
   level with the one outside it indexes all operands of the stage, so none stays there.
2. Between two stages of a level only loops run that index every operand of the inner one: another
   would fetch that operand less often from inside its boundary, where it changes no other count.
3. An operand without a stay gains nothing from keeping what the loops right inside its boundary
   index: it is drawn inside them, where its tile is smaller and moved no more often. So between the
   second and a third stage only loops run that do not index the second one's operand; windows,
   whose overlap would come anew, are left alone.

The second takes it that nothing further inside stays over these loops. So where the last stage of a
level is passed over by stays (no loop above the next level brings another tile), the nest is
*open*: all loops may run between its stages, in all orders. There the operands of the last stage
find nothing to reuse in their memory; if one may bypass it, that is no dearer.
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
from picojoule.mapper.space import MappingClass, Order, Runs, Space
from picojoule.workload import DIMS, OPERANDS, RELEVANT, Dim, Layer, Operand

INPUT, WEIGHT, OUTPUT = OPERANDS
Gap = tuple[Order, Runs]


class Nest(NamedTuple):
    """The stages of uneven mappings, outermost first.

    Args:
        levels: of the accelerator, one for each stage.
        keeps: operands of each stage.
        open: whether stays may pass over the last stage of a level of several.
    """

    levels: tuple[int, ...]
    keeps: tuple[frozenset[Operand], ...]
    open: bool = False

    def shares(self, stage: int) -> bool:
        """Whether a stage has its level together with the one outside it."""
        return stage > 0 and self.levels[stage] == self.levels[stage - 1]


def why_even(layer: Layer, accelerator: Accelerator, dataflow: Dataflow) -> str | None:
    """Why uneven mappings are not searched, if they are not."""
    tiles = (dataflow.element_tile, dataflow.buffer_tile, dataflow.spanned, dataflow.on_array)
    if any(tiles) or dataflow.stationary or dataflow.inner_loop or dataflow.ruled:
        return f"the dataflow {dataflow.name!r} says what operands share a tile of"
    reuse = accelerator.input_reuse
    if any(reuse.refetches) or any(reuse.handed_on):
        return f"{accelerator.name!r} forwards or refetches inputs"
    if layer.time_steps > 1:
        return "weights may stay over the layer's time steps"
    return None


def nests(space: Space) -> Iterator[Nest]:
    """All nests of a space but the even ones."""
    for keeps in space.keeps:
        splits = [[(keeps[0],)], *(list(_splits(kept)) for kept in keeps[1:])]
        for parts in itertools.product(*splits):
            levels = tuple(n for n, part in enumerate(parts) for _ in part)
            if len(levels) > len(keeps):
                nest = Nest(levels, tuple(itertools.chain.from_iterable(parts)))
                yield nest
                opened = nest._replace(open=True)
                if any(_transparent(space, opened, n) for n in range(len(levels) - 1)):
                    yield opened


def _splits(kept: frozenset[Operand]) -> Iterator[tuple[frozenset[Operand], ...]]:
    """All ways to place operands in one stage or in several, one after another."""
    if not kept:
        yield (kept,)
        return
    members = [operand for operand in OPERANDS if operand in kept]
    for stages in range(1, len(members) + 1):
        for places in itertools.product(range(stages), repeat=len(members)):
            if set(places) == set(range(stages)):
                yield tuple(
                    frozenset(o for o, place in zip(members, places, strict=True) if place == n)
                    for n in range(stages)
                )


def _transparent(space: Space, nest: Nest, gap: int) -> list[tuple[Runs, Operand | None]]:
    """How stays may pass over the last of several stages of a level, in the gap beneath it.

    Only those that are worth it: the stage's operands are not reused from their memory.
    """
    if not nest.open or not nest.shares(gap) or nest.shares(gap + 1):
        return []
    last, level = nest.keeps[gap], nest.levels[gap]
    free = space.accelerator.levels[level].may_bypass
    if space.accelerator.priced_in_time:
        free = frozenset()  # what bypasses a memory may be waited for
    ways: list[tuple[Runs, Operand | None]] = []
    if not last & free:
        ways.append((Runs.NONE, None))
    for operand in OPERANDS:
        passing = last - {operand}
        if passing and not passing & free:
            ways.append((Runs.OWN, operand))
    return ways


class NestSpace(Space):
    """The uneven mappings of one nest: those that are even where each stage is a level.

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
            perfect=even.perfect,
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

    def _keeps(self) -> Iterator[tuple[frozenset[Operand], ...]]:
        yield self.nest.keeps

    def _cuts(self, dim: Dim, empty: frozenset[int]) -> Cuts:
        barred = tuple(dim not in self._running(gap) for gap in range(self.depth - 1))
        return super()._cuts(dim, empty)._replace(barred=(*barred, False))

    def _running(self, gap: int) -> frozenset[Dim]:
        """Dimensions whose loops may run between a stage and the next one inward."""
        nest, dims = self.nest, frozenset(DIMS)
        if not nest.shares(gap + 1) or self._passed_over(nest.levels[gap]):
            return dims
        for operand in nest.keeps[gap + 1]:
            dims &= RELEVANT[operand]
        if nest.shares(gap):
            for operand in nest.keeps[gap]:
                if operand is not INPUT or self.layer.bounds.R == self.layer.bounds.S == 1:
                    dims &= IRRELEVANT[operand]
        return dims

    def _passed_over(self, level: int) -> bool:
        """Whether stays may pass over the last stage of a level."""
        last = max(n for n, place in enumerate(self.nest.levels) if place == level)
        return last < self.depth - 1 and bool(_transparent(self.even, self.nest, last))

    def classes(self) -> Iterator[MappingClass]:
        """Orders of all gaps that differ in a count."""
        for gaps in self._gaps(self.depth - 2, self.nest.keeps[-1]):
            if self.nest.open and not self._opens(gaps):
                continue  # a class of the nest that is not open
            orders, runs = tuple(o for o, _ in gaps), tuple(r for _, r in gaps)
            cls = MappingClass(self.nest.keeps, orders, runs)
            if self._worthwhile(cls) and self._first_of_mirrored(cls):
                yield cls

    def _opens(self, gaps: tuple[Gap, ...]) -> bool:
        return any(
            runs is not Runs.ANY and self.nest.shares(gap) for gap, (_, runs) in enumerate(gaps)
        )

    def _gaps(self, gap: int, seen: frozenset[Operand]) -> Iterator[tuple[Gap, ...]]:
        """The loops of all gaps down to one, of which tiles of the operands *seen* may stay."""
        for order, runs in self._states(gap, seen):
            if gap == 0:
                yield ((order, runs),)
                continue
            through = frozenset[Operand]()
            if runs is not Runs.ANY:
                through = seen if runs is Runs.NONE else seen & {order.stays}
            for outer in self._gaps(gap - 1, self.nest.keeps[gap] | through):
                yield (*outer, (order, runs))

    def _states(self, gap: int, seen: frozenset[Operand]) -> Iterator[Gap]:
        nest = self.nest
        orders = self._different(gap, seen)
        yield from ((order, Runs.ANY) for order in orders)
        if gap == 0:
            return
        if not nest.shares(gap) and not nest.shares(gap + 1):  # as in even mappings
            yield from ((order, Runs.OWN) for order in orders if order.stays in seen)
            yield orders[0], Runs.NONE
        elif nest.shares(gap + 1):  # stays that have come as far go on
            inner = nest.keeps[gap + 1]
            yield from ((o, Runs.OWN) for o in orders if o.stays in seen - inner)
        else:
            for runs, operand in _transparent(self.even, nest, gap):
                for order in orders if operand else orders[:1]:
                    if operand in (None, order.stays):
                        yield order, runs

    def _different(self, gap: int, seen: frozenset[Operand]) -> list[Order]:
        """The orders of a gap that differ in a count of the operands seen there."""
        inner = self.nest.keeps[gap + 1] if self.nest.shares(gap + 1) else frozenset[Operand]()
        running = self._running(gap)
        orders = [order for order in self._orders if order.stays not in inner]
        staying = [order for order in orders if order.stays in seen]
        different: dict[object, Order] = {}
        for order in staying or orders:
            slides = INPUT in seen and order.slides in running
            stays = order.stays if staying or slides else None
            different.setdefault((stays, order.slides if slides else None), order)
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
