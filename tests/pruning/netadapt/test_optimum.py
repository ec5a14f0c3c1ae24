"""The optimum of the table model against the enumeration of all choices."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

pytest.importorskip("torch")

from picojoule.pruning.netadapt import optimum
from picojoule.pruning.netadapt.optimum import TableModel, chain_of, solve

NAMES = ("a", "b", "c", "d")
CHAIN = (("a", "b"), ("b", "c"), ("c", "d"))
RESIDUAL = (*CHAIN, ("a", "c"), ("b", "d"))


def random_model(
    seed: int, links: tuple[tuple[str, str], ...]
) -> tuple[TableModel, dict[str, list[float]]]:
    rng = np.random.default_rng(seed)
    options = {name: tuple(range(1, 2 + n % 3 + 1)) for n, name in enumerate(NAMES)}

    def rising(*names: str) -> np.ndarray:
        sizes = [len(options[name]) for name in names]
        return rng.random(sizes) + sum(np.indices(sizes))

    model = TableModel(
        options, 0.5, {n: rising(n) for n in NAMES}, {pair: rising(*pair) for pair in links}
    )
    errors = {n: sorted(rng.random(len(options[n])).tolist(), reverse=True) for n in NAMES}
    return model, errors


@pytest.mark.parametrize("links", [CHAIN, RESIDUAL, (), (("a", "b"), ("c", "d"))])
@pytest.mark.parametrize("seed", range(6))
def test_no_choice_is_better(seed: int, links: tuple[tuple[str, str], ...]) -> None:
    model, errors = random_model(seed, links)
    choices = [
        dict(zip(NAMES, picked, strict=True))
        for picked in itertools.product(*(range(len(model.options[n])) for n in NAMES))
    ]
    costs = sorted(model.cost(choice) for choice in choices)
    for budget in (costs[0], costs[len(costs) // 3], costs[-1], costs[0] * 0.99):
        best = min(
            (
                sum(errors[n][choice[n]] for n in NAMES)
                for choice in choices
                if model.cost(choice) <= budget * (1 + 1e-9)
            ),
            default=math.inf,
        )
        for found in (
            solve(model, errors, budget),
            optimum._by_milp(
                model, {n: np.array(e) for n, e in errors.items()}, budget * (1 + 1e-9), 10
            ),
        ):
            assert found.error == pytest.approx(best)
            assert found.status == ("optimal" if best < math.inf else "unreachable")
            if best < math.inf:
                assert found.cost <= budget * (1 + 1e-6)
                assert found.bound == pytest.approx(best)


def test_chains_are_recognised() -> None:
    assert chain_of(random_model(0, CHAIN)[0]) in (list(NAMES), list(reversed(NAMES)))
    assert chain_of(random_model(0, RESIDUAL)[0]) is None
    ring = (("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"))
    assert chain_of(random_model(0, ring)[0]) is None


def test_many_labels_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model, errors = random_model(1, CHAIN)
    exact = solve(model, errors, 9.0)
    monkeypatch.setattr(optimum, "MOST_LABELS", 0)
    assert solve(model, errors, 9.0).error == pytest.approx(exact.error)
