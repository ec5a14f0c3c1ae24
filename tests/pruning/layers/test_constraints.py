"""Supports that a number, a pattern or whole filters allow."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from picojoule.errors import PicojouleError  # noqa: E402
from picojoule.pruning.layers.constraints import Filters, Pattern, Unstructured  # noqa: E402

SCORES = torch.tensor([[[5.0, 1.0, 4.0, 2.0, 3.0], [0.0, 6.0, 0.0, 0.0, 7.0]]])


def test_supports_by_hand() -> None:
    assert Unstructured(3).support(SCORES).int().tolist() == [[[1, 0, 0, 0, 0], [0, 1, 0, 0, 1]]]
    assert Pattern(1, 2).support(SCORES).int().tolist() == [[[1, 0, 1, 0, 1], [0, 1, 1, 0, 1]]]
    assert Filters(1).support(SCORES).int().tolist() == [[[0] * 5, [1] * 5]]


@pytest.mark.parametrize("constraint", [Unstructured(4), Pattern(2, 4), Filters(1), Filters(0)])
def test_a_support_satisfies_its_constraint(constraint: Unstructured | Pattern | Filters) -> None:
    assert constraint.satisfied(constraint.support(SCORES))
    assert not constraint.satisfied(torch.ones_like(SCORES, dtype=torch.bool))


def test_a_pattern_keeps_some_of_its_neighbours() -> None:
    with pytest.raises(PicojouleError, match="0 < n <= m"):
        Pattern(5, 4)
