"""Quantities with units, read from text and written for people.

Inside the package a quantity is a plain number in one base unit:

========== ============= ==========================================
kind       base unit     examples
========== ============= ==========================================
capacity   bit           ``"108 KiB"``, ``"224 x 16 bit"``, ``"100 kB"``
energy     as declared   ``"460 pJ"``, ``"200 MAC"``
bandwidth  bit per cycle ``"64 bit/cycle"``, ``"4 B/cycle"``
frequency  hertz         ``"200 MHz"``
power      watt          ``"30 mW"``
time       second        ``"115.3 ms"``
length     millimetre    ``"1.5 mm"``
node       nanometre     ``"65 nm"``, ``"22nm"``
count      one           ``"1.8 M"``
========== ============= ==========================================

Papers of this field write *kB* and mean 1024 bytes; SI says 1000. ``kB`` is read as the papers
mean it (1024), because every published capacity here (108 kB buffer, 0.5 kB register file) is a
power of two times a word; ``KiB`` says the same without ambiguity.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from picojoule.errors import UnitError

E_MAC = "x E_MAC"
"""How a multiple of the energy of one MAC is written: it is no number of MACs."""

# Longer texts are no quantities, and not worth a regular expression's time.
_LONGEST = 100
_NUMBER = r"[+-]?(?:[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?"
_QUANTITY = re.compile(
    rf"\s*({_NUMBER})\s*(?:[x\u00d7*]\s*({_NUMBER})\s*)?([A-Za-zµμ]*(?:\s*/\s*[A-Za-z]+)?)\s*"
)

_BITS = {
    "bit": 1,
    "bits": 1,
    "b": 1,
    "B": 8,
    "byte": 8,
    "bytes": 8,
    "kB": 8 * 1024,
    "KB": 8 * 1024,
    "KiB": 8 * 1024,
    "MB": 8 * 1024**2,
    "MiB": 8 * 1024**2,
    "GB": 8 * 1024**3,
    "GiB": 8 * 1024**3,
    "Kibit": 1024,
    "Mibit": 1024**2,
}
_PICOJOULES = {"fJ": 1e-3, "pJ": 1.0, "nJ": 1e3, "µJ": 1e6, "uJ": 1e6, "mJ": 1e9, "J": 1e12}
_WATTS = {"nW": 1e-9, "µW": 1e-6, "uW": 1e-6, "mW": 1e-3, "W": 1.0}
_SECONDS = {"ns": 1e-9, "µs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_MILLIMETRES = {"nm": 1e-6, "µm": 1e-3, "um": 1e-3, "mm": 1.0}
_NANOMETRES = {"nm": 1.0}
_HERTZ = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}


def _split(text: str) -> tuple[float, str]:
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        shown = text if len(text) <= 40 else text[:39] + "…"
        raise UnitError(f"cannot read {shown!r} as a number with a unit")
    number, times, unit = match.groups()
    value = float(number) * (float(times) if times else 1.0)
    if not math.isfinite(value):
        raise UnitError(f"{text!r} is not a finite number")
    return value, "".join(unit.split()).replace("μ", "µ")


def _scaled(text: str, table: dict[str, float] | dict[str, int], kind: str) -> float:
    value, unit = _split(text)
    if unit not in table:
        raise UnitError(f"{text!r}: {kind} needs one of the units {', '.join(table)}")
    return value * table[unit]


def bits(text: str) -> float:
    """Read a capacity or a width in bits.

    >>> bits("0.5 kB")
    4096.0
    >>> bits("224 x 16 bit")
    3584.0
    """
    return _scaled(text, _BITS, "a capacity")


def bits_per_cycle(text: str) -> float:
    """Read a bandwidth in bits per cycle.

    >>> bits_per_cycle("4 B/cycle")
    32.0
    """
    value, unit = _split(text)
    size, slash, per = unit.partition("/")
    if slash != "/" or per != "cycle" or size not in _BITS:
        raise UnitError(f"{text!r}: a bandwidth reads like '64 bit/cycle' or '4 B/cycle'")
    return value * _BITS[size]


def cycles(text: str) -> float:
    """Read a number of cycles.

    >>> cycles("12 cycles")
    12.0
    """
    value, unit = _split(text)
    if unit not in ("cycle", "cycles"):
        raise UnitError(f"{text!r}: a time in cycles reads like '12 cycles'")
    return value


def hertz(text: str) -> float:
    """Read a frequency in hertz.

    >>> hertz("200 MHz")
    200000000.0
    """
    return _scaled(text, _HERTZ, "a frequency")


def watts(text: str) -> float:
    """Read a power in watts.

    >>> watts("30 mW")
    0.03
    """
    return _scaled(text, _WATTS, "a power")


def seconds(text: str) -> float:
    """Read a time in seconds.

    >>> seconds("115.3 ms")
    0.1153
    """
    return _scaled(text, _SECONDS, "a time")


def millimetres(text: str) -> float:
    """Read a length in millimetres.

    >>> millimetres("500 um")
    0.5
    """
    return _scaled(text, _MILLIMETRES, "a length")


def nanometres(text: str) -> float:
    """Read a node of technology in nanometres.

    >>> nanometres("22nm")
    22.0
    """
    return _scaled(text, _NANOMETRES, "a node")


def energy(text: str, unit: str) -> float:
    """Read an energy in *unit*: ``"MAC"`` (multiples of one 16-bit MAC) or ``"pJ"``.

    >>> energy("200 MAC", "MAC"), energy("0.46 nJ", "pJ")
    (200.0, 460.0)
    """
    if unit == "MAC":
        return _scaled(text, {"MAC": 1.0}, "an energy of this file")
    return _scaled(text, _PICOJOULES, "an energy of this file")


def picojoules(text: str) -> float:
    """Read an energy in picojoules.

    >>> picojoules("2 pJ")
    2.0
    """
    return _scaled(text, _PICOJOULES, "an energy")


class EnergyBudget(NamedTuple):
    """What a network may cost: a share of the original, or so many of an accelerator's units."""

    value: float
    is_share: bool

    def of(self, original: float) -> float:
        """The budget in the unit of *original*."""
        return self.value * original if self.is_share else self.value


