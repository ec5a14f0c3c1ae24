"""What a calibration gives: constants, how each row comes out, and what the rows leave open."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from picojoule.accelerator import Accelerator
from picojoule.calibration.identifiability import DEPENDENT, NEARLY
from picojoule.version import SCHEMA_VERSION, __version__

FITTED, CHECKED, PREDICTED = "fitted", "checked", "predicted"
"""Roles of a comparison: the fit was made for it; its row was kept aside; no key fits it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedConstant:
    """A constant before and after the fit, in its unit.

    Args:
        before: None where the machine states none (unbounded).
        before_status: published, derived, assumed, fitted or unstated.
        low, high: from where to where it may lie for the rows to fit nearly as well.
        seen: whether any row depends on it; else it is as it was.
    """

    key: str
    unit: str
    of_time: bool
    value: float
    before: float | None
    before_status: str
    low: float
    high: float
    seen: bool

    @property
    def kept(self) -> bool:
        """Whether it is as it was: the rows leave it open, or agree."""
        return self.value == self.before

    def to_dict(self) -> dict[str, Any]:
        """Plain data; an end that is open is null."""
        return {
            "key": self.key,
            "value": self.value,
            "unit": self.unit,
            "before": self.before,
            "before_status": self.before_status,
            "low": self.low,
            "high": self.high if math.isfinite(self.high) else None,
            "seen": self.seen,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One measured amount of a row beside ours, of one inference.

    Args:
        line: of the file of measurements.
        quantity: energy (J), time (s), or bytes.NAME.
        role: "fitted", "checked" or "predicted".
        left_out: what a fit without this row predicts; None where it was not fitted or no other
            row is left.
        constant_power: what the one power that suits the fitted rows best predicts, times our
            time; of energies alone.
    """

    label: str
    line: int
    quantity: str
    role: str
    measured: float
    predicted: float
    left_out: float | None = None
    constant_power: float | None = None

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted / self.measured - 1

    @property
    def left_out_error(self) -> float | None:
        """Relative error of what the fit without this row predicts."""
        return None if self.left_out is None else self.left_out / self.measured - 1

    @property
    def constant_power_error(self) -> float | None:
        """Relative error of one power for all rows."""
        return None if self.constant_power is None else self.constant_power / self.measured - 1

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "row": self.label,
            "line": self.line,
            "quantity": self.quantity,
            "role": self.role,
            "measured": self.measured,
            "predicted": self.predicted,
            "error": self.error,
            "left_out_error": self.left_out_error,
            "constant_power_error": self.constant_power_error,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """A sum of constants that the rows determine, where they do not determine each.

    ``sum of coefficient x constant = value``; the last constant's coefficient is 1, and value is in
    its unit.
    """

    terms: tuple[tuple[float, FittedConstant], ...]

    @property
    def value(self) -> float:
        return math.fsum(coefficient * constant.value for coefficient, constant in self.terms)

    @property
    def unit(self) -> str:
        return self.terms[-1][1].unit

    def __str__(self) -> str:
        *others, (_, last) = self.terms
        scale, unit = shown_unit(last.unit)
        words = [
            f"{coefficient * scale / own:.4g}{'' if name == unit else f' {unit}/{name}'} x "
            f"{constant.key}"
            for coefficient, constant in others
            for own, name in [shown_unit(constant.unit)]
        ]
        return f"{' + '.join([*words, last.key])} = {self.value * scale:.4g} {unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambiguity:
    """Constants that the rows cannot tell apart, and what of them is determined."""

    keys: tuple[str, ...]
    exactly: bool
    combinations: tuple[Combination, ...]

    def __str__(self) -> str:
        names = " and ".join(filter(None, [", ".join(self.keys[:-1]), self.keys[-1]]))
        how = "cannot be told apart by these rows" + ("" if self.exactly else ", which are alike")
        if not self.combinations:
            return f"{names} {how}"
        which = "; ".join(map(str, self.combinations))
        return f"{names} {how}: {which} {'is' if len(self.combinations) == 1 else 'are'} determined"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the sentence."""
        return {
            "keys": list(self.keys),
            "exactly": self.exactly,
            "text": str(self),
            "determined": [
                {
                    "terms": [{"key": k.key, "coefficient": c} for c, k in combination.terms],
                    "value": combination.value,
                    "unit": combination.unit,
                }
                for combination in self.combinations
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """How mapping and fitting in turn came to an end.

    Args:
        rounds: how often mappings were searched and constants fitted.
        circle: rounds after which the mappings were the same again: 1 where they stay, more where
            near equals take turns; None where they still changed.
        spread: how far the constants of these rounds (of all, if none) are apart: energies as a
            share of the rows' energy, what sets times relatively.
    """

    rounds: int
    circle: int | None
    spread: float

    def __str__(self) -> str:
        rounds = (
            f"{self.rounds} round{'s' * (self.rounds != 1)} of mapping and fitting, after which"
        )
        if self.circle == 1:
            return f"{rounds} mappings stay"
        if self.circle is None:
            return f"{rounds} mappings still change: the fit of the least errors is given"
        return (
            f"{rounds} {self.circle} sets of mappings take turns, whose constants are "
            f"{100 * self.spread:.2g} % of the rows' energy or time apart at most: the fit of the "
            "least errors is given"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Constants fitted to measured rows, and how far they can be trusted.

    Args:
        machine: with the fitted constants, each with its source.
        before: the machine as it was.
        file: of the measurements.
        constants: that were fitted.
        compared: every measured amount beside ours, row by row.
        ambiguities: constants that cannot be told apart.
        condition: of the energies: largest over smallest singular value; 1 of a single constant.
        settling: how mapping and fitting in turn came to an end.
        weigh: how rows count: "rows" alike, or as "amounts".
        measured_time: energies were fitted with measured times, not with predicted ones.
        power: watts of the one constant power that suits the fitted rows best, if any has energy.
        remarks: what a reader has to know besides.
    """

    machine: Accelerator
    before: Accelerator
    file: str
    constants: tuple[FittedConstant, ...]
    compared: tuple[Compared, ...]
    ambiguities: tuple[Ambiguity, ...]
    condition: float
    settling: Settling
    measured_time: bool
    weigh: str
    power: float | None
    remarks: tuple[str, ...]

    def __repr__(self) -> str:
        values = ", ".join(f"{x.key} = {x.value:.4g} {x.unit}" for x in self.constants)
        return f"<Calibration of {self.before.name}: {values}>"

    def of(self, quantity: str, *roles: str) -> tuple[Compared, ...]:
        """The comparisons of a quantity, in these roles (all, by default)."""
        return tuple(
            one
            for one in self.compared
            if one.quantity == quantity and (not roles or one.role in roles)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in ``calibrate --json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "picojoule": __version__,
            "accelerator": self.before.name,
            "measurements": self.file,
            "constants": [one.to_dict() for one in self.constants],
            "rows": [one.to_dict() for one in self.compared],
            "totals": [
                {
                    "quantity": quantity,
                    "role": role,
                    "rms": rms(x.error for x in rows),
                    "total": total(rows),
                }
                for quantity in ("energy", "time")
                for role in (FITTED, CHECKED, PREDICTED)
                if (rows := self.of(quantity, role))
            ],
            "identifiability": {
                "condition": self.condition if math.isfinite(self.condition) else None,
                "dependent_above": DEPENDENT,
                "nearly": NEARLY,
                "ambiguities": [one.to_dict() for one in self.ambiguities],
            },
            "constant_power": self.power,
            "time": "measured" if self.measured_time else "predicted",
            "weigh": self.weigh,
            "rounds": self.settling.rounds,
            "circle": self.settling.circle,
            "spread": self.settling.spread,
            "remarks": list(self.remarks),
        }


def rms(errors: Iterable[float]) -> float:
    """Root mean square of relative errors."""
    squares = [error**2 for error in errors]
    return math.sqrt(math.fsum(squares) / len(squares))


def total(rows: Sequence[Compared]) -> float:
    """All that is predicted over all that is measured."""
    return math.fsum(row.predicted for row in rows) / math.fsum(row.measured for row in rows)


def shown_unit(unit: str) -> tuple[float, str]:
    """The unit that people read, and how many of it one *unit* is."""
    return {"W": (1e3, "mW"), "Hz": (1e-6, "MHz")}.get(unit, (1.0, unit))
