"""What a layer takes by where its operands lie and what room is taken: searched when asked.

A price comes from a search with a proof. Of what was searched before more is known than asked:

- A layer's optimum with more room is a lower bound where there is less, and is the optimum there
  if its mapping fits.
- A layer does not cost more if an operand lies nearer by (:func:`_dearer_outside`), so that the
  optimum with all operands near and all room theirs bounds all others.
- Layers that are equal problems are one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from picojoule.accelerator import Accelerator, Format
from picojoule.errors import MappingError, NoMappingError
from picojoule.legality import violations
from picojoule.mapper.found import Found
from picojoule.plan.placement import places, seen_from
from picojoule.workload import OPERANDS, Layer, Operand, PerOperand

Homes: TypeAlias = PerOperand[str]
"""The memory in which each operand lies; empty for the outermost level."""
OUTSIDE: Homes = PerOperand("", "", "")
Rooms = tuple[float, ...]
"""Bits that tensors take in each of the near memories."""

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


class Prices:
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
        self._memories = places(accelerator)
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
