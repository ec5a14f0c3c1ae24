"""Which tensors stay in which memory between the layers: the least a network takes, proved.

Layers run one after another. Each tensor that layers pass on lies in one memory from when it is
made until it was last read: in the outermost level, or whole in a memory nearer by
(:mod:`lifetimes` says which, :mod:`placement` what a layer is then). All that lies in a memory
while a layer runs takes room there, so less is left for the layer's tiles. What is minimised is
the sum over the layers.

A dynamic programme over the order of layers finds the least sum: its state is where each tensor
lies that is yet to be read. The price of a layer depends on where its operands lie and on the room
that is left, and comes from a search with a proof. Searches are done only where they can matter:

- The programme runs on lower bounds, and only layers on its best path are searched, until all on
  it have been: then no plan is below it (the same again for the prices themselves).
- A layer's optimum with more room is a lower bound where there is less, and is the optimum there
  if its mapping fits. Nor does it cost more that an operand lies nearer by
  (:func:`_dearer_outside`), so the optimum with all operands near and all room theirs bounds all.
- Layers that are equal problems are searched once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from picojoule.accelerator import Accelerator, Format
from picojoule.errors import MappingError, NoMappingError
from picojoule.graph import Graph, Node
from picojoule.legality import violations
from picojoule.mapper.found import Found
from picojoule.plan.lifetimes import Block, Schedule, Step, schedule
from picojoule.plan.placement import near_memories, seen_from
from picojoule.plan.records import Stay
from picojoule.workload import OPERANDS, Layer, Operand, PerOperand

Homes: TypeAlias = PerOperand[str]
"""The memory in which each operand lies; empty for the outermost level."""
OUTSIDE: Homes = PerOperand("", "", "")
Rooms = tuple[float, ...]
"""Bits that tensors take in each of the near memories."""
State = tuple[tuple[str, str], ...]
"""Blocks that lie in near memories, and in which."""

Search = Callable[[Layer, Accelerator, bool], Found]
"""The best mapping of a layer on an accelerator; if so asked, of those that send no partial sums
to where the output lies."""


class Part(NamedTuple):
    """A layer as the accelerator runs it, and what of it is on the chip at once.

    Args:
        whole: the layer of the whole batch.
        share: that of *images* of the inferences.
        key: equal for equal problems.
        apart: its operands lie in the outermost level, whatever is saved.
    """

    whole: Layer
    share: Layer
    images: int
    key: tuple[object, ...]
    apart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A layer placed: where its operands lie, and its best mapping in the room that is left.

    Args:
        accelerator: as it is seen from there.
        rooms: bits that tensors take in each near memory while the layer runs.
        value, lower_bound: of the objective, per inference.
    """

    homes: Homes
    rooms: Rooms
    accelerator: Accelerator
    found: Found
    value: float
    lower_bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """The best plan of a network.

    Args:
        layers: by name, in the order they run.
        outside: the same where nothing stays.
        stays: tensors that lie in near memories, in the order they are made.
        steps: the nodes that run, each with the bits that tensors take in each near memory.
        value: of the objective, all layers, per inference.
        lower_bound: no plan of the space is below.
        least: no schedule is below, if tensors may also stay by parts.
        searched: problems that were searched.
    """

    layers: Mapping[str, Placed]
    outside: Mapping[str, Placed]
    stays: tuple[Stay, ...]
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
    progress: Callable[[str], None],
) -> Residency:
    """The plan with the least objective.

    Args:
        parts: the layers by name.
        search: raises NoMappingError where none fits, MappingError where a given one does not.
        progress: called with the name of each layer that is searched.

    Raises:
        NoMappingError: if a layer has no mapping though nothing stays on the chip.
    """
    apart = {name for name, part in parts.items() if part.apart}
    wholes = {name: part.whole for name, part in parts.items()}
    planned = schedule(graph, wholes, accelerator, apart)
    prices = _Prices(parts, accelerator, objective, search, progress)
    outside = {name: prices.outside(name) for name in parts}
    for name, choices in _places(planned):
        prices.relax(name, Homes(*(x[-1] for x in choices)))
    programme = _Programme(planned, prices, accelerator)
    proved = programme.least(prices.lower_bound)
    best = programme.least(prices.value)
    return Residency(
        layers={name: best.layers[name] for name in parts},
        outside=outside,
        stays=best.stays,
        steps=best.steps,
        value=best.value,
        lower_bound=min(proved.value, best.value),
        least=math.fsum(prices.least(*x) for x in _reach(planned, accelerator)),
        searched=prices.searched,
    )


