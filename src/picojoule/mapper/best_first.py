"""The search over all classes of a space, best first (:mod:`frontier` takes the steps)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from picojoule.mapper import boxes, frontier
from picojoule.mapper.families import Members, least_values, unlike
from picojoule.mapper.frontier import Frontier, Pace, Standing
from picojoule.mapper.patience import WATCHED, OutOfTimeError, Patience, clock
from picojoule.mapper.relaxation import Relaxation
from picojoule.mapper.tuning import TUNING
from picojoule.mapping import Mapping

SMALLEST_GAIN = boxes.SMALLEST_GAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a search over classes ended.

    Args:
        value: the least objective, that of *mapping*, or what the search was given to beat.
        bound: no mapping is below.
        complete: whether nothing is left to look at.
    """

    value: float
    mapping: Mapping | None
    bound: float
    explored: int
    pruned: int
    complete: bool


class _Part:
    """The classes that have the same options, and how the search over them stands."""

    def __init__(self, relaxation: Relaxation, which: int, mode: int, cycle_limit: float) -> None:
        self.relaxation, self.which = relaxation, which
        self.classes = classes = relaxation.classes(which, mode, cycle_limit)
        families, members = classes.families, classes.members
        kept = np.arange(len(members.family))
        if len(kept) >= TUNING.many:
            kept = unlike(families, classes.columns, classes.options, members)
        some = Members(*(np.ascontiguousarray(part[kept]) for part in members))
        least = least_values(families, classes.columns, classes.goal, some)
        by_least = np.argsort(least, kind="stable")[: np.count_nonzero(least < math.inf)]
        order = kept[by_least]
        count, columns = len(order), int(np.diff(families.columns).max(initial=0))
        self.frontier = Frontier(
            heap=np.arange(count),
            idle=np.zeros(count, np.int64),
            bound=least[by_least],
            number=np.arange(count),
            knowledge=np.full(count, frontier.COLUMNS),
            member=order,
            family=members.family[order],
            step=np.full(count, TUNING.first_step),
            height=np.full(count, math.nan),
            weights=np.zeros((count, columns + 1)),
        )
        self.standing = Standing(
            counts=np.zeros(8, np.int64),
            best=np.full(2, math.inf),
            choice=np.full(len(relaxation.blocks(which)), -1),
        )
        self.standing.counts[frontier.HEAP] = self.standing.counts[frontier.PUSHED] = count
        self.standing.counts[frontier.MEMBER] = -1
        self.standing.counts[frontier.PRUNED] = len(members.family) - len(kept)

    @property
    def bound(self) -> float:
        """No choice of a class that is left is below."""
        if not self.standing.counts[frontier.HEAP]:
            return math.inf
        return float(self.frontier.bound[self.frontier.heap[0]])

    def advance(self, pace: Pace) -> tuple[int, bool]:
        """The work done in a turn, and whether it was broken off within a step."""
        before = self.standing.counts[frontier.WORK]
        ended = frontier.FULL
        while ended == frontier.FULL:
            ended = frontier.advance(self.classes, self.frontier, self.standing, pace)
            if ended == frontier.FULL:
                self._grow()
        return int(self.standing.counts[frontier.WORK] - before), ended == frontier.BROKEN

    def _grow(self) -> None:
        """Have room for twice as many open classes, and a few."""
        old, idle = len(self.frontier.bound), self.standing.counts[frontier.IDLE]
        more = old + 64
        room = Frontier(*(np.resize(part, (old + more, *part.shape[1:])) for part in self.frontier))
        room.idle[:idle] = self.frontier.idle[:idle]
        room.idle[idle : idle + more] = np.arange(old, old + more)
        self.standing.counts[frontier.IDLE] = idle + more
        self.frontier = room


