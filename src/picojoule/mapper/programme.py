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

from picojoule.compiled.arrays import Floats1, Floats2, Ints1, Ints2
from picojoule.compiled.functions import compiled
from picojoule.mapper.kernels import Floats, Ints
from picojoule.mapper.options import BUCKET, Bars, Options, allows
from picojoule.mapper.tuning import TUNING

ENERGY, LATENCY, EDP = 0, 1, 2


class Beyond(NamedTuple):
    """Words that count only as far as they are more than others: all but the first touches.

    Of words ``x``, which are ``y`` times those others (at least once), ``x (1 - 1 / y)`` count.
    Both factors grow with x and y, so the least of each bounds it.
    """

    words: Ints1  # [parts] column of the words
    times: Ints1  # [parts] column of how many times the others they are
    against: Floats1  # [parts] the reciprocal of the factor that does not vary of that column
    coefficients: Floats2  # [1 + times, parts] of the energy and of each time
    share: Floats1  # [parts] the least share of the words that counts


NOTHING_BEYOND = Beyond(
    words=np.empty(0, np.int64),
    times=np.empty(0, np.int64),
    against=np.empty(0),
    coefficients=np.empty((2, 0)),
    share=np.empty(0),
)
"""For a programme with one time in which all words count."""


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
    beyond: Beyond
    limits: Floats2  # [limits, columns] coefficients of sums that may not exceed 1
    axes: Ints2  # [arrays, axes] length; 0: no such axis
    allowed: Ints2  # [arrays, axes] bit mask of dimensions


@compiled()
def rewritten(
    programme: Programme,
    where: Ints2,
    energy: Floats1,
    times: Floats2,
    limits: Floats2,
    beyond: Beyond,
) -> Programme:
    """The programme over other columns or other options."""
    return Programme(
        where=where,
        mode=programme.mode,
        constant=programme.constant,
        base=programme.base,
        discount=programme.discount,
        energy=energy,
        drawn=programme.drawn,
        times=times,
        relief=programme.relief,
        cycle_limit=programme.cycle_limit,
        beyond=beyond,
        limits=limits,
        axes=programme.axes,
        allowed=programme.allowed,
    )


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
                        c = max(c, _time_of(programme, t, k))
            elif r <= times:
                c = _time_of(programme, r - 1, k)
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
        return float(programme.energy[k]) + _beyond_of(programme, 0, k)
    return programme.base if programme.mode == EDP else 0.0


@compiled()
def _time_of(programme: Programme, t: int, k: int) -> float:
    """What a column counts at least in a time."""
    time = programme.times[t, k] + _beyond_of(programme, 1 + t, k)
    return float(time * programme.relief[t])


@compiled()
def _beyond_of(programme: Programme, row: int, k: int) -> float:
    """What a column counts at least in a sum for words that count only beyond others."""
    beyond, total = programme.beyond, 0.0
    for n in range(len(beyond.words)):
        if beyond.words[n] == k:
            total += beyond.coefficients[row, n] * beyond.share[n]
    return total


@compiled()
def _beyond_at(programme: Programme, row: int, at: Floats) -> float:
    """What words that count only beyond others add to a sum, its products *at* these."""
    beyond, total = programme.beyond, 0.0
    for n in range(len(beyond.words)):
        words = at[beyond.words[n]]
        total += (
            beyond.coefficients[row, n] * words * (1.0 - beyond.against[n] / at[beyond.times[n]])
        )
    return total


@compiled()
def _draw(programme: Programme, sums: _Sums, rates: Floats) -> None:
    """Put what time takes into the energy: the longest time is no less than any mean of them.

    The mean is by the rates of the times, which sum to one.
    """
    for i in range(sums.start[1]):
        k = sums.column[i]
        c = max(0.0, _energy_of(programme, k))
        for t in range(len(programme.times)):
            time = _time_of(programme, t, k)
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


class _Terms(NamedTuple):
    """The terms of a block's scores: what the factors of its options count in the logarithm."""

    weight: Floats1
    option: Ints1  # where the logarithms of the options begin
    bucket: Ints1  # where those of the buckets do


@compiled()
def _terms(options: Options, b: int, where: Ints2, weights: Floats1) -> _Terms:
    columns = where.shape[1]
    weight, option = np.empty(columns), np.empty(columns, np.int64)
    bucket = np.empty(columns, np.int64)
    size = options.starts[b + 1] - options.starts[b]
    count = 0
    for k in range(columns):
        if where[b, k] >= 0 and weights[k] != 0.0:
            weight[count], option[count] = weights[k], where[b, k]
            bucket[count] = where[b, k] // size * -(-size // BUCKET)
            count += 1
    return _Terms(weight[:count], option[:count], bucket[:count])


@compiled()
def _add_up(store: Floats1, weight: Floats1, starts: Ints1, at: int, scores: Floats1) -> None:
    """Weighted sums of so many entries, from *at* on behind each start."""
    for i in range(len(scores)):
        scores[i] = 0.0
    for k in range(len(weight)):
        # Slices, so that the loop has no index that might be negative: it vectorises.
        part, factor = store[starts[k] + at : starts[k] + at + len(scores)], weight[k]
        for i in range(len(scores)):
            scores[i] += factor * part[i]


