"""What rows leave open, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from picojoule.calibration.identifiability import NEARLY, bisected, condition, entangled, interval
from tests.calibration.test_linear import problem


def test_columns_that_are_multiples_leave_one_sum() -> None:
    # 5 A + B is all that these rows say: 5 and 1, 10 and 2
    fit = problem([[5, 1], [10, 2]], [20, 40])
    (group,) = entangled(fit.scaled, fit.shares)
    assert (group.members, group.exactly) == ((0, 1), True)
    (combination,) = group.combinations
    assert combination == pytest.approx((5.0, 1.0))
    values = fit.solve()
    assert 5 * values[0] + values[1] == pytest.approx(20)
    assert math.isinf(condition(fit.scaled))


def test_one_row_for_three_constants_determines_one_sum() -> None:
    fit = problem([[1, 2, 4]], [10])
    (group,) = entangled(fit.scaled, fit.shares)
    assert group.members == (0, 1, 2)
    (combination,) = group.combinations
    assert combination == pytest.approx((0.25, 0.5, 1.0))


def test_two_rows_for_three_constants_determine_two_sums() -> None:
    fit = problem([[1, 0, 1], [0, 1, 1]], [2, 3])
    (group,) = entangled(fit.scaled, fit.shares)
    assert group.members == (0, 1, 2)
    # what is told: x + z and y + z; then x - y as well
    for combination in group.combinations:
        held = np.array([[1, 0, 1], [0, 1, 1], combination])
        assert np.linalg.matrix_rank(held, tol=1e-6) == 2
    assert [row[2] for row in group.combinations] == [1, 0]


def test_rows_that_differ_tell_each() -> None:
    fit = problem([[1, 0.1], [0.1, 1], [1, 1]], [1, 1, 2])
    assert list(entangled(fit.scaled, fit.shares)) == []
    assert condition(fit.scaled) < 3


def test_rows_that_are_nearly_alike_are_said_to_be() -> None:
    fit = problem([[1, 1.00], [1, 1.01], [1, 0.995]], [2, 2, 2])
    (group,) = entangled(fit.scaled, fit.shares)
    assert not group.exactly
    assert group.combinations[0] == pytest.approx((1, 1), rel=0.02)
    # and so it is with what each may be: any share of the sum
    assert interval(fit, 0, fit.rms(fit.solve())) == pytest.approx((0, 2), rel=0.02)


def test_a_third_constant_is_told_apart_from_two_that_are_not() -> None:
    fit = problem([[1, 2, 1], [2, 4, 0], [1, 2, 3]], [4, 4, 8])
    (group,) = entangled(fit.scaled, fit.shares)
    assert group.members == (0, 1)


def test_how_far_one_constant_may_lie() -> None:
    # the relative error is x - 1, and its root mean square may grow from 0 to 0.01
    fit = problem([[1], [2]], [1, 2])
    low, high = interval(fit, 0, 0.0)
    assert (low, high) == pytest.approx((1 - NEARLY, 1.01), rel=1e-3)


def test_a_constant_without_effect_may_be_anything() -> None:
    fit = problem([[1, 0], [2, 0]], [1, 2])
    assert interval(fit, 1, 0.0) == (0.0, math.inf)
    assert list(entangled(fit.scaled, fit.shares)) == []


def test_the_last_that_is_within() -> None:
    assert bisected(lambda x: x <= 3, 1, 10) == pytest.approx(3, rel=1e-3)
    assert bisected(lambda x: x >= 3, 10, 1) == pytest.approx(3, rel=1e-3)