def share(text: str) -> float | None:
    """Read a share, ``"30%"`` or ``"0.3"``; None where the text is no such number.

    >>> share("30%"), share(" 0.3 "), share("3 pJ")
    (0.3, 0.3, None)
    """
    number = text.strip().removesuffix("%").strip()
    if not re.fullmatch(r"\d+\.?\d*|\.\d+", number, re.ASCII):
        return None
    return float(number) / 100 if "%" in text else float(number)


def energy_budget(asked: float | str, unit: str, each: float | None) -> EnergyBudget:
    """Read what a network may cost.

    >>> energy_budget("30%", "MAC", None), energy_budget(0.3, "pJ", 1.0).of(200.0)
    (EnergyBudget(value=0.3, is_share=True), 60.0)
    >>> energy_budget("40 µJ", "MAC", 2.0)
    EnergyBudget(value=20000000.0, is_share=False)

    Args:
        asked: a share between 0 and 1 (0.3, "0.3", "30%"), or an amount ("40 µJ", "12e6 MAC").
        unit: in which the accelerator counts: MAC, pJ; any other takes shares alone.
        each: what one such unit is in picojoules; None where nobody says.

    Raises:
        UnitError: it is none of these, or joules are asked of an accelerator that has none.
    """
    text = str(asked).strip()
    part = share(text) if isinstance(asked, str) else float(asked)
    if part is not None:
        if 0 < part < 1:
            return EnergyBudget(part, True)
        raise UnitError(f"energy {asked!r}: a share of the original is above 0 and below 1 (100 %)")
    if unit not in ("MAC", "pJ"):
        raise UnitError(f"energy {asked!r}: prices in {unit} have no unit; give a share, '30%'")
    try:
        return EnergyBudget(energy(text, unit), False)
    except UnitError:
        pass
    try:
        amount = picojoules(text)
    except UnitError:
        raise UnitError(
            f"energy {asked!r}: give a share of the original, '30%' or 0.3, or an amount, '40 µJ'"
        ) from None
    if each is None:
        raise UnitError(
            f"energy {asked!r}: nobody says what this accelerator's unit, {unit}, is in joules; "
            "give a share of the original, '30%'"
        )
    return EnergyBudget(amount / each, False)


_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def show_count(value: float) -> str:
    """Write a count with three significant digits.

    >>> show_count(724_406_816), show_count(12), show_count(1536)
    ('724 M', '12', '1.54 k')
    """
    for scale, prefix in _PREFIXES:
        if abs(value) >= scale * 0.9995:
            return f"{_three_digits(value / scale)} {prefix}"
    return _three_digits(value)


def show_energy(value: float, unit: str) -> str:
    """Write an energy for people.

    >>> show_energy(3.97e9, "MAC"), show_energy(59.3e6, "pJ")
    ('3.97 G x E_MAC', '59.3 µJ')

    Args:
        unit: "pJ", or "MAC" for multiples of E_MAC, the energy of one MAC.
    """
    if unit == "MAC":
        return f"{show_count(value)} {E_MAC}"
    for name in ("J", "mJ", "µJ", "nJ"):
        if abs(value) >= _PICOJOULES[name] * 0.9995:
            return f"{_three_digits(value / _PICOJOULES[name])} {name}"
    return f"{_three_digits(value)} pJ"


def show_seconds(value: float) -> str:
    """Write a time for people.

    >>> show_seconds(0.1153), show_seconds(2.71e-4)
    ('115 ms', '271 µs')
    """
    for name in ("s", "ms", "µs"):
        if abs(value) >= _SECONDS[name] * 0.9995:
            return f"{_three_digits(value / _SECONDS[name])} {name}"
    return f"{_three_digits(value / _SECONDS['ns'])} ns"


def show_capacity(value: float) -> str:
    """Write a number of bits as a capacity.

    >>> show_capacity(108 * 8192), show_capacity(192)
    ('108 KiB', '24 B')
    """
    for name in ("GiB", "MiB", "KiB", "B"):
        if value >= _BITS[name]:
            return f"{_three_digits(value / _BITS[name])} {name}"
    return f"{_three_digits(value)} bit"


def _three_digits(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) < 1e-4:
        return f"{value:.3g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value)) + 1e-9))
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def whole(value: float) -> float:
    """A count as an integer where it is one, so that JSON shows it as such.

    >>> whole(3.0), whole(3.5)
    (3, 3.5)
    """
    return int(value) if float(value).is_integer() else value


_NAMED = 4  # names in one sentence


def listed(names: Sequence[str]) -> str:
    """Names for a sentence: the first few, and how many more there are.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c, d and 1 more'
    """
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
