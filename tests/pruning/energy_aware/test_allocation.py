"""The integer programme against all combinations."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

pytest.importorskip("scipy")

from picojoule.errors import BudgetError
from picojoule.pruning.energy_aware.allocation import Choice, allocate, least_cost


def brute(choices: dict[str, list[Choice]], errors: dict[str, list[float]], budget: float) -> float:
    best = math.inf
    for numbers in product(*(range(len(e)) for e in errors.values())):
        at = dict(zip(errors, numbers, strict=True))
        fitting = [
            [c for c in offered if all(at[b] == n for b, n in c.at)] for offered in choices.values()
        ]
        for taken in product(*fitting):
            if sum(c.energy for c in taken) <= budget:
                lost = sum(c.error for c in taken)
                best = min(best, lost + sum(errors[b][n] for b, n in at.items()))
    return best


@pytest.mark.parametrize("seed", range(20))
def test_the_programme_is_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    errors = {
        name: [0.0, *np.cumsum(rng.uniform(0, 1, rng.integers(1, 3))).tolist()] for name in "ab"
    }
    near = {"first": "a", "middle": "ab", "last": "b", "alone": ""}
    choices: dict[str, list[Choice]] = {}
    for name, bundles in near.items():
        choices[name] = []
        for numbers in product(*(range(len(errors[b])) for b in bundles)):
            for density in (1.0, 0.5, 0.2):
                energy = density * 0.5 ** sum(numbers) * rng.uniform(0.8, 1.2)
                lost = (1 - density) * rng.uniform(0.5, 2)
                at = tuple(zip(bundles, numbers, strict=True))
                choices[name].append(
                    Choice(density=density, energy=float(energy), error=float(lost), at=at)
                )
    least = least_cost(choices, errors)
    assert math.isinf(brute(choices, errors, least * 0.5))
    with pytest.raises(BudgetError):
        allocate(choices, least * 0.5, errors)
    for budget in (1.2 * least, 2 * least, 3.0):
        expected = brute(choices, errors, budget)
        if math.isinf(expected):
            continue
        found = allocate(choices, budget, errors)
        assert found.error == pytest.approx(expected, rel=2e-3, abs=1e-9)
        assert found.spent <= budget * (1 + 1e-6)
        assert found.bound <= found.error + 1e-9
        for choice in found.chosen.values():
            assert all(found.widths[bundle] == number for bundle, number in choice.at)


def test_another_cost_may_be_shared() -> None:
    choices = {"one": [Choice(density=d, energy=1.0, error=1 - d, macs=10 * d) for d in (1, 0.5)]}
    assert least_cost(choices, cost=lambda choice: choice.macs) == 5
    assert allocate(choices, 7.0, cost=lambda choice: choice.macs).chosen["one"].density == 0.5
