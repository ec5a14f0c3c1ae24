"""Energies from rows: non-negative least squares of relative errors, kept near the file's values.

The residual of a row is (predicted - measured) / measured. Its square counts alike in every row, so
that a small layer counts as much as a large one; or as the square of what was measured, which is
ordinary least squares: a large layer then has most to say, as it has in the sum of all.

Columns are scaled to a root mean square of 1, which makes an unknown the share of the rows' energy
that its constant accounts for. In these shares the solution is drawn to the machine's own values,
so weakly that only what the rows leave open follows. What is published pulls most: where it can be
exchanged for what nobody states, it stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from picojoule.errors import PicojouleError

Floats = npt.NDArray[np.float64]

WEIGHTS = ("rows", "amounts")
PULL = {"published": 1e-3, "derived": 1e-3, "assumed": 1e-4, "fitted": 1e-4, "unstated": 1e-6}
"""Weight of the machine's values beside the rows', by their status: 1e-3 shifts a share that the
rows determine by 1e-6 of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearFit:
    """Rows' energies as a linear problem.

    Args:
        coefficients: [rows, constants] joules per unit of each constant.
        rest: [rows] joules of all other constants.
        measured: [rows] joules.
        weights: [rows] of the squares of relative errors; one on average.
        prior: [constants] the values before the fit.
        pull: [constants] how strongly these hold what the rows leave open.
    """

    coefficients: Floats
    rest: Floats
    measured: Floats
    weights: Floats
    prior: Floats
    pull: Floats

    @property
    def shares(self) -> Floats:
        """[constants] root mean square of the share of a row's energy that one unit is."""
        return np.asarray(np.sqrt((self._weighed**2).mean(axis=0)))

    @property
    def scaled(self) -> Floats:
        """[rows, constants] relative coefficients; of each column the mean square is 1 (or 0)."""
        shares = self.shares
        return self._weighed / np.where(shares > 0, shares, 1.0)

    @property
    def _weighed(self) -> Floats:
        return self.coefficients * (np.sqrt(self.weights) / self.measured)[:, None]

    def solve(self) -> Floats:
        """[constants] the values of the least relative errors, none below zero.

        A constant on which no row depends keeps its value.
        """
        return self._solve(np.ones(len(self.prior), np.bool_), self.prior)

    def solve_with(self, index: int, value: float) -> Floats:
        """The same with one constant held at *value*."""
        free = np.ones(len(self.prior), np.bool_)
        free[index] = False
        held = self.prior.copy()
        held[index] = value
        return self._solve(free, held)

    def errors(self, values: Floats) -> Floats:
        """[rows] relative errors of the predictions with these values."""
        return (self.coefficients @ values + self.rest) / self.measured - 1

    def rms(self, values: Floats) -> float:
        """Root mean square of the weighed relative errors."""
        return float(np.sqrt((self.weights * self.errors(values) ** 2).mean()))

    def without(self, row: int) -> LinearFit:
        """The same problem without one row."""
        return LinearFit(
            coefficients=np.delete(self.coefficients, row, 0),
            rest=np.delete(self.rest, row),
            measured=np.delete(self.measured, row),
            weights=np.delete(self.weights, row),
            prior=self.prior,
            pull=self.pull,
        )

    def _solve(self, free: npt.NDArray[np.bool_], held: Floats) -> Floats:
        shares = self.shares
        free = free & (shares > 0)
        if not free.any():
            return held.copy()
        fixed = self.rest + self.coefficients[:, ~free] @ held[~free]
        root = np.sqrt(len(self.measured))
        matrix = np.vstack([self.scaled[:, free] / root, np.diag(self.pull[free])])
        target = np.concatenate(
            [
                np.sqrt(self.weights) * (1 - fixed / self.measured) / root,
                (self.pull * self.prior * shares)[free],
            ]
        )
        solution, _ = scipy_optimize().nnls(matrix, target)
        values = held.copy()
        values[free] = solution / shares[free]
        return values


def weights_of(measured: Floats, weigh: str) -> Floats:
    """How much each row's squared relative error counts.

    Args:
        weigh: "rows": all alike; "amounts": as what was measured, squared, so that errors count in
            joules and seconds (ordinary least squares).
    """
    squares = measured**2
    return squares / squares.mean() if weigh == "amounts" else np.ones(len(measured))


def scipy_optimize() -> Any:
    """``scipy.optimize``.

    Raises:
        PicojouleError: scipy is not installed.
    """
    try:
        from scipy import optimize
    except ImportError:
        raise PicojouleError(
            "a calibration needs scipy: pip install 'picojoule[calibration]'"
        ) from None
    return optimize