@compiled()
def _score_bucket(options: Options, b: int, terms: _Terms, bucket: int, scores: Floats1) -> Floats1:
    """What each option of a bucket adds to the logarithm, in *scores*, as far as it is used."""
    low, high = options.starts[b], options.starts[b + 1]
    at = bucket * BUCKET
    part = scores[: min(BUCKET, high - low - at)]
    _add_up(options.logs[b], terms.weight, terms.option, at, part)
    return part


@compiled()
def _bound_buckets(options: Options, b: int, terms: _Terms, bounds: Floats1) -> Floats1:
    """What each bucket of a block adds at least, in *bounds*, as far as it is used."""
    size = options.starts[b + 1] - options.starts[b]
    part = bounds[: -(-size // BUCKET)]
    if len(options.lows[b]) > 0:
        _add_up(options.lows[b], terms.weight, terms.bucket, 0, part)
    else:
        for j in range(len(part)):
            part[j] = -np.inf
    return part


@compiled()
def _least_score(
    options: Options, b: int, terms: _Terms, bars: Bars, bounds: Floats1
) -> tuple[float, int]:
    """The least that an option of a block adds to the logarithm, and its number; inf: none may.

    Args:
        bounds: what each of its buckets adds at least.
    """
    if len(bounds) == 0:
        return np.inf, options.starts[b]
    first = 0
    for j in range(1, len(bounds)):
        if bounds[j] < bounds[first]:
            first = j
    scores = np.empty(BUCKET)
    least, pick = np.inf, options.starts[b]
    for turn in range(-1, len(bounds)):
        j = first if turn < 0 else turn
        if turn == first or bounds[j] >= least:
            continue
        line = _score_bucket(options, b, terms, j, scores)
        for i in range(len(line)):
            option = options.starts[b] + j * BUCKET + i
            if line[i] < least and allows(options, bars, b, option):
                least, pick = line[i], option
    return least, pick


@compiled()
def living(
    options: Options,
    where: Ints2,
    weights: Floats1,
    bars: Bars,
    floor: float,
    target: float,
) -> tuple[Ints1, Ints1, Floats1]:
    """Options that do not lift the dual bound to *target*.

    Args:
        weights, floor: of the dual bound.

    Returns:
        their numbers, the first of each block among them, and by how much they lift it.
    """
    blocks, count = len(where), options.starts[len(where)]
    kept, lifts = np.empty(count, np.int64), np.empty(count)
    first, bounds, scores = np.zeros(blocks + 1, np.int64), np.empty(count), np.empty(BUCKET)
    n = 0
    for b in range(blocks):
        terms = _terms(options, b, where, weights)
        part = _bound_buckets(options, b, terms, bounds)
        least, _ = _least_score(options, b, terms, bars, part)
        for j in range(len(part)):
            if least == np.inf or floor + (part[j] - least) >= target:
                continue
            line = _score_bucket(options, b, terms, j, scores)
            for i in range(len(line)):
                option = options.starts[b] + j * BUCKET + i
                # What is forbidden may score less than all that is not.
                if floor + (line[i] - least) < target and allows(options, bars, b, option):
                    kept[n], lifts[n] = option, line[i] - least
                    n += 1
        first[b + 1] = n
    return kept[:n], first, lifts[:n]


class _Plan(NamedTuple):
    """What the steps of the dual bound read of a programme: a call copies what it passes."""

    mode: int
    discount: float
    drawn: float
    relief: Floats


@compiled()
def _constant(plan: _Plan, sums: _Sums, at: Multipliers, weights: Floats, room: Floats) -> float:
    """The part of the bound that no option adds to; *weights* receives what columns count."""
    for k in range(len(weights)):
        weights[k] = 0.0
    bound = plan.discount if plan.mode == EDP else 0.0
    for r in range(len(at.rates)):
        if at.rates[r] > 0 and (plan.mode != ENERGY or not 0 < r <= len(plan.relief)):
            bound += _tangent(sums, r, at.means, at.rates[r], weights, room)
    return bound


@compiled()
def _advance(plan: _Plan, sums: _Sums, at: Multipliers, picked: Floats, turn: int) -> None:
    """Move the multipliers towards what the options picked."""
    times = len(plan.relief)
    pull = max(TUNING.least_pull, 1.0 / (turn + 2.0))
    for k in range(len(picked)):
        at.means[k] += pull * (picked[k] - at.means[k])
    step = TUNING.price_step / (1.0 + TUNING.price_decay * turn)
    for r in range(1 + times, len(at.rates)):
        over = _log_sum(sums, r, picked)
        at.rates[r] = max(
            0.0, at.rates[r] + step * min(TUNING.price_clip, max(-TUNING.price_clip, over))
        )
    if plan.mode != ENERGY or plan.drawn > 0:
        longest, slowest = -np.inf, 1
        for r in range(1, 1 + times):
            time = _log_sum(sums, r, at.means)
            if plan.relief[r - 1] > 0 and time > longest:
                longest, slowest = time, r
        for r in range(1, 1 + times):
            at.rates[r] *= 1 - pull
        at.rates[slowest] += pull


@compiled()
def _copy(target: Floats, source: Floats) -> None:
    # Kernels spell such loops out: whole-array statements take several times as long to compile.
    for k in range(len(source)):
        target[k] = source[k]


@compiled()
def _counted(programme: Programme, sums: _Sums) -> Ints:
    """The columns of which a sum has terms, and which vary."""
    columns = len(programme.energy)
    counts = np.zeros(columns + 1, np.bool_)
    for i in range(len(sums.column)):
        counts[sums.column[i]] = True
    counted, n = np.empty(columns, np.int64), 0
    for k in range(columns):
        varies = False
        for b in range(len(programme.where)):
            varies |= programme.where[b, k] >= 0
        if counts[k] and varies:
            counted[n] = k
            n += 1
    return counted[:n]


# 104 lines: one compiled loop of the search, whose arrays are made once for all its turns.
@compiled()
def dual(
    options: Options,
    programme: Programme,
    bars: Bars,
    at: Multipliers,
    candidates: Ints2,
    rounds: int,
    turns: int,
    target: float,
    weights: Floats1,
) -> tuple[float, bool]:
    """A lower bound on the logarithm of the objective (ENERGY: of what it has beyond ``base``).

    Each round scores all options, which gives the bound, and adds the best of each block to the
    candidates; between rounds the multipliers move by what is best among the candidates.

    Args:
        at, candidates: updated in place, a good start for a similar programme.
        target: stop once the bound reaches it.
        weights: receives what columns add to the best bound found.

    Returns:
        the bound, and whether it has settled.
    """
    blocks, columns = programme.where.shape
    sums = _sums(programme)
    plan = _Plan(programme.mode, programme.discount, programme.drawn, programme.relief)
    best = -np.inf
    trial = np.zeros(columns + 1)
    picked = np.zeros(columns + 1)
    room = candidates.shape[1] - 1
    counted = _counted(programme, sums)
    small, buckets = np.empty((len(counted), blocks * room)), np.empty(options.starts[blocks])
    first, line = np.zeros(blocks + 1, np.int64), np.empty(blocks * room)
    charge, terms = np.empty(blocks * room), np.empty(len(sums.log))
    top = Multipliers(at.means.copy(), at.rates.copy())
    settled = False
    for turn in range(rounds):
        if programme.drawn > 0:
            _draw(programme, sums, at.rates)
        bound = _constant(plan, sums, at, trial, terms)
        new = False
        for b in range(blocks):
            scored = _terms(options, b, programme.where, trial)
            bounds = _bound_buckets(options, b, scored, buckets)
            least, pick = _least_score(options, b, scored, bars, bounds)
            bound += least
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
            logs, begin = options.logs[b], first[b]
            first[b + 1] = begin + min(room, candidates[b, room])
            for i in range(first[b + 1] - begin):
                may = allows(options, bars, b, candidates[b, i])
                charge[begin + i] = 0.0 if may else np.inf
            for n in range(len(counted)):
                where = programme.where[b, counted[n]]
                for i in range(first[b + 1] - begin):
                    small[n, begin + i] = 0.0
                    if where >= 0:
                        small[n, begin + i] = logs[where + candidates[b, i] - options.starts[b]]
        count = first[blocks]
        inner, last, idle = -np.inf, -np.inf, 0
        for t in range(turns):
            if programme.drawn > 0:
                _draw(programme, sums, at.rates)
            bound = _constant(plan, sums, at, trial, terms)
            # All blocks' candidates side by side: these are the innermost loops of the bound.
            scores = line[:count]
            for i in range(count):
                scores[i] = charge[i]
            for n in range(len(counted)):
                weight, part = trial[counted[n]], small[n]
                for i in range(count):
                    scores[i] += weight * part[i]
            for n in range(len(counted)):
                picked[counted[n]] = 0.0
            for b in range(blocks):
                pick = first[b]
                for i in range(pick + 1, first[b + 1]):
                    if scores[i] < scores[pick]:
                        pick = i
                bound += scores[pick]
                for n in range(len(counted)):
                    picked[counted[n]] += small[n, pick]
            if bound > inner:
                inner = bound
                _copy(top.means, at.means)
                _copy(top.rates, at.rates)
            idle += 1
            if inner > last + TUNING.stale:
                last, idle = inner, 0
            if idle == TUNING.patience or inner >= target + TUNING.stale:
                break
            _advance(plan, sums, at, picked, t)
        _copy(at.means, top.means)
        _copy(at.rates, top.rates)
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
    energy += _beyond_at(programme, 0, least)
    if len(programme.times) == 0:
        return energy
    cycles = 0.0
    for t in range(len(programme.times)):
        time = programme.times[t, columns]
        for k in range(columns):
            c = programme.times[t, k]
            time += c * least[k] if c >= 0 else c / least[k]
        time += _beyond_at(programme, 1 + t, least)
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
