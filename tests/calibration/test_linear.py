"""Least squares of relative errors, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from picojoule.calibration.linear import PULL, LinearFit, weights_of


def problem(
    coefficients: list[list[float]],
    measured: list[float],
    *,
    rest: list[float] | None = None,
    prior: list[float] | None = None,
    status: list[str] | None = None,
    weigh: str = "rows",
) -> LinearFit:
    count = len(coefficients[0])
    return LinearFit(
        coefficients=np.array(coefficients, float),
        rest=np.array(rest or [0.0] * len(measured)),
        measured=np.array(measured, float),
        weights=weights_of(np.array(measured, float), weigh),
        prior=np.array(prior or [0.0] * count, float),
        pull=np.array([PULL[word] for word in status or ["unstated"] * count]),
    )


def test_one_constant_exactly() -> None:
    # 2 x + 1 = 7 and 4 x + 1 = 13: x = 3
    fit = problem([[2], [4]], [7, 13], rest=[1, 1])
    assert fit.solve() == pytest.approx([3])
    assert fit.rms(fit.solve()) == pytest.approx(0, abs=1e-9)


def test_small_rows_count_as_large_ones() -> None:
    # relative errors x/1 - 1 and 1000 x/2000 - 1: (x - 1)^2 + (x/2 - 1)^2 is least at 6/5
    assert problem([[1], [1000]], [1, 2000]).solve() == pytest.approx([1.2])


def test_rows_may_count_by_their_amounts() -> None:
    # (x - 1)^2 + (1000 x - 2000)^2, in which the large row has most to say: 2000001/1000001
    fit = problem([[1], [1000]], [1, 2000], weigh="amounts")
    assert fit.solve() == pytest.approx([2000001 / 1000001])
    assert fit.weights.mean() == 1


def test_none_below_zero() -> None:
    # x + y = 1, x + 2 y = 0.5: y would be -0.5
    values = problem([[1, 1], [1, 2]], [1, 0.5]).solve()
    assert values[1] == 0
    assert values[0] > 0


def test_one_row_for_two_constants_keeps_what_is_published() -> None:
    # x + y = 10, with y published as 4
    fit = problem([[1, 1]], [10], prior=[0, 4], status=["unstated", "published"])
    assert fit.solve() == pytest.approx([6, 4], rel=1e-5)


def test_one_row_for_two_unstated_constants_takes_the_smallest() -> None:
    # x + y = 10: equal shares are the least sum of squares
    assert problem([[1, 1]], [10]).solve() == pytest.approx([5, 5], rel=1e-5)


def test_a_published_value_does_not_bend_what_rows_determine() -> None:
    fit = problem([[2], [4]], [6, 12], prior=[100], status=["published"])
    assert fit.solve() == pytest.approx([3], rel=1e-4)


def test_what_no_row_depends_on_stays() -> None:
    fit = problem([[2, 0], [4, 0]], [6, 12], prior=[0, 9])
    assert fit.solve() == pytest.approx([3, 9])
    assert fit.shares[1] == 0


def test_a_row_is_left_out() -> None:
    fit = problem([[1], [1], [1]], [1, 1, 5])
    assert fit.without(2).solve() == pytest.approx([1])