class Solver:
    """The search over all classes of a space for one objective: best first.

    Args:
        mode: what to minimise (:mod:`programme`).
        patience: how long it goes on.
        cycle_limit: more cycles are not allowed.
        best, mapping: what must be beaten, and the mapping that has this value, if one is known.
        floor: no mapping is below: one that gets there ends the search.
    """

    def __init__(
        self,
        relaxation: Relaxation,
        mode: int,
        patience: Patience,
        *,
        cycle_limit: float = math.inf,
        best: float = math.inf,
        mapping: Mapping | None = None,
        floor: float = 0.0,
    ) -> None:
        self.relaxation, self.mode, self.cycle_limit = relaxation, mode, cycle_limit
        self.patience, self.floor = patience, floor
        self.best, self.mapping = best, mapping
        self._pace = TUNING.first_pace  # work in a second
        self._parts: list[_Part] = []

    def solve(self) -> Result:
        """The best mapping over all classes; after its time was over, from where it was."""
        if self._settled():
            return self._result(self.best, complete=True)
        try:
            with self.patience.kept():
                for relaxation, which in self._shapes()[len(self._parts) :]:
                    part = _Part(relaxation, which, self.mode, self.cycle_limit)
                    self._parts.append(part)
        except OutOfTimeError:
            return self._result(0.0, complete=False)
        while True:
            worth = self.best * (1 - SMALLEST_GAIN)
            left = sorted((p for p in self._parts if p.bound < worth), key=lambda p: p.bound)
            if not left or self._settled():
                return self._result(self.best, complete=True)
            part, ceiling = left[0], left[1].bound if left[1:] else math.inf
            if self._over(part.bound):
                return self._result(part.bound, complete=False)
            most, pause = self._affordable()
            started = clock()
            part.standing.best[0] = self.best
            work, broken = part.advance(
                Pace(
                    pause=pause,
                    most=most,
                    ceiling=math.nextafter(ceiling, math.inf),
                    floor=self.floor,
                )
            )
            if broken:  # other steps do more in as much time
                self._pace = int(work / max(1e-6, clock() - started))
            if part.standing.best[0] < self.best:
                self.best = float(part.standing.best[0])
                cls = part.relaxation.cls(part.which, part.standing.counts[frontier.MEMBER])
                self.mapping = part.relaxation.realise(cls, part.which, part.standing.choice)

    def _shapes(self) -> list[tuple[Relaxation, int]]:
        """The sets of options to search, those of uneven mappings among them."""
        return [
            (relaxation, which)
            for relaxation in (self.relaxation, *self.relaxation.nested)
            for which in range(len(relaxation.space.shapes))
        ]

    def _result(self, bound: float, *, complete: bool) -> Result:
        counts = [part.standing.counts for part in self._parts]
        open_classes = sum(int(count[frontier.HEAP]) for count in counts)
        return Result(
            value=self.best,
            mapping=self.mapping,
            bound=bound,
            explored=sum(int(count[frontier.EXPLORED]) for count in counts),
            pruned=sum(int(count[frontier.PRUNED]) for count in counts)
            + (open_classes if complete else 0),
            complete=complete,
        )

    def _over(self, bound: float) -> bool:
        """Whether the time is over, with *bound* below all that is left."""
        self.patience.best, self.patience.below = self.best, bound
        return self.patience.over()

    def _settled(self) -> bool:
        return self.best <= self.floor * (1 + SMALLEST_GAIN)

    def _affordable(self) -> tuple[int, int]:
        """The work that fits the time that is left, and that after which to look at the clock.

        Never so little that nothing comes of it. The clock is looked at when half the time may be
        over: how much work a second does depends on the class.
        """
        most, pause = boxes.UNLIMITED, boxes.UNLIMITED
        if self.patience.deadline < math.inf:
            left = max(0.0, self.patience.deadline - clock())
            most = max(TUNING.least_work, int(TUNING.margin * self._pace * left))
            pause = max(TUNING.least_work, most // 2)
        if self.patience.watch:
            pause = min(pause, int(self._pace * WATCHED))
        return most, pause
