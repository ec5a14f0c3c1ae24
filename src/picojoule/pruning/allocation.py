"""Which layer gets which sparsity and width: a knapsack against the energy model.

Each layer offers choices, each with the energy it costs and the error it makes; the network takes
one of each so that the energies fit the budget and the errors sum to the least. This is an integer
programme with one row for the budget and one per layer; HiGHS (in scipy) proves its optimum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, sparse

from picojoule.errors import PicojouleError


class BudgetError(PicojouleError):
    """The budget cannot be met: the answer is *no*, the question was right."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a layer may become.

    Args:
        density: share of its weights that stay.
        bits: width of its weights; None for the network's own.
        energy: per inference.
        error: of its output, relative; errors of layers are added.
    """

    density: float
    energy: float
    error: float
    bits: int | None = None


@dataclass(frozen=True, slots=True)
class Allocation:
    """One choice per layer.

    Args:
        bound: no allocation within the budget has a smaller sum of errors.
    """

    chosen: Mapping[str, Choice]
    energy: float
    error: float
    bound: float


def allocate(choices: Mapping[str, Sequence[Choice]], budget: float) -> Allocation:
    """The choices with the least sum of errors whose energies sum to at most *budget*.

    Raises:
        BudgetError: the cheapest choices together cost more.
    """
    cheapest = sum(min(choice.energy for choice in offered) for offered in choices.values())
    if cheapest > budget:
        raise BudgetError(
            f"the budget of {budget:.6g} is below {cheapest:.6g}, the energy of the sparsest "
            "network on offer: feature maps and the layers that stay cost that much"
        )
    flat = [(name, choice) for name, offered in choices.items() for choice in offered]
    energies = np.array([choice.energy for _, choice in flat])
    errors = np.array([choice.error for _, choice in flat])
    rows = {name: number for number, name in enumerate(choices)}
    one_each = sparse.csr_array(
        (np.ones(len(flat)), ([rows[name] for name, _ in flat], range(len(flat)))),
        shape=(len(rows), len(flat)),
    )
    scale = max(budget, np.finfo(float).tiny)  # HiGHS wants numbers near one
    found = optimize.milp(
        errors,
        integrality=np.ones(len(flat)),
        bounds=optimize.Bounds(0, 1),
        constraints=[
            optimize.LinearConstraint(one_each, 1, 1),
            optimize.LinearConstraint(energies[None] / scale, -np.inf, budget / scale),
        ],
        options={"mip_rel_gap": 1e-6},
    )
    if found.x is None:
        raise PicojouleError(f"the allocation was not solved: {found.message}")
    taken = {name: choice for (name, choice), x in zip(flat, found.x, strict=True) if x > 0.5}
    return Allocation(
        taken,
        sum(choice.energy for choice in taken.values()),
        sum(choice.error for choice in taken.values()),
        float(found.mip_dual_bound if found.mip_dual_bound is not None else found.fun),
    )