_Choices = tuple[str, list[tuple[str, ...]]]


def _places(planned: Schedule) -> Iterator[_Choices]:
    """For each layer, where each operand may lie whole; outermost first."""
    blocks = planned.blocks
    for step in planned.steps:
        for name in step.node.layers:
            yield name, _shared(step, lambda x: blocks[x].places)


def _reach(planned: Schedule, accelerator: Accelerator) -> Iterator[_Choices]:
    """The same of operands that may lie there by parts, or of layers that take parts of tensors."""
    blocks = planned.blocks
    near = near_memories(accelerator)
    for step in planned.steps:
        choices = _shared(step, lambda x: blocks[x].readable)
        if not step.operands:
            choices = [("", *(x.name for x in near if o in x.keeps)) for o in OPERANDS]
        for name in step.node.layers:
            yield name, choices


def _shared(step: Step, places: Callable[[str], tuple[str, ...]]) -> list[tuple[str, ...]]:
    """For each operand, where all of its blocks may lie."""
    choices: list[tuple[str, ...]] = [("",)] * len(OPERANDS)
    for operand, names in step.operands.items():
        shared = [x for x in places(names[0]) if all(x in places(name) for name in names)]
        choices[OPERANDS.index(operand)] = ("", *shared)
    return choices


# -- prices of placed layers -------------------------------------------------------------------


@dataclass(slots=True)
class _Entry:
    """A placed layer's price: what is known of it after so many searches of its problem."""

    seen: int = -1
    lower_bound: float = 0.0
    placed: Placed | None = None
    impossible: bool = False


class _Searched(NamedTuple):
    """What a search gave; of a *relaxed* one, that takes no room for whole sums, a bound."""

    homes: Homes
    rooms: Rooms
    placed: Placed | None
    relaxed: bool


@dataclass(slots=True)
class _Problem:
    """All that is known of a layer, wherever it is placed."""

    searched: list[_Searched] = field(default_factory=list)
    entries: dict[tuple[Homes, Rooms], _Entry] = field(default_factory=dict)


