"""What a round of an adaptation tries: candidates, each a mask over the channels.

Paper mode cuts one group at a time, by the norm of its filters. Best mode decides over all groups
at once, by the error that the readers of each group suffer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from picojoule.pruning.graph.importance import RemovalOrder
from picojoule.pruning.graph.limits import WidthLimits
from picojoule.pruning.graph.masks import Mask, filled, mask_of
from picojoule.pruning.graph.widths import Widths
from picojoule.pruning.netadapt.optimum import Optimum, TableModel, solve, table_model
from picojoule.workload import Layer

Cost = Callable[[Layer], float]


@dataclass(frozen=True, eq=False, kw_only=True)
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


def least_cost(widths: Widths, limits: WidthLimits, cost: Cost) -> float:
    """The cost with every group at its floor: no network of this method costs less."""
    floors = {name: limits.floor_of(name, width) for name, width in widths.full.items()}
    return math.fsum(map(cost, widths.at(floors)))


def paper_candidates(
    widths: Widths,
    traces: Mapping[str, RemovalOrder],
    limits: WidthLimits,
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
    candidates = []
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
            candidates.append(
                Candidate(
                    name=group.name, keep=keep, resource=price, meets=price <= target, note=note
                )
            )
    return candidates


def best_candidates(
    widths: Widths,
    traces: Mapping[str, RemovalOrder],
    limits: WidthLimits,
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
    candidates = []
    for least_share in (share, 0.0):
        options = {
            name: limits.options(name, width, least_share) for name, width in widths.full.items()
        }
        model = table_model(widths, options, cost)
        if model.least() <= target or least_share == 0.0:
            break
    errors = {name: _errors(traces[name], each) for name, each in model.options.items()}

    def candidate(name: str, chosen: Mapping[str, int], note: str) -> Candidate:
        keep = filled(channels, traces, mask_of(channels, traces, chosen))
        price = math.fsum(map(cost, widths.kept(keep)))
        return Candidate(
            name=name, keep=keep, resource=price, meets=price <= target * (1 + 1e-9), note=note
        )

    ways = {"optimum": errors}
    if weights is not None:
        ways["optimum by loss"] = {
            name: [weights[name] * error for error in each] for name, each in errors.items()
        }
    for name, counted in ways.items():
        optimum = _exact(name, model, counted, target, candidate)
        if optimum is not None:
            candidates.append(optimum)
    greedy = _greedy(model, errors, target)
    candidates.append(candidate("greedy", greedy, "least error per cost, step by step"))
    alike = uniform_widths(widths, limits, cost, target)
    candidates.append(candidate("uniform", alike, "all groups by the same share"))
    unique = {each.keep.tobytes(): each for each in reversed(candidates)}
    return list(reversed(unique.values()))


def _errors(trace: RemovalOrder, options: Sequence[int]) -> list[float]:
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
    proposal = None
    for _ in range(4):
        optimum: Optimum = solve(model, errors, asked)
        if optimum.status == "unreachable":
            return proposal
        note = f"error {optimum.error:.4g}, {optimum.status} (bound {optimum.bound:.4g})"
        proposal = candidate(name, optimum.widths, note)
        if proposal.meets:
            return proposal
        asked *= target / proposal.resource * 0.999
    return proposal


def _greedy(
    model: TableModel, errors: Mapping[str, Sequence[float]], target: float
) -> dict[str, int]:
    """One option down at a time, where the error per cost saved is least, until it fits."""
    at = {name: len(widths) - 1 for name, widths in model.options.items()}
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


def uniform_widths(
    widths: Widths, limits: WidthLimits, cost: Cost, target: float
) -> dict[str, int]:
    """The largest common share of all widths that is within the target."""

    def scaled(percent: int) -> dict[str, int]:
        chosen = {}
        for name, width in widths.full.items():
            step = limits.step_of(name, width)
            near = max(step, round(width * percent / 100 / step) * step)
            chosen[name] = max(limits.floor_of(name, width), min(width, near))
        return chosen

    low, high = 1, 100  # the largest percent within the target lies in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        if math.fsum(map(cost, widths.at(scaled(middle)))) <= target:
            low = middle
        else:
            high = middle
    return scaled(low)
