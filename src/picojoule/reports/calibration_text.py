"""A calibration as text: constants, rows, and what the rows leave open."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from picojoule.calibration.identifiability import DEPENDENT, NEARLY
from picojoule.calibration.records import (
    CHECKED,
    FITTED,
    PREDICTED,
    Calibration,
    Compared,
    FittedConstant,
    rms,
    shown_unit,
    total,
)
from picojoule.reports.tables import Column, Grid, cell, prose
from picojoule.units import show_count, show_energy, show_seconds

if TYPE_CHECKING:
    from picojoule.pruning.platforms.metering import Metered

_IN_WORDS = {FITTED: "fitted", CHECKED: "kept aside", PREDICTED: "not fitted"}


def calibration_report(calibration: Calibration) -> Group:
    """What was fitted, how well each row comes out, and what the rows cannot tell."""
    parts: list[RenderableType] = [
        cell(headline(calibration), "bold"),
        _constants_table(calibration.constants),
        *(prose(line) for line in _identifiability(calibration)),
        Text(),
        _rows_table(calibration),
        *(prose(line) for line in _summary(calibration)),
        *(prose(f"remark: {line}", "yellow") for line in calibration.remarks),
    ]
    return Group(*parts)


def headline(calibration: Calibration) -> str:
    """What was fitted to what, in one line."""
    rows = len({row.line for row in calibration.compared if row.role != CHECKED})
    values = ", ".join(f"{x.key} = {_amount(x.value, x.unit)}" for x in calibration.constants)
    return (
        f"{calibration.before.name}, fitted to {rows} row{'s' * (rows != 1)} of "
        f"{calibration.file}: {values}"
    )


def _constants_table(constants: Sequence[FittedConstant]) -> Grid:
    columns = [
        Column(head="constant", words=True),
        Column(head="fitted"),
        Column(head="fits nearly as well"),
        Column(head="before"),
        Column(head="which was", spare=1),
    ]
    table = Grid(columns)
    for one in constants:
        table.add_row(
            cell(one.key),
            cell(_amount(one.value, one.unit), "" if one.seen else "yellow"),
            cell(_range(one) if one.seen else "any value"),
            cell("unbounded" if one.before is None else _amount(one.before, one.unit)),
            cell(one.before_status),
        )
    return table


def _identifiability(calibration: Calibration) -> Iterator[str]:
    """What the rows leave open, in sentences."""
    yield (
        "Identifiability: a value fits nearly as well if, all others fitted anew, the root mean "
        f"square of the relative errors grows by at most {_points(NEARLY)}."
    )
    energies = [one for one in calibration.constants if not one.of_time]
    if len(energies) > 1:
        condition = calibration.condition
        shown = f"{condition:.3g}" if math.isfinite(condition) else "infinite"
        yield (
            f"The energies' columns have the condition index {shown}; above {DEPENDENT:g} some "
            "cannot be told apart."
        )
    for ambiguity in calibration.ambiguities:
        yield f"{ambiguity}."
    if not calibration.ambiguities and len(calibration.constants) > 1:
        yield "Each constant can be told from the others."


def _rows_table(calibration: Calibration) -> Grid:
    kinds = {"energy": 0, "time": 1}
    rows = sorted(calibration.compared, key=lambda one: kinds.get(one.quantity, 2))
    columns = [
        Column(head="row", words=True),
        Column(head="quantity"),
        Column(head="role", spare=1),
        *(Column(head=head) for head in ("measured", "ours", "error")),
    ]
    left_out = any(row.left_out is not None for row in rows)
    one_power = calibration.power is not None
    if left_out:
        columns.append(Column(head="error without\nthis row"))
    if one_power:
        columns.append(Column(head="error of\none power", spare=0.5))
    table = Grid(columns)
    for row in rows:
        extra = [_percents(row.left_out_error)] if left_out else []
        extra += [_percents(row.constant_power_error)] if one_power else []
        table.add_row(
            cell(row.label),
            cell(row.quantity),
            cell(_IN_WORDS[row.role]),
            cell(_measure(row.quantity, row.measured)),
            cell(_measure(row.quantity, row.predicted)),
            _percents(row.error),
            *extra,
        )
    return table


def _summary(calibration: Calibration) -> Iterator[str]:
    for quantity in ("energy", "time"):
        for role in (FITTED, CHECKED, PREDICTED):
            rows = calibration.of(quantity, role)
            if rows:
                yield _totals(quantity, role, rows)
    if calibration.power is not None:
        yield (
            f"One power: {calibration.power * 1e3:.4g} mW times our time, the best of its kind for "
            "the fitted rows; where a model does no better, it tells no more than the time."
        )
    times = "measured" if calibration.measured_time else "predicted (played through)"
    alike = "alike" if calibration.weigh == "rows" else "in joules and seconds"
    yield (
        f"Energies rest on {times} times, each row's error counts {alike}; {calibration.settling}."
    )


def _totals(quantity: str, role: str, rows: Sequence[Compared]) -> str:
    words = f"{quantity.capitalize()}, {_IN_WORDS[role]}: "
    words += f"root mean square error {_percentage(rms(row.error for row in rows))}"
    powers = [row.constant_power_error for row in rows if row.constant_power_error is not None]
    if powers:
        words += f" (one power: {_percentage(rms(powers))})"
    return f"{words}, all together {total(rows):.4g} of the measured."


def _amount(value: float, unit: str) -> str:
    scale, name = shown_unit(unit)
    return f"{value * scale:.4g} {name}"


def _range(one: FittedConstant) -> str:
    scale, name = shown_unit(one.unit)
    if math.isinf(one.high):
        return f"{one.low * scale:.3g} {name} and above"
    return f"{one.low * scale:.3g} to {one.high * scale:.3g} {name}"


def _measure(quantity: str, value: float) -> str:
    if quantity == "energy":
        return show_energy(value * 1e12, "pJ")
    return show_seconds(value) if quantity == "time" else f"{show_count(value)}B"


def _percents(error: float | None) -> Text:
    if error is None:
        return cell("-")
    percents = round(100 * error, 1) + 0.0  # no minus before a zero
    return cell(f"{percents:+.1f} %")


def _percentage(share: float) -> str:
    percents = 100 * share
    return f"{percents:.3g} %" if percents >= 0.01 else "0 %"


def _points(share: float) -> str:
    points = 100 * share
    return f"{points:g} percentage point{'s' * (points != 1)}"


def measurements_table(titles: Sequence[tuple[str, str]]) -> Grid:
    """Shipped tables of measurements, one a line."""
    columns = [
        Column(head="measurements", words=True),
        Column(head="what", words=True, widest=72),
    ]
    table = Grid(columns)
    for name, title in titles:
        table.add_row(cell(name), cell(title))
    return table


def measurement_report(rows: Sequence[Metered], meter: str, idle: float) -> Group:
    """What a meter said of each network or layer."""
    columns = [
        Column(head="network", words=True),
        Column(head="layer", words=True),
        *(Column(head=head) for head in ("energy", "spread", "time", "power", "runs")),
    ]
    table = Grid(columns)
    for row in rows:
        table.add_row(
            cell(row.job.network),
            cell(row.job.layer or "-"),
            cell(show_energy(row.energy * 1e12, "pJ")),
            cell(show_energy(row.spread * 1e12, "pJ")),
            cell(show_seconds(row.time)),
            cell(f"{row.power:.3g} W"),
            cell(show_count(row.runs)),
        )
    idling = f"{meter}; per inference. Idle, the same meter sees {idle:.3g} W: it is contained."
    return Group(table, prose(idling))