class _Prices:
    """Prices of layers by where their operands lie and what room is taken; searched when asked."""

    def __init__(
        self,
        parts: Mapping[str, Part],
        accelerator: Accelerator,
        objective: str,
        search: Search,
        progress: Callable[[str], None],
    ) -> None:
        self._parts, self._accelerator, self._objective = parts, accelerator, objective
        self._search, self._progress = search, progress
        self._memories = near_memories(accelerator)
        self._none: Rooms = (0.0,) * len(self._memories)
        self._problems: dict[tuple[object, ...], _Problem] = {}
        self.searched = 0

    def outside(self, name: str) -> Placed:
        """The layer where nothing stays.

        Raises:
            NoMappingError: it has no mapping even so.
        """
        self.ask(name, OUTSIDE, self._none, strict=True)
        placed = self._entry(name, OUTSIDE, self._none).placed
        assert placed is not None
        return placed

    def relax(self, name: str, homes: Homes) -> None:
        """Search a layer with its operands there and all room its own: a bound for the others."""
        if homes != OUTSIDE:
            self.ask(name, homes, self._none, relaxed=True)

    def least(self, name: str, choices: Sequence[Sequence[str]]) -> float:
        """What a layer is not below, wherever of these its operands lie, and all room its own."""
        nearest, least = Homes(*(x[-1] for x in choices)), math.inf
        for homes in itertools.starmap(Homes, itertools.product(*choices)):
            if homes == nearest or not self._bounds(nearest, homes):
                self.relax(name, homes)
                least = min(least, self.lower_bound(name, homes, self._none))
        return least

    def lower_bound(self, name: str, homes: Homes, rooms: Rooms) -> float:
        """What the layer cannot be below; infinite if it has no mapping."""
        entry = self._entry(name, homes, rooms)
        return math.inf if entry.impossible else entry.lower_bound

    def value(self, name: str, homes: Homes, rooms: Rooms) -> float:
        """What the layer takes, or cannot be below where it was not searched."""
        entry = self._entry(name, homes, rooms)
        if entry.placed is not None:
            return entry.placed.value
        return math.inf if entry.impossible else entry.lower_bound

    def placed(self, name: str, homes: Homes, rooms: Rooms) -> Placed | None:
        """The layer placed there, if its price is known."""
        return self._entry(name, homes, rooms).placed

    def ask(
        self,
        name: str,
        homes: Homes,
        rooms: Rooms,
        *,
        strict: bool = False,
        relaxed: bool = False,
    ) -> None:
        """Search for the layer placed there, unless that was done."""
        entry = self._entry(name, homes, rooms)
        if entry.placed is not None or entry.impossible:
            return
        self._progress(name)
        placed = None
        try:
            placed = self._searched(name, homes, rooms, relaxed)
        except (NoMappingError, MappingError):
            if strict:
                raise
        self.searched += 1
        self._problem(name).searched.append(_Searched(homes, rooms, placed, relaxed))

    def _problem(self, name: str) -> _Problem:
        return self._problems.setdefault(self._parts[name].key, _Problem())

    def _entry(self, name: str, homes: Homes, rooms: Rooms) -> _Entry:
        """What is known of the layer placed there."""
        problem = self._problem(name)
        entry = problem.entries.setdefault((homes, rooms), _Entry())
        if entry.placed is not None or entry.impossible:
            return entry
        for near, less, placed, relaxed in problem.searched[max(entry.seen, 0) :]:
            roomier = all(a <= b for a, b in zip(less, rooms, strict=True))
            if not roomier or not (near == homes or self._bounds(near, homes)):
                continue
            if placed is None:
                entry.impossible = True
                break
            entry.lower_bound = max(entry.lower_bound, placed.lower_bound)
            if near == homes and (
                (less == rooms and not relaxed) or self._fits(name, placed, rooms)
            ):
                entry.placed = self._moved(placed, rooms)
                break
        entry.seen = len(problem.searched)
        return entry

    def _bounds(self, near: Homes, homes: Homes) -> bool:
        """Whether a layer never costs more with operands *near* than with *homes*."""
        moved = [
            (operand, a, b) for operand, a, b in zip(OPERANDS, near, homes, strict=True) if a != b
        ]
        return all(
            _dearer_outside(self._accelerator, self._objective, operand, inner, outer)
            for operand, inner, outer in moved
        )

    def _seen_from(self, homes: Homes, rooms: Rooms) -> Accelerator:
        return seen_from(
            self._accelerator,
            {operand: name for operand, name in zip(OPERANDS, homes, strict=True) if name},
            {m.name: room for m, room in zip(self._memories, rooms, strict=True)},
        )

    def _fits(self, name: str, placed: Placed, rooms: Rooms) -> bool:
        """Whether a layer's mapping fits where that room is taken."""
        share = self._parts[name].share
        whole = self._with_sums(share, placed.found, placed.homes, rooms)
        there = self._seen_from(placed.homes, whole)
        return self._left(whole) and not violations(share, there, placed.found.mapping)

    def _left(self, rooms: Rooms) -> bool:
        """Whether any room is left in each memory in which some is taken."""
        return all(
            not room or memory.capacity is None or room < memory.capacity
            for memory, room in zip(self._memories, rooms, strict=True)
        )

    def _with_sums(self, share: Layer, found: Found, homes: Homes, rooms: Rooms) -> Rooms:
        """The room that is taken where partial sums go where the output lies, if they do."""
        wide = self._accelerator.psum_bits(share.bits.output) - share.stored_bits(Operand.OUTPUT)
        if wide <= 0 or not homes.output:
            return rooms
        if not found.cost.accesses[homes.output][Operand.OUTPUT].read:
            return rooms  # nothing that lies there is read by this layer: no sum comes back
        more = wide * share.size(Operand.OUTPUT)
        return tuple(
            room + more * (memory.name == homes.output)
            for memory, room in zip(self._memories, rooms, strict=True)
        )

    def _moved(self, placed: Placed, rooms: Rooms) -> Placed:
        """The same mapping where other room is left, which it fits."""
        return replace(placed, rooms=rooms, accelerator=self._seen_from(placed.homes, rooms))

    def _searched(self, name: str, homes: Homes, rooms: Rooms, relaxed: bool) -> Placed:
        """The best mapping; partial sums that go where the output lies take room as wide as they.

        Raises:
            NoMappingError, MappingError: there is none.
        """
        part = self._parts[name]
        founds = [self._found(part, homes, rooms)]
        whole = self._with_sums(part.share, founds[0], homes, rooms)
        if whole != rooms and not relaxed:
            founds = []
            for taken, sums_stay in ((rooms, True), (whole, False)):
                with suppress(NoMappingError):
                    founds.append(self._found(part, homes, taken, sums_stay))
            if not founds:
                raise NoMappingError(f"layer {name!r}: no room for its partial sums")
        best = min(founds, key=lambda found: found.value)
        scale = part.images**2 if self._objective == "edp" else part.images
        return Placed(
            homes=homes,
            rooms=rooms,
            accelerator=self._seen_from(homes, rooms),
            found=best,
            value=best.value / scale,
            lower_bound=min(found.lower_bound for found in founds) / scale,
        )

    def _found(self, part: Part, homes: Homes, rooms: Rooms, sums_stay: bool = False) -> Found:
        if not self._left(rooms):
            raise NoMappingError(f"layer {part.share.name!r}: no room is left for its tiles")
        return self._search(part.share, self._seen_from(homes, rooms), sums_stay)


