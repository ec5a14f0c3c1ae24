"""Which tensors stay in which memory between the layers: the least a network takes, proved.

Layers run one after another. Each tensor that layers pass on lies in one memory from when it is
made until it was last read: in the outermost level, or whole in a memory nearer by
(:mod:`lifetimes` says which, :mod:`placement` what a layer is then). All that lies in a memory
while a layer runs takes room there, so less is left for the layer's tiles. What is minimised is
the sum over the layers.

A dynamic programme over the order of layers finds the least sum: its state is where each tensor
lies that is yet to be read. It runs on lower bounds (:mod:`prices`), and only layers on its best
path are searched, until all on it have been: then no plan is below it. The same again for the
prices themselves, which may be above the bounds where time costs energy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from picojoule.accelerator import Accelerator
from picojoule.graph import Graph, Node
from picojoule.plan.lifetimes import Block, Lifetimes, Step, lifetimes_of
from picojoule.plan.placement import places
from picojoule.plan.prices import OUTSIDE, Homes, Part, Placed, Prices, Rooms, Search
from picojoule.plan.records import Stay
from picojoule.workload import OPERANDS

Operators = Callable[[Node, Collection[str]], float]
"""What a node without layers takes of the objective, where these tensors lie on the chip."""
State = tuple[tuple[str, str], ...]
"""Blocks that lie in near memories, and in which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """The best plan of a network.

    Args:
        layers: by name, in the order they run.
        outside: the same where nothing stays.
        stays: tensors that lie in near memories, in the order they are made.
        kept: all tensors that lie there, parts of others as well.
        steps: the nodes that run, each with the bits that tensors take in each near memory.
        value: of the objective, all layers, per inference.
        lower_bound: no plan of the space is below.
        least: no schedule is below, if tensors may also stay by parts.
        searched: problems that were searched.
    """

    layers: Mapping[str, Placed]
    outside: Mapping[str, Placed]
    stays: tuple[Stay, ...]
    kept: frozenset[str]
    steps: tuple[tuple[Node, Mapping[str, float]], ...]
    value: float
    lower_bound: float
    least: float
    searched: int

    @property
    def status(self) -> str:
        """ "optimal" if no plan of the space has a lower value, as far as rounding goes."""
        return "optimal" if self.value <= self.lower_bound * (1 + _ROUNDING) else "feasible"


_ROUNDING = 1e-9  # relative: sums in another order differ by less


def reside(
    graph: Graph,
    parts: Mapping[str, Part],
    accelerator: Accelerator,
    objective: str,
    search: Search,
    operators: Operators,
    progress: Callable[[str], None],
) -> Residency:
    """The plan with the least objective.

    Args:
        parts: the layers by name.
        search: raises NoMappingError where none fits, MappingError where a given one does not.
        operators: what those without products take.
        progress: called with the name of each layer that is searched.

    Raises:
        NoMappingError: if a layer has no mapping though nothing stays on the chip.
    """
    apart = {name for name, part in parts.items() if part.apart}
    wholes = {name: part.whole for name, part in parts.items()}
    planned = lifetimes_of(graph, wholes, accelerator, apart)
    prices = Prices(parts, accelerator, objective, search, progress)
    outside = {name: prices.outside(name) for name in parts}
    for name, choices in _places(planned):
        prices.relax(name, Homes(*(x[-1] for x in choices)))
    programme = _Programme(planned, prices, operators, accelerator)
    idle = [step for step in planned.steps if not step.node.layers]
    proved = programme.least(prices.lower_bound)
    best = programme.least(prices.value)
    return Residency(
        layers={name: best.layers[name] for name in parts},
        outside=outside,
        stays=best.stays,
        steps=best.steps,
        value=best.value,
        lower_bound=min(proved.value, best.value),
        kept=programme.kept(best.stays),
        least=math.fsum(prices.least(*x) for x in _reach(planned, accelerator))
        + math.fsum(operators(x.node, _readable(x, planned.blocks)) for x in idle),
        searched=prices.searched,
    )


_Choices = tuple[str, list[tuple[str, ...]]]


def _places(planned: Lifetimes) -> Iterator[_Choices]:
    """For each layer, where each operand may lie whole; outermost first."""
    blocks = planned.blocks
    for step in planned.steps:
        for name in step.node.layers:
            yield name, _shared(step, lambda x: blocks[x].places)


def _reach(planned: Lifetimes, accelerator: Accelerator) -> Iterator[_Choices]:
    """The same of operands that may lie there by parts, or of layers that take parts of tensors."""
    blocks = planned.blocks
    near = places(accelerator)
    for step in planned.steps:
        choices = _shared(step, lambda x: blocks[x].readable)
        if not step.operands:
            choices = [("", *(x.name for x in near if o in x.keeps)) for o in OPERANDS]
        for name in step.node.layers:
            yield name, choices


def _readable(step: Step, blocks: Mapping[str, Block]) -> frozenset[str]:
    """The tensors at a node that may lie near by, whole or by parts."""
    return _within(step, {name for name, block in blocks.items() if block.readable})


def _within(step: Step, near: Collection[str]) -> frozenset[str]:
    """The tensors at a node all of whose blocks are *near*."""
    return frozenset(x for x, parts in step.tensors.items() if all(y in near for y in parts))


