"""Bandwidths, latencies and clock from measured times: bounded least squares of relative errors.

Time is no linear function of a bandwidth, and flat where something else is waited for. So the
logarithms of the constants are searched (of a latency, which may be 0, that of one cycle more),
from the best point of a coarse grid, with each row played through in time at every step; mappings
stay as they are meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from picojoule.accelerator import Accelerator
from picojoule.calibration.constants import Constant
from picojoule.calibration.identifiability import NEARLY, bisected
from picojoule.calibration.linear import Floats, scipy_optimize, weights_of
from picojoule.calibration.predictions import MappedRow

_GRID = tuple(4.0**n for n in range(-4, 9))
_UNBOUNDED = 64.0  # bit/cycle: where the grid of a bandwidth begins that nobody stated
_STEP = 0.02  # of derivatives, in logarithms: a tile more or less is no derivative
_FURTHEST = math.log(2.0**20)
_FAR = 5  # steps outwards from a value, each of the square of the one before: a factor of 4^16
_UNSEEN = 1e-4  # relative change of the times by a factor of two that counts as none


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeFit:
    """Measured times as a problem in the logarithms of some constants.

    Args:
        machine: what is not fitted, and the values before the fit.
        keys: the constants.
        rows: with measured times.
        weigh: "rows" alike, or as "amounts" (:func:`linear.weights_of`).
    """

    machine: Accelerator
    keys: tuple[Constant, ...]
    rows: tuple[MappedRow, ...]
    weigh: str
    seen: dict[tuple[float, ...], Floats] = field(default_factory=dict)

    @property
    def start(self) -> Floats:
        """The values before the fit."""
        before = (key.get(self.machine) for key in self.keys)
        return np.array([_UNBOUNDED if value is None else value for value in before], float)

    def at(self, values: Sequence[float] | Floats) -> Accelerator:
        """The machine with these values."""
        machine = self.machine
        for key, value in zip(self.keys, values, strict=True):
            machine = key.put(machine, float(value))
        return machine

    def times(self, values: Sequence[float] | Floats) -> Floats:
        """[rows] seconds of one inference with these values."""
        key = tuple(float(value) for value in values)
        if key not in self.seen:
            machine = self.at(key)
            times = [row.seconds(machine, row.cycles(machine)) for row in self.rows]
            self.seen[key] = np.array(times)
        return self.seen[key]

    def errors(self, values: Sequence[float] | Floats) -> Floats:
        """[rows] weighed relative errors of the times with these values."""
        measured = np.array([row.row.time for row in self.rows], float)
        weights = weights_of(measured, self.weigh)
        return np.asarray(np.sqrt(weights) * (self.times(values) / measured - 1))

    def rms(self, values: Sequence[float] | Floats) -> float:
        """Root mean square of the weighed relative errors."""
        return float(np.sqrt((self.errors(values) ** 2).mean()))

    def solve(self) -> Floats:
        """The values of the least relative errors; one that no time depends on stays."""
        best = self.start
        for index in range(len(self.keys)):
            trials = [self._moved(best, index, factor) for factor in _GRID]
            better = min(trials, key=self.rms)
            if self.rms(better) < self.rms(best) - _UNSEEN:
                best = better
        return self._polished(best, tuple(range(len(self.keys))))

    def is_seen(self, values: Floats, index: int) -> bool:
        """Whether any time depends on a constant, near these values."""
        below, here, above = (self.times(self._moved(values, index, by)) for by in (0.5, 1, 2))
        change = np.maximum(np.abs(below / here - 1), np.abs(above / here - 1))
        return bool(change.max() > _UNSEEN)

    def slopes(self, values: Floats) -> Floats:
        """[rows, constants] relative change of the times by that of each constant."""
        columns = []
        for index in range(len(self.keys)):
            above = self.times(self._moved(values, index, math.exp(_STEP)))
            columns.append(np.log(above / self.times(values)) / _STEP)
        return np.column_stack(columns)

    def interval(self, values: Floats, index: int) -> tuple[float, float]:
        """From where to where a constant may lie, the others fitted anew, so that times fit nearly
        as well: their root-mean-square error grows by at most :data:`NEARLY`.
        """
        others = tuple(n for n in range(len(self.keys)) if n != index)
        best = self.rms(values)

        def within(value: float) -> bool:
            return self.rms(self._polished(self._with(values, index, value), others)) <= (
                best + NEARLY
            )

        def end(factor: float, last: float) -> float:
            inside = float(values[index])
            for _ in range(_FAR):
                outside = float(self._moved(values, index, factor)[index])
                if outside == inside:
                    break  # no further than 0
                if not within(outside):
                    return bisected(within, inside, outside)
                inside, factor = outside, factor**2
            return last

        return end(0.25, 0.0), end(4.0, math.inf)

    def without(self, row: int) -> TimeFit:
        """The same problem without one row."""
        rows = tuple(one for n, one in enumerate(self.rows) if n != row)
        return replace(self, rows=rows, seen={})

    @property
    def _offsets(self) -> Floats:
        """[constants] what is added before the logarithm is taken."""
        return np.array([1.0 if key.unit == "cycles" else 0.0 for key in self.keys])

    def _with(self, values: Floats, index: int, value: float) -> Floats:
        changed = values.copy()
        changed[index] = value
        return changed

    def _moved(self, values: Floats, index: int, factor: float) -> Floats:
        """The values, one of them further by that *factor*, if not below 0."""
        offset = self._offsets[index]
        return self._with(values, index, max(0.0, (values[index] + offset) * factor - offset))

    def _polished(self, values: Floats, free: tuple[int, ...]) -> Floats:
        """The least errors near *values*, some of them free."""
        if not free:
            return values
        chosen = list(free)
        offsets = self._offsets[chosen]

        def point(logs: Floats) -> Floats:
            moved = values.copy()
            moved[chosen] = np.maximum(0.0, np.exp(logs) - offsets)
            return moved

        def slopes(logs: Floats) -> Floats:
            here, steps = self.errors(point(logs)), _STEP * np.eye(len(logs))
            return np.column_stack([self.errors(point(logs + x)) - here for x in steps]) / _STEP

        logs = np.log(values[chosen] + offsets)
        result = scipy_optimize().least_squares(
            lambda logs: self.errors(point(logs)),
            logs,
            jac=slopes,
            bounds=(np.where(offsets > 0, -_STEP, logs - _FURTHEST), logs + _FURTHEST),
            xtol=1e-6,
            ftol=1e-9,
        )
        better = point(result.x)
        return better if self.rms(better) < self.rms(values) else values
