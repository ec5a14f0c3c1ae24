"""What a round of an adaptation tries: candidates, each a mask over the channels.

Paper mode cuts one group at a time, by the norm of its filters. Best mode decides over all groups
at once, by the error that the readers of each group suffer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from picojoule.pruning.channels import Channels
from picojoule.pruning.importance import Trace
from picojoule.pruning.optimum import Optimum, TableModel, solve, table_model
from picojoule.pruning.widths import Widths
from picojoule.workload import Layer

Mask = npt.NDArray[np.bool_]
Cost = Callable[[Layer], float]

MOST_OPTIONS = 9
"""Widths per group that the table model tells apart; a pair of groups costs their product."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One network to try.

    Args:
        name: the group that was cut, or how all were.
        keep: the channels of the parent that stay.
        resource: predicted cost.
        meets: whether the round's target is met.
        note: for the history: what is proved, why it is there.
    """

    name: str
    keep: Mask
    resource: float
    meets: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """How narrow groups may become, and in what steps.

    Args:
        step: channels removed at a time; None: :func:`natural_step`.
        floor: share of a group's first width that always stays.
        first: the first width of each group.
    """

    step: int | None
    floor: float
    first: Mapping[str, int]

    def step_of(self, name: str, width: int) -> int:
        if self.step is not None:
            return self.step
        return natural_step(self.first.get(name, width))

    def floor_of(self, name: str, width: int) -> int:
        """The narrowest width of a group, never above its present one."""
        step = self.step_of(name, width)
        first = self.first.get(name, width)
        least = max(1, min(step, first), math.ceil(self.floor * first))
        return min(width, least)

    def below(self, name: str, width: int) -> list[int]:
        """Narrower widths, the widest first: multiples of the step, then the floor."""
        step, floor = self.step_of(name, width), self.floor_of(name, width)
        found = [w for w in range((width - 1) // step * step, 0, -step) if w > floor]
        return [*found, floor] if floor < width else []

    def options(self, name: str, width: int, least_share: float) -> list[int]:
        """At most :data:`MOST_OPTIONS` widths from the present one down, evenly spread."""
        floor = max(self.floor_of(name, width), math.floor(least_share * width))
        found = [width, *(w for w in self.below(name, width) if w >= floor)]
        if found[-1] != floor and floor >= self.floor_of(name, width):
            found.append(floor)
        if len(found) > MOST_OPTIONS:
            picked = np.unique(np.linspace(0, len(found) - 1, MOST_OPTIONS).round().astype(int))
            found = [found[n] for n in picked]
        return found


def natural_step(width: int) -> int:
    """Channels that are worth removing at a time: 8 from 64 channels on, fewer below."""
    return next((s for s in (8, 4, 2) if width >= 8 * s), 1)


def mask_of(channels: Channels, traces: Mapping[str, Trace], widths: Mapping[str, int]) -> Mask:
    """The mask that leaves each group the best channels of its trace."""
    keep = channels.all_kept()
    for group in channels.groups:
        width = widths.get(group.name, group.width)
        if width < group.width:
            trace = traces[group.name]
            keep[list(trace.order)] = False
            keep[list(trace.kept(width))] = True
    return keep


def filled(channels: Channels, traces: Mapping[str, Trace], keep: Mask) -> Mask:
    """The mask with the best channel back wherever a layer or a part of a split would be empty."""
    keep = keep.copy()
    rank = {c: n for trace in traces.values() for n, c in enumerate(trace.order)}
    needed = [ids for axes in channels.axes.values() for ids in (axes.inputs, axes.outputs)]
    needed += [edit.ids for edit in channels.edits if len(edit.ids)]
    for ids in needed:
        if not keep[ids].any():
            keep[max(ids.tolist(), key=lambda channel: rank.get(channel, 0))] = True
    return keep


def least_cost(widths: Widths, limits: Limits, cost: Cost) -> float:
    """The cost with every group at its floor: no network of this method costs less."""
    floors = {name: limits.floor_of(name, width) for name, width in widths.full.items()}
    return math.fsum(map(cost, widths.at(floors)))


def paper_candidates(
    widths: Widths,
    traces: Mapping[str, Trace],
    limits: Limits,
    cost: Cost,
    target: float,
) -> list[Candidate]:
    """For each group, the fewest filters removed that meet the target (ECCV'18, Algorithm 1).

    A group that cannot meet it alone is cut to its floor, as the public code does; a group that
    cannot get narrower gives none.
    """
    channels = widths.channels
    base = [cost(layer) for layer in widths.at({})]
    whole = math.fsum(base)
    found = []
    for group in channels.groups:
        touched = widths.touching(group.name)
        chosen: tuple[int, float] | None = None
        for width in limits.below(group.name, group.width):
            layers = widths.at({group.name: width})
            price = whole + math.fsum(cost(layers[n]) - base[n] for n in touched)
            chosen = (width, price)
            if price <= target:
                break
        if chosen is None:
            continue
        keep = filled(channels, traces, mask_of(channels, traces, {group.name: chosen[0]}))
        price = math.fsum(map(cost, widths.kept(keep)))
        if price < whole:
            note = f"{group.width} to {chosen[0]} channels"
            found.append(Candidate(group.name, keep, price, price <= target, note))
    return found


def best_candidates(
    widths: Widths,
    traces: Mapping[str, Trace],
    limits: Limits,
    cost: Cost,
    target: float,
    weights: Mapping[str, float] | None = None,
) -> list[Candidate]:
    """The optimum of the table model, and its opponents: greedy steps, and all groups alike.

    Args:
        weights: by group, how much its error means to the loss; then a second optimum counts so.
    """
    channels = widths.channels
    whole = math.fsum(map(cost, widths.at({})))
    share = max(0.0, 0.5 * target / whole)  # no group shrinks far more than the round asks for
    made = []
    for least_share in (share, 0.0):
        options = {
            name: limits.options(name, width, least_share) for name, width in widths.full.items()
        }
        model = table_model(widths, options, cost)
        if model.least() <= target or least_share == 0.0:
            break
    errors = {name: _errors(traces[name], found) for name, found in model.options.items()}

    def candidate(name: str, chosen: Mapping[str, int], note: str) -> Candidate:
        keep = filled(channels, traces, mask_of(channels, traces, chosen))
        price = math.fsum(map(cost, widths.kept(keep)))
        return Candidate(name, keep, price, price <= target * (1 + 1e-9), note)

    ways = {"optimum": errors}
    if weights is not None:
        ways["optimum by loss"] = {
            name: [weights[name] * error for error in found] for name, found in errors.items()
        }
    for name, counted in ways.items():
        optimum = _exact(name, model, counted, target, candidate)
        if optimum is not None:
            made.append(optimum)
    greedy = _greedy(model, errors, target)
    made.append(candidate("greedy", greedy, "least error per cost, step by step"))
    alike = uniform_widths(widths, limits, cost, target)
    made.append(candidate("uniform", alike, "all groups by the same share"))
    unique = {found.keep.tobytes(): found for found in reversed(made)}
    return list(reversed(unique.values()))


def _errors(trace: Trace, options: Sequence[int]) -> list[float]:
    full = len(trace.order)
    return [float(trace.errors[full - width]) for width in options]


def _exact(
    name: str,
    model: TableModel,
    errors: Mapping[str, Sequence[float]],
    target: float,
    candidate: Callable[[str, Mapping[str, int], str], Candidate],
) -> Candidate | None:
    """The optimum; where the model is off (concatenations), asked again for a little less."""
    asked = target
    made = None
    for _ in range(4):
        found: Optimum = solve(model, errors, asked)
        if found.status == "unreachable":
            return made
        note = f"error {found.error:.4g}, {found.status} (bound {found.bound:.4g})"
        made = candidate(name, found.widths, note)
        if made.meets:
            return made
        asked *= target / made.resource * 0.999
    return made


def _greedy(
    model: TableModel, errors: Mapping[str, Sequence[float]], target: float
) -> dict[str, int]:
    """One option down at a time, where the error per cost saved is least, until it fits."""
    at = {name: len(found) - 1 for name, found in model.options.items()}
    price = model.cost(at)
    while price > target:
        best: tuple[float, str, float] | None = None
        for name, number in at.items():
            if number == 0:
                continue
            lower = model.cost({**at, name: number - 1})
            saved = price - lower
            if saved <= 0:
                continue
            ratio = (errors[name][number - 1] - errors[name][number]) / saved
            if best is None or ratio < best[0]:
                best = (ratio, name, lower)
        if best is None:
            break
        at[best[1]] -= 1
        price = best[2]
    return {name: model.options[name][number] for name, number in at.items()}


def uniform_widths(widths: Widths, limits: Limits, cost: Cost, target: float) -> dict[str, int]:
    """The largest common share of all widths that is within the target."""

    def scaled(percent: int) -> dict[str, int]:
        made = {}
        for name, width in widths.full.items():
            step = limits.step_of(name, width)
            near = max(step, round(width * percent / 100 / step) * step)
            made[name] = max(limits.floor_of(name, width), min(width, near))
        return made

    low, high = 1, 100  # the largest percent within the target lies in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        if math.fsum(map(cost, widths.at(scaled(middle)))) <= target:
            low = middle
        else:
            high = middle
    return scaled(low)
