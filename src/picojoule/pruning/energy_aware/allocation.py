"""Which layer gets which width and which sparsity: a knapsack against the energy model.

Each layer offers choices, each with the energy it costs and the error it makes; the network takes
one of each so that the energies fit the budget and the errors sum to the least. Where layers get
narrower, a choice presupposes the widths on both sides of its layer, and widths have errors of
their own. This is an integer programme with one row for the budget, one per layer, and one per
layer, width and side; HiGHS (in scipy) proves its optimum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
from scipy import optimize, sparse

from picojoule.errors import BudgetError, PicojouleError
from picojoule.pruning.milp import milp


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a layer may become.

    Args:
        density: share of its weights that stay.
        bits: width of its weights; None for the network's own.
        energy: per inference.
        error: of its output, relative; errors of layers are added.
        macs: per inference, with weights that are not zero.
        weights: how many are not zero.
        at: what it presupposes: by bundle of groups, the number of its width.
    """

    density: float
    energy: float
    error: float
    bits: int | None = None
    macs: float = 0.0
    weights: float = 0.0
    at: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """One choice per layer.

    Args:
        widths: by bundle, the number of its width.
        spent: of the budget.
        bound: no allocation within the budget has a smaller sum of errors.
    """

    chosen: Mapping[str, Choice]
    widths: Mapping[str, int]
    spent: float
    error: float
    bound: float = field(compare=False)


GAP = 1e-3  # relative; the errors that are added are less certain than that
MOST_NODES = 20_000  # of the search tree: a limit that, unlike time, is the same on every machine


def allocate(
    choices: Mapping[str, Sequence[Choice]],
    budget: float,
    widths: Mapping[str, Sequence[float]] | None = None,
    cost: Callable[[Choice], float] = attrgetter("energy"),
) -> Allocation:
    """The choices with the least sum of errors whose costs sum to at most *budget*.

    Args:
        widths: by bundle, the error of each of its widths.
        cost: of a choice, in the unit of the budget.

    Raises:
        BudgetError: the cheapest choices together cost more.
    """
    bundles = widths or {}
    flat = [(name, choice) for name, offered in choices.items() for choice in offered]
    first: dict[str, int] = {}
    count = len(flat)
    for name, errors in bundles.items():
        first[name] = count
        count += len(errors)
    costs, objective = np.zeros(count), np.zeros(count)
    costs[: len(flat)] = [cost(choice) for _, choice in flat]
    objective[: len(flat)] = [choice.error for _, choice in flat]
    for name, errors in bundles.items():
        objective[first[name] : first[name] + len(errors)] = errors
    equal = _Rows()
    for name, errors in bundles.items():
        equal.add({first[name] + number: 1.0 for number in range(len(errors))}, 1.0)
    presupposed: dict[tuple[str, str, int], dict[int, float]] = {}
    one: dict[str, dict[int, float]] = {name: {} for name in choices}
    for number, (name, choice) in enumerate(flat):
        one[name][number] = 1.0
        for bundle, width in choice.at:
            presupposed.setdefault((name, bundle, width), {})[number] = 1.0
    for row in one.values():
        equal.add(row, 1.0)
    for (_, bundle, width), row in presupposed.items():
        equal.add({**row, first[bundle] + width: -1.0}, 0.0)
    scale = max(budget, np.finfo(float).tiny)  # HiGHS wants numbers near one
    solution = milp(
        objective,
        integrality=np.ones(count),
        bounds=optimize.Bounds(0, 1),
        constraints=[
            optimize.LinearConstraint(equal.matrix(count), equal.values, equal.values),
            optimize.LinearConstraint(costs[None] / scale, -np.inf, budget / scale),
        ],
        options={"mip_rel_gap": GAP, "node_limit": MOST_NODES},
    )
    if solution.x is None:
        least = least_cost(choices, widths, cost)
        if least > budget:
            raise BudgetError(
                f"the budget of {budget:.6g} is below {least:.6g}, the energy of the smallest "
                "network on offer: feature maps and the layers that stay cost that much",
                least,
            )
        raise PicojouleError(f"the allocation was not solved: {solution.message}")
    taken = {name: choice for (name, choice), x in zip(flat, solution.x, strict=False) if x > 0.5}
    return Allocation(
        chosen=taken,
        widths={
            name: int(np.argmax(solution.x[first[name] : first[name] + len(errors)]))
            for name, errors in bundles.items()
        },
        spent=sum(cost(choice) for choice in taken.values()),
        error=float(objective @ np.round(solution.x)),
        bound=float(
            solution.mip_dual_bound if solution.mip_dual_bound is not None else solution.fun
        ),
    )


def least_cost(
    choices: Mapping[str, Sequence[Choice]],
    widths: Mapping[str, Sequence[float]] | None = None,
    cost: Callable[[Choice], float] = attrgetter("energy"),
) -> float:
    """What the cheapest choice of every layer costs, everything at its narrowest."""
    narrowest = {name: len(errors) - 1 for name, errors in (widths or {}).items()}
    return sum(
        min(cost(x) for x in offered if all(narrowest[name] == n for name, n in x.at))
        for offered in choices.values()
    )


class _Rows:
    """Rows of a sparse matrix, as they come."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, float]] = []
        self.values: list[float] = []

    def add(self, row: Mapping[int, float], value: float) -> None:
        self._entries += [(len(self.values), column, x) for column, x in row.items()]
        self.values.append(value)

    def matrix(self, columns: int) -> sparse.csr_array:
        rows, places, numbers = zip(*self._entries, strict=True)
        return sparse.csr_array((numbers, (rows, places)), shape=(len(self.values), columns))
