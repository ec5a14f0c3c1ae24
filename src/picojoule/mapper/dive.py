"""Any good mapping of a class, at once: a walk from option to option.

For when time is nearly over and the search has met none. First the options of one block after the
other, each the best by the dual bound for which there is room if the blocks that follow take the
least of every column; then two blocks at a time are given the best options beside the others,
until none are better.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from picojoule.mapper import programme
from picojoule.mapper.boxes import packable
from picojoule.mapper.kernels import Floats, Ints
from picojoule.mapper.mapping_classes import MappingClass
from picojoule.mapper.options import Options, allowed
from picojoule.mapper.patience import Patience
from picojoule.mapper.programme import Programme
from picojoule.mapper.relaxation import Relaxation, Relaxed
from picojoule.mapper.tuning import TUNING
from picojoule.mapping import Mapping

SWEEPS = 10  # over all pairs of blocks; most end after three
TRIED = 64  # options of each of two blocks


def dive(relaxation: Relaxation, cls: MappingClass, patience: Patience) -> Mapping | None:
    """A cheap mapping of a class, its open hops taken to be free; None if the dive meets none."""
    relaxed = relaxation.relax(cls, programme.ENERGY, math.inf)
    if relaxed is None:
        return None
    walk = _Walk(relaxation.options(relaxed.options), relaxed)
    if not walk.begin():
        return None
    for _ in range(SWEEPS):
        before = walk.value
        for pair in itertools.combinations(range(len(walk.factors)), 2):
            if not patience.over():
                walk.improve(*pair)
        if not walk.value < before:
            break
    return relaxation.realise(cls, relaxed.options, walk.choice + walk.options.starts[:-1])


class _Walk:
    """A choice of options, of each block the number of one of its own."""

    def __init__(self, options: Options, relaxed: Relaxed) -> None:
        self.options, self.problem = options, relaxed.programme
        self.factors = [self._factors(b) for b in range(len(self.problem.where))]
        self.forbidden = np.split(~allowed(options, relaxed.bars), options.starts[1:-1])
        self.order = _best_first(options, relaxed)
        self.choice = np.zeros(len(self.factors), np.int64)
        self.value = math.inf

    def _factors(self, block: int) -> Floats:
        """The factors of a block, ``[options, columns]``."""
        count = int(self.options.starts[block + 1] - self.options.starts[block])
        table = np.ones((count, self.problem.where.shape[1]))
        for column, at in enumerate(self.problem.where[block]):
            if at >= 0:
                table[:, column] = self.options.raw[block][at : at + count]
        return table

    def begin(self) -> bool:
        """Choose block by block; whether there was an option for each."""
        least = [table.min(axis=0) for table in self.factors]
        done: list[int] = []
        for b, table in enumerate(self.factors):
            others = math.prod(self.factors[n][self.choice[n]] for n in done)
            values = _values(self.problem, others * math.prod(least[b + 1 :]) * table)
            done.append(b)
            for option in self.order[b]:
                self.choice[b] = option
                if values[option] < math.inf and self._fits(done):
                    break
            else:
                return False
        self.value = float(values[self.choice[-1]])
        return True

    def improve(self, one: int, other: int) -> None:
        """Give two blocks the best options beside the others."""
        blocks = range(len(self.factors))
        others = math.prod(self.factors[n][self.choice[n]] for n in blocks if n not in (one, other))
        tried = []
        for b, beside in ((one, other), (other, one)):
            least = self.factors[beside].min(axis=0)
            values = _values(self.problem, others * least * self.factors[b])
            values[self.forbidden[b]] = math.inf
            tried.append(np.argsort(values, kind="stable")[:TRIED])
            tried[-1] = tried[-1][values[tried[-1]] < math.inf]
        first, second = (self.factors[b][t] for b, t in zip((one, other), tried, strict=True))
        products = (others * first)[:, None, :] * second[None, :, :]
        values = _values(self.problem, products.reshape(-1, products.shape[-1]))
        kept = self.choice[[one, other]]
        for pair in np.argsort(values, kind="stable"):
            if not values[pair] < self.value:
                break
            a, b = divmod(int(pair), len(second))
            self.choice[[one, other]] = tried[0][a], tried[1][b]
            if self._fits([*blocks]):
                self.value = float(values[pair])
                return
        self.choice[[one, other]] = kept

    def _fits(self, blocks: list[int]) -> bool:
        """Whether the unrollings of some blocks have a place on every array."""
        options, problem = self.options, self.problem
        chosen = self.choice[blocks] + options.starts[blocks]
        dims = np.maximum(options.dims[blocks], 0).ravel()
        return all(
            packable(options.fans[chosen, a].ravel(), dims, problem.axes[a], problem.allowed[a])
            for a in range(len(problem.axes))
        )


def _best_first(options: Options, relaxed: Relaxed) -> list[Ints]:
    """The options of each block that are allowed, those first that lift the dual bound least."""
    problem, weights = relaxed.programme, np.empty(len(relaxed.programme.energy) + 1)
    usable = (problem.relief > 0) & (problem.drawn > 0)
    prices = np.full(len(problem.limits), TUNING.first_price)
    rates = np.concatenate([[1.0], usable / max(1, usable.sum()), prices])
    programme.dual(
        options,
        problem,
        relaxed.bars,
        programme.Multipliers(np.zeros(len(weights)), rates),
        np.zeros((len(problem.where), 1 + TUNING.dual_candidates), np.int64),
        TUNING.dual_rounds,
        TUNING.dual_turns,
        math.inf,
        weights,
    )
    allowed, first, lifts = programme.living(
        options, problem.where, weights, relaxed.bars, 0.0, math.inf
    )
    return [
        allowed[low:high][np.argsort(lifts[low:high], kind="stable")] - start
        for low, high, start in zip(first, first[1:], options.starts, strict=False)
    ]


def _values(problem: Programme, products: Floats) -> Floats:
    """What many choices cost, as :func:`programme.value_of` says it of one."""

    def summed(coefficients: Floats) -> Floats:
        plain: Floats = products @ np.maximum(coefficients, 0)
        saved = coefficients < 0
        plain += (coefficients[saved] / products[:, saved]).sum(axis=1)
        return plain

    values = problem.constant + summed(problem.energy)
    if problem.drawn:
        times = [summed(time[:-1]) + time[-1] for time in problem.times]
        values = values + problem.drawn * np.max(times, axis=0)
    values[(products @ problem.limits.T > 1 + 1e-9).any(axis=1)] = math.inf
    return values