def _dearer_outside(
    accelerator: Accelerator, objective: str, operand: Operand, inner: str, outer: str
) -> bool:
    """Whether no mapping gets dearer when an operand lies in *inner* instead of *outer*.

    Take the mapping with the operand's home moved inward and its tiles outside left out. The
    traffic inside is the same; that outside is gone. Only where it passed the inner memory by does
    that one have more to do: cheaper words, but maybe more of them, uncoded, and more time. And
    where transfers take commands, a level may keep nothing any more by whose tiles they count.
    """
    if not inner or accelerator.control.per_command:
        return False
    near = accelerator.memories[inner]
    far = accelerator.levels[0].holder(operand) if not outer else accelerator.memories[outer]
    assert far is not None
    depths = [
        next((n for n, x in enumerate(accelerator.levels) if memory in x.memories), 0)
        for memory in (far, near)
    ]
    cheaper = near.read_energy <= far.read_energy and near.write_energy <= far.write_energy
    timed = objective != "energy" or accelerator.drawn_per_cycle > 0
    plain = far.formats.of(operand) is Format.DENSE and not (timed and near.bandwidth is not None)
    return depths[0] < depths[1] and cheaper and (operand not in near.may_bypass or plain)


# -- the programme over the order of layers ----------------------------------------------------

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

    def __init__(self, planned: Schedule, prices: _Prices, accelerator: Accelerator) -> None:
        self._steps, self._prices = planned.steps, prices
        self._memories = near_memories(accelerator)
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
