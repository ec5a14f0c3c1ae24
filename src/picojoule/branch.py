"""Branch and bound over products of per-dimension factors.

The search problem, whatever the machine: choose one option for each *block* (a dimension, or a
window pair) to minimise a sum of products. Options of a block are gathered into *groups* of equal
outermost tile count; the search first fixes a group for every block (which decides the outermost
memory's traffic), then an option within each group. A node's bound is exact in what is chosen and
takes, count by count, the least of what is not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from picojoule.tilings import Floats, Ints

ENERGY, LATENCY, EDP = 0, 1, 2


class Options(NamedTuple):
    """The options of all blocks, concatenated, sorted by block and group."""

    blocks: Ints  # [blocks + 1] first group of each block
    groups: Ints  # [groups + 1] first option of each group
    factors: Floats  # [options, monomials]
    tiles: Floats  # [options, capacity monomials]
    fans: Ints  # [options, arrays, 2] unrolling of the block's dimensions
    dims: Ints  # [blocks, 2] index of those dimensions (-1: none)


class Objective(NamedTuple):
    """What to minimise, linear in the monomials but for the two rules noted."""

    mode: int
    constant: float
    energy: Floats  # [monomials]
    shared: Floats  # [shared hops, 3]: outside and inside monomial, energy where they differ
    static: float  # energy per cycle
    steps: int  # the monomial that counts steps (-1: not needed)
    per_step: float  # cycles per step
    times: Floats  # [limited memories and networks, monomials + 1] cycles; last: constant
    shared_times: Floats  # [limited, shared hops] cycles per inside word where they differ
    outside: Ints  # [the same] the arrays outside it, as their number: instances work side by side
    cycle_limit: float


class Limits(NamedTuple):
    """Capacities and arrays."""

    weights: Floats  # [memories, capacity monomials] bits per word
    capacity: Floats  # [memories]
    sizes: Floats  # [arrays] elements
    axes: Ints  # [arrays, axes] length; 0: no such axis
    allowed: Ints  # [arrays, axes] bit mask of dimensions


@njit(cache=True)
def packable(fans: Ints, dims: Ints, axes: Ints, allowed: Ints) -> bool:
    """Whether unrollings fit an array: each split over the axes, no axis overfull."""
    count = 0
    need = np.empty(len(fans), np.int64)
    which = np.empty(len(fans), np.int64)
    for i in range(len(fans)):
        if fans[i] > 1:
            need[count], which[count] = fans[i], dims[i]
            count += 1
    if count == 0:
        return True
    k = len(axes)
    # Depth-first over splits; split[i, a] is the factor of dimension i along axis a.
    split = np.ones((count, k), np.int64)
    left = np.empty((count + 1, k), np.int64)
    left[0] = axes
    i = 0
    fresh = True
    while True:
        if i == count:
            return True
        # Next split of dimension i: count up the factors of all axes but the last.
        if fresh:
            split[i] = 1
            found = True
        else:
            found = False
            for a in range(k - 1):
                limit = left[i, a] if allowed[a] >> which[i] & 1 else 1
                if split[i, a] < min(limit, need[i]):
                    split[i, a] += 1
                    for b in range(a):
                        split[i, b] = 1
                    found = True
                    break
        if not found:
            i -= 1
            if i < 0:
                return False
            fresh = False
            continue
        have = 1
        for a in range(k - 1):
            have *= split[i, a]
        last = -(-need[i] // have)
        limit = left[i, k - 1] if allowed[k - 1] >> which[i] & 1 else 1
        if last > limit:
            fresh = False
            continue
        split[i, k - 1] = last
        fits = True
        for a in range(k):
            left[i + 1, a] = left[i, a] // split[i, a]
            if left[i + 1, a] < 1:
                fits = False
        fresh = fits
        if fits:
            i += 1


@njit(cache=True)
def value_of(
    low: Floats, high: Floats, instances: Floats, differs: Floats, objective: Objective
) -> float:
    """The objective for products between *low* and *high*; the bound if they differ."""
    energy = objective.constant
    for k in range(len(objective.energy)):
        c = objective.energy[k]
        energy += c * (low[k] if c > 0 else high[k])
    for h in range(len(objective.shared)):
        if differs[h] > 0:
            energy += objective.shared[h, 2] * low[int(objective.shared[h, 1])]
    cycles = 0.0
    if objective.steps >= 0:
        cycles = low[objective.steps] * objective.per_step
        for t in range(len(objective.times)):
            time = objective.times[t, -1]
            for k in range(len(objective.energy)):
                c = objective.times[t, k]
                time += c * (low[k] if c > 0 else high[k])
            for h in range(len(objective.shared)):
                if differs[h] > 0:
                    time += objective.shared_times[t, h] * low[int(objective.shared[h, 1])]
            cycles = max(cycles, time / instances[objective.outside[t]])
        if cycles > objective.cycle_limit:
            return np.inf
        energy += objective.static * cycles
    if objective.mode == ENERGY:
        return energy
    if objective.mode == LATENCY:
        return cycles
    return energy * cycles


@njit(cache=True)
def search(
    options: Options,
    objective: Objective,
    limits: Limits,
    incumbent: float,
    node_limit: int,
) -> tuple[float, Ints, int, int, bool]:
    """Find the best choice that beats *incumbent*.

    Returns:
        its value (*incumbent* if there is none), the option of each block (-1 if none), options
        and groups looked at, those discarded by a bound or a limit, and whether the search ended
        because nothing was left.
    """
    blocks = len(options.blocks) - 1
    n_groups = len(options.groups) - 1
    monomials = options.factors.shape[1]
    capacities = options.tiles.shape[1]
    arrays = options.fans.shape[1]
    shared = len(objective.shared)
    width = 2 * monomials + capacities + 2 * arrays
    # One row per option: least factors, greatest factors, tiles, elements, 1 / elements.
    n_options = len(options.factors)
    rows = np.ones((n_options, width))
    for o in range(n_options):
        rows[o, :monomials] = options.factors[o]
        rows[o, monomials : 2 * monomials] = options.factors[o]
        rows[o, 2 * monomials : 2 * monomials + capacities] = options.tiles[o]
        for a in range(arrays):
            elements = 1.0 * options.fans[o, a, 0] * options.fans[o, a, 1]
            rows[o, 2 * monomials + capacities + a] = elements
            rows[o, 2 * monomials + capacities + arrays + a] = elements
    group_rows = np.ones((n_groups, width))
    group_same = np.ones((n_groups, shared + 1), np.bool_)  # some option has inside == outside
    for g in range(n_groups):
        for j in range(width):
            most = monomials <= j < 2 * monomials or j >= 2 * monomials + capacities + arrays
            value = rows[options.groups[g], j]
            for o in range(options.groups[g] + 1, options.groups[g + 1]):
                value = max(value, rows[o, j]) if most else min(value, rows[o, j])
            group_rows[g, j] = value
        for h in range(shared):
            a, b = int(objective.shared[h, 0]), int(objective.shared[h, 1])
            group_same[g, h] = False
            for o in range(options.groups[g], options.groups[g + 1]):
                if options.factors[o, a] == options.factors[o, b]:
                    group_same[g, h] = True
                    break
    # Products of what is not chosen yet: over later blocks, of the best group or option.
    rest = np.ones((2 * blocks + 1, width))
    for b in range(blocks - 1, -1, -1):
        for j in range(width):
            most = monomials <= j < 2 * monomials or j >= 2 * monomials + capacities + arrays
            value = group_rows[options.blocks[b], j]
            for g in range(options.blocks[b] + 1, options.blocks[b + 1]):
                value = max(value, group_rows[g, j]) if most else min(value, group_rows[g, j])
            rest[b, j] = rest[b + 1, j] * value

    best = incumbent
    chosen = np.full(blocks, -1, np.int64)
    group = np.zeros(blocks, np.int64)
    option = np.zeros(blocks, np.int64)
    product = np.ones((2 * blocks + 1, width))
    differs = np.zeros((2 * blocks + 1, shared + 1))
    pointer = np.zeros(2 * blocks + 1, np.int64)
    line = np.empty(width)
    instances = np.ones(arrays + 1)
    explored = pruned = 0
    tail = np.ones((blocks + 1, width))
    depth = 0
    pointer[0] = options.blocks[0]
    while depth >= 0:
        second = depth >= blocks
        b = depth - blocks if second else depth
        end = options.groups[group[b] + 1] if second else options.blocks[b + 1]
        if pointer[depth] == end:
            depth -= 1
            continue
        here = pointer[depth]
        pointer[depth] += 1
        explored += 1
        if explored > node_limit:
            return best, chosen, explored, pruned, False
        row = rows[here] if second else group_rows[here]
        later = tail[b + 1] if second else rest[b + 1]
        for j in range(width):
            product[depth + 1, j] = product[depth, j] * row[j]
            line[j] = product[depth + 1, j] * later[j]
        fits = True
        for m in range(len(limits.capacity)):
            need = 0.0
            for j in range(capacities):
                need += limits.weights[m, j] * line[2 * monomials + j]
            if need > limits.capacity[m]:
                fits = False
                break
        if fits:
            for a in range(arrays):
                if line[2 * monomials + capacities + a] > limits.sizes[a]:
                    fits = False
                instances[a + 1] = instances[a] * min(
                    limits.sizes[a], line[2 * monomials + capacities + arrays + a]
                )
        if not fits:
            pruned += 1
            continue
        for h in range(shared):
            x, y = int(objective.shared[h, 0]), int(objective.shared[h, 1])
            new = row[x] != row[y] if second else not group_same[here, h]
            differs[depth + 1, h] = 1.0 if new or differs[depth, h] > 0 else 0.0
        value = value_of(
            line[:monomials],
            line[monomials : 2 * monomials],
            instances,
            differs[depth + 1],
            objective,
        )
        if value >= best:
            pruned += 1
            continue
        if not second:
            group[b] = here
            depth += 1
            if depth < blocks:
                pointer[depth] = options.blocks[depth]
                continue
            # All groups are fixed: start on options.
            for c in range(blocks - 1, -1, -1):
                for j in range(width):
                    tail[c, j] = tail[c + 1, j] * group_rows[group[c], j]
            product[depth] = 1.0
            differs[depth] = 0.0
            pointer[depth] = options.groups[group[0]]
            continue
        option[b] = here
        fits = True
        for a in range(arrays):
            fans = np.ones(2 * (b + 1), np.int64)
            dims = np.zeros(2 * (b + 1), np.int64)
            for c in range(b + 1):
                for i in range(2):
                    fans[2 * c + i] = options.fans[option[c], a, i]
                    dims[2 * c + i] = max(0, options.dims[c, i])
            if not packable(fans, dims, limits.axes[a], limits.allowed[a]):
                fits = False
                break
        if not fits:
            pruned += 1
            continue
        if b == blocks - 1:
            best = value
            chosen[:] = option
            continue
        depth += 1
        pointer[depth] = options.groups[group[b + 1]]
    return best, chosen, explored, pruned, True