def _shared(step: Step, places: Callable[[str], tuple[str, ...]]) -> list[tuple[str, ...]]:
    """For each operand, where all of its blocks may lie."""
    choices: list[tuple[str, ...]] = [("",)] * len(OPERANDS)
    for operand, names in step.operands.items():
        shared = [x for x in places(names[0]) if all(x in places(name) for name in names)]
        choices[OPERANDS.index(operand)] = ("", *shared)
    return choices


Price = Callable[[str, Homes, Rooms], float]


class _Best(NamedTuple):
    """The best path through the programme."""

    value: float
    layers: Mapping[str, Placed]
    stays: tuple[Stay, ...]
    steps: tuple[tuple[Node, Mapping[str, float]], ...]


class _Use(NamedTuple):
    """A layer that runs at a step: where its operands lie and the room that is taken."""

    name: str
    homes: Homes
    rooms: Rooms


class _Arrival(NamedTuple):
    """The least value with which a state is reached, from which, and what is made where."""

    value: float
    before: State
    during: State


class _Programme:
    """The least sum over all layers, by the order of steps."""

    def __init__(
        self,
        planned: Lifetimes,
        prices: Prices,
        operators: Operators,
        accelerator: Accelerator,
    ) -> None:
        self._steps, self._prices, self._operators = planned.steps, prices, operators
        self._memories = places(accelerator)
        self._blocks = planned.blocks

    def least(self, price: Price) -> _Best:
        """The best path, of which every layer has been searched."""
        while True:
            value, path = self._path(price)
            uses = [use for step, during in path for use in self._uses(step, during) or ()]
            missing = [x for x in uses if self._prices.placed(*x) is None]
            if not missing:
                return self._told(value, path, uses)
            for use in missing:
                self._prices.ask(*use)

    def kept(self, stays: Collection[Stay]) -> frozenset[str]:
        """All tensors whose blocks stay."""
        near = {stay.tensor for stay in stays}
        return frozenset().union(*(_within(step, near) for step in self._steps))

    def _path(self, price: Price) -> tuple[float, list[tuple[Step, State]]]:
        """The least value, and what lies in near memories while each step runs."""
        layers: list[dict[State, _Arrival]] = [{(): _Arrival(0.0, (), ())}]
        for n, step in enumerate(self._steps):
            arrivals: dict[State, _Arrival] = {}
            for before, arrival in layers[-1].items():
                for during in self._options(step, before):
                    uses = self._uses(step, during)
                    if uses is None:
                        continue
                    value = arrival.value + math.fsum(price(*use) for use in uses)
                    if not step.node.layers:
                        value += self._operators(step.node, _within(step, dict(during)))
                    after = tuple(x for x in during if self._blocks[x[0]].last > n)
                    if after not in arrivals or value < arrivals[after].value:
                        arrivals[after] = _Arrival(value, before, during)
            layers.append(arrivals)
        path: list[tuple[Step, State]] = []
        state: State = ()
        for step, arrivals in zip(reversed(self._steps), reversed(layers[1:]), strict=True):
            path.append((step, arrivals[state].during))
            state = arrivals[state].before
        return layers[-1][()].value, path[::-1]

    def _options(self, step: Step, before: State) -> Iterator[State]:
        """What may lie in near memories while a step runs: what it makes, it makes somewhere."""
        choices = [[*((block.name, x) for x in block.places), None] for block in step.makes]
        for choice in itertools.product(*choices):
            yield (*before, *(x for x in choice if x is not None))

    def _uses(self, step: Step, during: State) -> list[_Use] | None:
        """The layers that run and how they are placed; None if that is not possible."""
        where = dict(during)
        rooms = tuple(
            math.fsum(self._blocks[x].room for x, place in during if place == memory.name)
            for memory in self._memories
        )
        for memory, room in zip(self._memories, rooms, strict=True):
            if memory.capacity is not None and room > memory.capacity:
                return None
        homes = {}
        for operand, blocks in step.operands.items():
            lies = {where.get(name, "") for name in blocks}
            if len(lies) > 1:
                return None  # parts of one tensor lie together
            (homes[operand.value],) = lies
        return [_Use(name, OUTSIDE._replace(**homes), rooms) for name in step.node.layers]

    def _told(self, value: float, path: list[tuple[Step, State]], uses: list[_Use]) -> _Best:
        layers = {}
        for use in uses:
            placed = self._prices.placed(*use)
            assert placed is not None  # else it would be searched first
            layers[use.name] = placed
        stays = [
            self._stay(block, place, step)
            for step, during in path
            for block in step.makes
            for place in [dict(during).get(block.name)]
            if place is not None
        ]
        names = [memory.name for memory in self._memories]
        steps = [
            (
                step.node,
                {
                    name: math.fsum(self._blocks[x].room for x, place in during if place == name)
                    for name in names
                },
            )
            for step, during in path
        ]
        return _Best(value, layers, tuple(stays), tuple(steps))

    def _stay(self, block: Block, place: str, step: Step) -> Stay:
        return Stay(
            tensor=block.name,
            memory=place,
            room=block.room,
            first=step.node.name,
            last=self._steps[block.last].node.name,
        )
