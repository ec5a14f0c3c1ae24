"""Discrete geometric programmes, and a bound on them.

The search problem, whatever the accelerator: choose one option for each *block* (a dimension, or a
window pair). Every quantity is a product over the blocks of one factor per option, its *column*;
the objective and the limits are sums of such products with positive coefficients.

The bound is the dual of the relaxed programme (geometric programming; Duffin, Peterson, Zener,
1967). For any weights w that sum to one, a sum of terms is at least ``prod (term / w) ** w``, the
mean inequality, and a limit times a multiplier may be added; the logarithm of that is a sum over
blocks, so its least is found block by block. Weights come from averaging the best options seen,
multipliers from a subgradient. What an option adds to the bound tells whether it can matter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from picojoule.compiled.arrays import Floats1, Floats2, Ints1, Ints2, Ints3
from picojoule.compiled.functions import compiled
from picojoule.mapper.kernels import Floats, Ints
from picojoule.mapper.tuning import TUNING

ENERGY, LATENCY, EDP = 0, 1, 2


class PerBlock(NamedTuple):
    """One store for each block, named after its dimensions."""

    rows: Floats1
    columns: Floats1
    M: Floats1
    C: Floats1
    N: Floats1
    G: Floats1


class Options(NamedTuple):
    """The options of all blocks, one block after the other, and their columns."""

    starts: Ints1  # [blocks + 1] first option of each block
    raw: PerBlock  # factors of each block's options, one column after the other
    logs: PerBlock  # their logarithms
    runs: Ints1  # [options] bit mask of the loops that run
    fans: Ints3  # [options, arrays, 2] unrolling of the block's dimensions
    dims: Ints2  # [blocks, 2] index of those dimensions (-1: none)
    groups: Ints1  # [options] those alike in what counts most stand together, under one number


class Programme(NamedTuple):
    """What to minimise, under which limits, over the columns at ``where``.

    A negative coefficient belongs to a column that holds reciprocals: it divides.
    """

    where: Ints2  # [blocks, columns] offset of a column in the block's store; -1: all ones
    mode: int
    constant: float
    base: float  # the least of the energy's constant and its negative parts
    discount: float  # logarithm of the least share that negative parts leave, EDP only
    energy: Floats1  # [columns]
    drawn: float  # energy per cycle: control, static
    times: Floats2  # [memories and networks, columns + 1] cycles; last: constant
    relief: Floats1  # [memories and networks] least share that negative parts leave; 0: unknown
    cycle_limit: float
    limits: Floats2  # [limits, columns] coefficients of sums that may not exceed 1
    axes: Ints2  # [arrays, axes] length; 0: no such axis
    allowed: Ints2  # [arrays, axes] bit mask of dimensions


class Multipliers(NamedTuple):
    """Where the dual bound stands; updated in place, and a good start for a similar programme."""

    means: Floats1  # [columns + 1] logarithm of each product, averaged over the best options seen
    # [1 + times + limits] weight of the energy and of each time, price of each limit; where time
    # takes energy, the weights of the times are also their shares in a mean (:func:`_draw`).
    rates: Floats1


class _Sums(NamedTuple):
    """The sums of a programme, sparse: the energy, then the times, then the limits."""

    start: Ints  # [sums + 1] first term of each
    column: Ints  # [terms]; one more than there are columns: a constant
    log: Floats  # [terms] logarithm of the coefficient


@compiled()
def _sums(programme: Programme) -> _Sums:
    """The positive terms; what is negative counts in ``programme.base``."""
    columns, times = len(programme.energy), len(programme.times)
    count = 1 + times + len(programme.limits)
    start = np.zeros(count + 1, np.int64)
    column = np.empty(count * (columns + 1), np.int64)
    log = np.empty(count * (columns + 1))
    n = 0
    for r in range(count):
        for k in range(columns + 1):
            if r == 0:
                c = _energy_of(programme, k)
                if programme.drawn > 0:
                    for t in range(times):
                        c = max(c, programme.times[t, k] * programme.relief[t])
            elif r <= times:
                c = programme.times[r - 1, k] * programme.relief[r - 1]
            else:
                c = programme.limits[r - 1 - times, k] if k < columns else 0.0
            if c > 0:
                column[n], log[n] = k, np.log(c)
                n += 1
        start[r + 1] = n
    return _Sums(start, column[:n], log[:n])


@compiled()
def _energy_of(programme: Programme, k: int) -> float:
    """What a column counts in the energy, but for what time takes."""
    if k < len(programme.energy):
        return float(programme.energy[k])
    return programme.base if programme.mode == EDP else 0.0


@compiled()
def _draw(programme: Programme, sums: _Sums, rates: Floats) -> None:
    """Put what time takes into the energy: the longest time is no less than any mean of them.

    The mean is by the rates of the times, which sum to one.
    """
    for i in range(sums.start[1]):
        k = sums.column[i]
        c = max(0.0, _energy_of(programme, k))
        for t in range(len(programme.times)):
            time = programme.times[t, k] * programme.relief[t]
            if time > 0:
                c += programme.drawn * rates[1 + t] * time
        sums.log[i] = np.log(c) if c > 0 else -np.inf


@compiled()
def _log_sum(sums: _Sums, r: int, at: Floats) -> float:
    """The logarithm of a sum, its products given by their logarithms."""
    top = -np.inf
    for i in range(sums.start[r], sums.start[r + 1]):
        top = max(top, sums.log[i] + at[sums.column[i]])
    if sums.start[r + 1] - sums.start[r] < 2:
        return top
    total = 0.0
    for i in range(sums.start[r], sums.start[r + 1]):
        total += np.exp(sums.log[i] + at[sums.column[i]] - top)
    return top + float(np.log(total))


@compiled()
def _tangent(sums: _Sums, r: int, at: Floats, share: float, weights: Floats, room: Floats) -> float:
    """A linear function below *share* times the logarithm of a sum, equal to it at *at*.

    Adds its slopes to *weights* and returns its constant; *room* is scratch, one place a term.
    """
    first, end = sums.start[r], sums.start[r + 1]
    top, total, constant = -np.inf, 0.0, 0.0
    for i in range(first, end):
        top = max(top, sums.log[i] + at[sums.column[i]])
    for i in range(first, end):
        room[i] = np.exp(sums.log[i] + at[sums.column[i]] - top)
        total += room[i]
    for i in range(first, end):
        weight = room[i] / total
        constant -= weight * at[sums.column[i]]
        weights[sums.column[i]] += share * weight
    return share * (constant + top + float(np.log(total)))


@compiled()
def score(
    options: Options, where: Ints2, weights: Floats1, penalty: Floats1, scores: Floats1
) -> None:
    """What each option adds to the logarithm."""
    for o in range(len(penalty)):
        scores[o] = penalty[o]
    for b in range(len(options.starts) - 1):
        low, high = options.starts[b], options.starts[b + 1]
        part, store = scores[low:high], options.logs[b]
        for k in range(where.shape[1]):
            if where[b, k] >= 0 and weights[k] != 0.0:
                # Slices, so that the loop has no index that might be negative: it vectorises.
                weight, logs = weights[k], store[where[b, k] : where[b, k] + high - low]
                for i in range(high - low):
                    part[i] += weight * logs[i]


@compiled()
def _constant(
    programme: Programme, sums: _Sums, at: Multipliers, weights: Floats, room: Floats
) -> float:
    """The part of the bound that no option adds to; *weights* receives what columns count."""
    for k in range(len(weights)):
        weights[k] = 0.0
    if programme.drawn > 0:
        _draw(programme, sums, at.rates)
    bound = programme.discount if programme.mode == EDP else 0.0
    for r in range(len(at.rates)):
        if at.rates[r] > 0 and (programme.mode != ENERGY or not 0 < r <= len(programme.times)):
            bound += _tangent(sums, r, at.means, at.rates[r], weights, room)
    return bound


@compiled()
def _advance(programme: Programme, sums: _Sums, at: Multipliers, picked: Floats, turn: int) -> None:
    """Move the multipliers towards what the options picked."""
    times = len(programme.times)
    pull = max(TUNING.least_pull, 1.0 / (turn + 2.0))
    for k in range(len(picked)):
        at.means[k] += pull * (picked[k] - at.means[k])
    step = TUNING.price_step / (1.0 + TUNING.price_decay * turn)
    for r in range(1 + times, len(at.rates)):
        over = _log_sum(sums, r, picked)
        at.rates[r] = max(
            0.0, at.rates[r] + step * min(TUNING.price_clip, max(-TUNING.price_clip, over))
        )
    if programme.mode != ENERGY or programme.drawn > 0:
        longest, slowest = -np.inf, 1
        for r in range(1, 1 + times):
            time = _log_sum(sums, r, at.means)
            if programme.relief[r - 1] > 0 and time > longest:
                longest, slowest = time, r
        for r in range(1, 1 + times):
            at.rates[r] *= 1 - pull
        at.rates[slowest] += pull


@compiled()
def _copy(target: Floats, source: Floats) -> None:
    # Kernels spell such loops out: whole-array statements take several times as long to compile.
    for k in range(len(source)):
        target[k] = source[k]


# 104 lines: one compiled loop of the search, whose arrays are made once for all its turns.
@compiled()
def dual(
    options: Options,
    programme: Programme,
    penalty: Floats1,
    at: Multipliers,
    candidates: Ints2,
    rounds: int,
    turns: int,
    target: float,
    scores: Floats1,
    weights: Floats1,
) -> tuple[float, bool]:
    """A lower bound on the logarithm of the objective (ENERGY: of what it has beyond ``base``).

    Each round scores all options, which gives the bound, and adds the best of each block to the
    candidates; between rounds the multipliers move by what is best among the candidates.

    Args:
        at, candidates: updated in place, a good start for a similar programme.
        target: stop once the bound reaches it.
        scores, weights: receive what options and columns add to the best bound found.

    Returns:
        the bound, and whether it has settled.
    """
    blocks, columns = programme.where.shape
    sums = _sums(programme)
    best = -np.inf
    trial = np.zeros(columns + 1)
    picked = np.zeros(columns + 1)
    room = candidates.shape[1] - 1
    small = np.zeros((blocks, columns, room))
    line, terms = np.empty(room), np.empty(len(sums.log))
    top = Multipliers(at.means.copy(), at.rates.copy())
    settled = False
    for turn in range(rounds):
        bound = _constant(programme, sums, at, trial, terms)
        score(options, programme.where, trial, penalty, scores)
        new = False
        for b in range(blocks):
            low, high = options.starts[b], options.starts[b + 1]
            part, least, pick = scores[low:high], np.inf, 0
            for i in range(high - low):
                if part[i] < least:
                    least, pick = part[i], i
            bound += least
            pick += low
            listed = False
            for i in range(min(room, candidates[b, room])):
                if candidates[b, i] == pick:
                    listed = True
            if not listed:
                new = True
                candidates[b, candidates[b, room] % room] = pick
                candidates[b, room] += 1
        if bound > best or turn == 0:  # at first also where there is no bound
            best = max(best, bound)
            _copy(weights, trial)
            if best >= target:
                return best, False
        settled = not new and turn > 0
        if settled or turn == rounds - 1:
            break
        for b in range(blocks):
            logs = options.logs[b]
            for k in range(columns):
                if programme.where[b, k] >= 0:
                    where = programme.where[b, k] - options.starts[b]
                    for i in range(min(room, candidates[b, room])):
                        small[b, k, i] = logs[where + candidates[b, i]]
        inner, last, idle = -np.inf, -np.inf, 0
        for t in range(turns):
            bound = _constant(programme, sums, at, trial, terms)
            for k in range(columns):
                picked[k] = 0.0
            for b in range(blocks):
                count = min(room, candidates[b, room])
                for i in range(count):
                    line[i] = penalty[candidates[b, i]]
                for k in range(columns):
                    if programme.where[b, k] >= 0 and trial[k] != 0.0:
                        weight = trial[k]
                        for i in range(count):
                            line[i] += weight * small[b, k, i]
                pick = 0
                for i in range(1, count):
                    if line[i] < line[pick]:
                        pick = i
                bound += line[pick]
                for k in range(columns):
                    picked[k] += small[b, k, pick]
            if bound > inner:
                inner = bound
                _copy(top.means, at.means)
                _copy(top.rates, at.rates)
            idle += 1
            if inner > last + TUNING.stale:
                last, idle = inner, 0
            if idle == TUNING.patience or inner >= target + TUNING.stale:
                break
            _advance(programme, sums, at, picked, t)
        _copy(at.means, top.means)
        _copy(at.rates, top.rates)
    score(options, programme.where, weights, penalty, scores)
    return best, settled


@compiled()
def value_of(programme: Programme, least: Floats1) -> float:
    """The objective where every product is *least*; inf beyond a limit or without a mapping."""
    columns = len(programme.energy)
    for m in range(len(programme.limits)):
        need = 0.0
        for k in range(columns):
            need += programme.limits[m, k] * least[k]
        if need > 1.0 + 1e-9:
            return np.inf
    energy = programme.constant
    for k in range(columns):
        c = programme.energy[k]
        energy += c * least[k] if c >= 0 else c / least[k]
    if len(programme.times) == 0:
        return energy
    cycles = 0.0
    for t in range(len(programme.times)):
        time = programme.times[t, columns]
        for k in range(columns):
            c = programme.times[t, k]
            time += c * least[k] if c >= 0 else c / least[k]
        cycles = max(cycles, time)
    if cycles > programme.cycle_limit:
        return np.inf
    energy += programme.drawn * cycles
    if programme.mode == ENERGY:
        return energy
    return cycles if programme.mode == LATENCY else energy * cycles


@compiled()
def log_of(programme: Programme, value: float) -> float:
    """Where the dual bound must get to rule out all objectives from *value* on."""
    rest = value - programme.base if programme.mode == ENERGY else value
    return np.log(rest) if rest > 0 else -np.inf
