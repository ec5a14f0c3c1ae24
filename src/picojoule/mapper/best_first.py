"""The search over all classes of a space, best first (:mod:`frontier` takes the steps)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

<<<<<<< HEAD
from picojoule.mapper import boxes, frontier
from picojoule.mapper.families import least_values
from picojoule.mapper.frontier import Frontier, Pace, Standing
from picojoule.mapper.patience import WATCHED, OutOfTimeError, Patience, clock
from picojoule.mapper.relaxation import Relaxation
=======
from picojoule.mapper import boxes, halving, programme
from picojoule.mapper.found import Watch
from picojoule.mapper.kernels import Floats, Ints
from picojoule.mapper.models import Relaxed
from picojoule.mapper.relaxation import Relaxation
from picojoule.mapper.space import MappingClass
>>>>>>> wip/deep
from picojoule.mapper.tuning import TUNING
from picojoule.mapping import Mapping

SMALLEST_GAIN = frontier.SMALLEST_GAIN


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
        self.which = which
        self.classes = classes = relaxation.classes(which, mode, cycle_limit)
        families, members = classes.families, classes.members
        least = least_values(families, classes.columns, classes.goal, members)
        order = np.argsort(least, kind="stable")
        order = order[: np.count_nonzero(least < math.inf)]
        count, columns = len(order), int(np.diff(families.columns).max(initial=0))
        self.frontier = Frontier(
            heap=np.arange(count),
            idle=np.zeros(count, np.int64),
            bound=least[order],
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

    @property
    def bound(self) -> float:
        """No choice of a class that is left is below."""
        if not self.standing.counts[frontier.HEAP]:
            return math.inf
        return float(self.frontier.bound[self.frontier.heap[0]])

    def advance(self, pace: Pace) -> int:
        """The work done in a turn."""
        before = self.standing.counts[frontier.WORK]
        while frontier.advance(self.classes, self.frontier, self.standing, pace) == frontier.FULL:
            self._grow()
        return int(self.standing.counts[frontier.WORK] - before)

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
<<<<<<< HEAD
        self._speed = _Speed()
        self._parts: list[_Part] = []
=======
        self.explored = self.pruned = 0
        self._pace = _Pace()
        self._unseen: Iterator[MappingClass] = iter(())
        self.first = False
        self._heap: list[_OpenClass] = []
        self._pushed = 0
        self._contents: set[object] = set()
        self._large = False  # whether some class had too many groups
        self._lowest = math.inf  # settled dual bound so far
        # Similar programmes have similar multipliers and good options.
        self._starts: dict[object, tuple[programme.Multipliers, Ints]] = {}
>>>>>>> wip/deep

    def solve(self) -> Result:
        """The best mapping over all classes; after its time was over, from where it was."""
        if self._settled():
            return self._result(self.best, complete=True)
<<<<<<< HEAD
        try:
            with self.patience.kept():
                for which in range(len(self._parts), len(self.relaxation.space.shapes)):
                    part = _Part(self.relaxation, which, self.mode, self.cycle_limit)
                    self._parts.append(part)
        except OutOfTimeError:
            return self._result(0.0, complete=False)
        while True:
            worth = self.best * (1 - SMALLEST_GAIN) if self.best < math.inf else math.inf
            left = sorted((p for p in self._parts if p.bound < worth), key=lambda p: p.bound)
            if not left or self._settled():
                return self._result(self.best, complete=True)
            part, ceiling = left[0], left[1].bound if left[1:] else math.inf
            if self._over(part.bound):
                return self._result(part.bound, complete=False)
            most = self._affordable()
            started = clock()
            part.standing.best[0] = self.best
            work = part.advance(
                Pace(
                    pause=min(most, self._speed.in_seconds(WATCHED))
                    if self.patience.watch
                    else most,
                    most=most,
                    ceiling=math.nextafter(ceiling, math.inf),
                    floor=self.floor,
                )
            )
            self._speed.note(work, clock() - started)
            if part.standing.best[0] < self.best:
                self.best = float(part.standing.best[0])
                cls = self.relaxation.cls(part.which, part.standing.counts[frontier.MEMBER])
                self.mapping = self.relaxation.realise(cls, part.which, part.standing.choice)
=======
        self._unseen = self.relaxation.space.classes()
        return self.go_on(first=first)

    def go_on(self, *, first: bool = False) -> Result:
        """What :meth:`solve` returns, from where it was when its time was over."""
        self.first = first
        for cls in self._unseen:
            relaxed = self.relaxation.relax(cls, self.mode, self.cycle_limit)
            if relaxed is not None and self._is_new(relaxed):
                self._push(_Knowledge.COLUMNS, relaxed, relaxed.least)
            if self._over(0.0):
                return self._result(0.0, complete=False)  # some were perhaps not looked at
        while self._heap:
            entry = heapq.heappop(self._heap)
            if entry.bound >= self._limit() or self._settled():
                self.pruned += 1 + len(self._heap)
                break
            if self._over(entry.bound) or (first and self.mapping is not None):
                heapq.heappush(self._heap, entry)
                return self._result(entry.bound, complete=False)
            if entry.knowledge is _Knowledge.COLUMNS:
                self._bound(entry)
            elif entry.knowledge is _Knowledge.BOXES:
                self._decide(entry)
            else:
                self._search(entry)
        return self._result(self.best, complete=True)
>>>>>>> wip/deep

    def _is_new(self, relaxed: Relaxed) -> bool:
        """Whether no class was alike: loops that this layer has not, or that change no count."""
        if relaxed.content in self._contents:
            self.pruned += 1
            return False
        self._contents.add(relaxed.content)
        return True

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

<<<<<<< HEAD
=======
    def _limit(self) -> float:
        return self.best * (1 - SMALLEST_GAIN) if self.best < math.inf else math.inf

    def _push(
        self,
        knowledge: _Knowledge,
        relaxed: Relaxed,
        bound: float,
        dual: _Dual | None = None,
        step: float = TUNING.first_step,
    ) -> None:
        self._pushed += 1
        heapq.heappush(
            self._heap,
            _OpenClass(
                bound=bound,
                number=self._pushed,
                knowledge=knowledge,
                relaxed=relaxed,
                dual=dual,
                step=step,
            ),
        )

    def _bound(self, entry: _OpenClass, knowledge: _Knowledge = _Knowledge.DUAL) -> None:
        """Bound a class by the dual, unless that is clearly above the least so far.

        Args:
            knowledge: what is then known of it.
        """
        relaxed, problem = entry.relaxed, entry.relaxed.programme
        limit = self._limit()
        enough = min(limit, self._lowest * (1 + TUNING.enough)) if entry.dual is None else limit
        at, candidates = self._start(relaxed)
        scores, weights = np.empty(len(relaxed.penalty)), np.empty(len(problem.energy) + 1)
        logarithm, _ = programme.dual(
            self.relaxation.options(relaxed.options),
            problem,
            relaxed.penalty,
            at,
            candidates,
            TUNING.dual_rounds,
            TUNING.dual_turns,
            programme.log_of(problem, enough),
            scores,
            weights,
        )
        bound = _exponential(logarithm)
        if self.mode == programme.ENERGY:
            bound += problem.base
        bound = max(bound, entry.bound)
        if bound >= limit:
            self.pruned += 1
            return
        dual = _Dual(logarithm, scores, weights)
        if bound >= enough:  # stopped early: look again when its turn comes
            self._push(entry.knowledge, relaxed, bound, dual)
            return
        self._lowest = min(self._lowest, bound)
        if knowledge is _Knowledge.DUAL and relaxed.decided:
            knowledge = _Knowledge.DECIDED
        elif knowledge is _Knowledge.DUAL and len(relaxed.penalty) > TUNING.few:
            knowledge = _Knowledge.BOXES
        self._push(knowledge, relaxed, bound, dual)

    def _start(self, relaxed: Relaxed) -> tuple[programme.Multipliers, Ints]:
        """Multipliers and candidates to begin with: where the last similar programme left them."""
        problem = relaxed.programme
        key: tuple[object, ...] = (relaxed.options, problem.where.shape, len(problem.limits))
        # A rate on a time without a bound of its own would leave no bound at all.
        usable = problem.relief > 0
        if self.mode == programme.ENERGY and problem.drawn == 0:
            usable[:] = False
        else:
            key = (*key, usable.tobytes())
        if key not in self._starts:
            energy = [float(self.mode != programme.LATENCY)]
            share = usable / max(1, usable.sum())
            prices = np.full(len(problem.limits), TUNING.first_price)
            rates = np.concatenate([energy, share, prices])
            self._starts[key] = (
                programme.Multipliers(np.zeros(problem.where.shape[1] + 1), rates),
                np.zeros((problem.where.shape[0], 1 + TUNING.dual_candidates), np.int64),
            )
        return self._starts[key]

    def _decide(self, entry: _OpenClass) -> None:
        """Split a class by how its hops are priced."""
        for sharing in self.relaxation.variants(entry.relaxed):
            relaxed = self.relaxation.relax(entry.relaxed.cls, self.mode, self.cycle_limit, sharing)
            if relaxed is not None and self._is_new(relaxed):
                variant = _OpenClass(
                    bound=max(entry.bound, relaxed.least),
                    number=0,
                    knowledge=_Knowledge.COLUMNS,
                    relaxed=relaxed,
                    dual=entry.dual,
                )
                self._bound(variant, _Knowledge.DECIDED)

    def _search(self, entry: _OpenClass) -> None:
        """Look for a mapping a little above the bound of a class."""
        relaxed, problem, dual = entry.relaxed, entry.relaxed.programme, entry.dual
        assert dual is not None
        step = max(entry.step, TUNING.hasty_step) if self.first else entry.step
        limit = min(self._limit(), _above(entry.bound, step, problem.base))
        goal = entry.bound * (1 + SMALLEST_GAIN) if entry.bound > 0 else -math.inf
        began, most = time.perf_counter(), self._affordable()
        value, choice, looked, cut, work = self._in_boxes(
            relaxed,
            dual,
            limit,
            limit - SMALLEST_GAIN * abs(limit) if self.first else goal,
            most,
        )
        self.explored += looked
        self.pruned += cut
        self._pace.note(work, time.perf_counter() - began)
        if work >= most:  # broken off: as much is known of the class as before
            self._take_if_better(entry, value, choice)
            heapq.heappush(self._heap, entry)
            return
        if entry.knowledge is _Knowledge.DUAL:  # open hops count as free: another bound
            if choice[0] >= 0:
                self._push(_Knowledge.BOXES, relaxed, max(value, entry.bound), dual)
            elif limit < self._limit():
                self._push(_Knowledge.DUAL, relaxed, limit, dual, 2 * step)
            return
        if choice[0] >= 0:
            self._take_if_better(entry, value, choice)
        elif limit < self._limit():
            self._push(_Knowledge.DECIDED, relaxed, limit, dual, 2 * step)

    def _in_boxes(
        self, relaxed: Relaxed, dual: _Dual, limit: float, goal: float, most: int
    ) -> tuple[float, Ints, int, int, int]:
        """What :func:`boxes.search` returns; where it does too much, :func:`halving.search`.

        The first is quick where few groups are left. Where it was not, the other classes of the
        layer are as large, and go to the second at once.
        """
        at, _ = self._start(relaxed)
        settings = (TUNING.box_rounds, TUNING.box_turns)
        options, problem = self.relaxation.options(relaxed.options), relaxed.programme
        problem_of_it = (options, problem, dual.scores, dual.weights, dual.bound, at, *settings)
        looked = cut = work = 0
        if not self._large:
            enough = min(most, TUNING.box_work)
            value, choice, looked, cut, work = boxes.search(*problem_of_it, limit, goal, enough)
            if work < enough or enough == most:
                return value, choice, looked, cut, work
            self._large = True
        value, choice, more, less, done = halving.search(*problem_of_it, limit, goal, most)
        return value, choice, looked + more, cut + less, done

    def _take_if_better(self, entry: _OpenClass, value: float, choice: Ints) -> None:
        """Keep a mapping that was met, unless hops counted as free: then it has no price yet."""
        if choice[0] >= 0 and entry.knowledge is not _Knowledge.DUAL:
            self.best = value
            self.mapping = self.relaxation.realise(entry.relaxed, choice)

>>>>>>> wip/deep
    def _affordable(self) -> int:
        """The work that fits the time that is left; never so little that nothing comes of it."""
        deadline = self.patience.deadline
        if deadline == math.inf:
            return boxes.UNLIMITED
        return max(TUNING.least_work, self._speed.in_seconds(deadline - clock()))


class _Speed:
    """How much work a second does, learnt from what was done."""

    def __init__(self) -> None:
        self.work, self.seconds = TUNING.first_pace, 1.0

    def note(self, work: int, seconds: float) -> None:
        self.work += work
        self.seconds += seconds

    def in_seconds(self, seconds: float) -> int:
        return int(self.work / self.seconds * seconds)
