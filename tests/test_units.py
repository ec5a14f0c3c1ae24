"""Quantities: read exactly or refused, written with three digits."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picojoule import units
from picojoule.errors import UnitError


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("1 bit", 1),
        ("16b", 16),
        ("4 B", 32),
        ("108 kB", 108 * 8192),  # the papers' kB is 1024 bytes
        ("108 KiB", 108 * 8192),
        ("0.5 kB", 4096),
        (".5KiB", 4096),
        ("224 x 16 bit", 3584),
        ("224 \u00d7 16 bit", 3584),
        ("224*16 bit", 3584),
        ("1_024 B", 8192),
        ("1e3 bit", 1000),
        ("  28 MiB  ", 28 * 8 * 1024**2),
    ],
)
def test_capacities(text: str, bits: float) -> None:
    assert units.bits(text) == bits


@pytest.mark.parametrize("text", ["64 bit/cycle", "8 B/cycle", "8B / cycle", "4 x 16 bit/cycle"])
def test_bandwidths(text: str) -> None:
    assert units.bits_per_cycle(text) == 64


def test_energies_are_in_the_unit_asked_for() -> None:
    assert units.energy("200 MAC", "MAC") == 200
    assert units.energy("0.46 nJ", "pJ") == 460
    assert units.energy("1 µJ", "pJ") == units.energy("1 μJ", "pJ") == units.energy("1 uJ", "pJ")
    for text, unit in (("200 MAC", "pJ"), ("1 pJ", "MAC"), ("1", "MAC"), ("1", "pJ")):
        with pytest.raises(UnitError, match="an energy of this file needs one of the units"):
            units.energy(text, unit)


def test_frequencies_and_powers() -> None:
    assert units.hertz("0.2 GHz") == units.hertz("200 MHz") == 2e8
    assert units.watts("30 mW") == 0.03
    with pytest.raises(UnitError, match="a power needs"):
        units.watts("30 MW")


@pytest.mark.parametrize(
    "text",
    [
        *("", "KiB", "108 KiBB", "108", "1 2 B", "1__0 B", "1_ B", "nan B", "inf B", "1e999 B"),
        *("0x10 C", "1 B/cycle", "\uff11 B", "1" * 200 + " B", "1 x B", "- 1 B", "1 %", "1 B\n2"),
    ],
)
def test_what_is_no_capacity(text: str) -> None:
    with pytest.raises(UnitError):
        units.bits(text)


def test_a_long_text_is_refused_at_once_and_cut_in_the_message() -> None:
    with pytest.raises(UnitError) as caught:
        units.bits("1" * 1_000_000 + "!")
    assert len(str(caught.value)) < 100


@given(st.text(max_size=40) | st.from_regex("[0-9_.e+x\u00d7*/ a-zA-Zµ-]{1,30}"))
def test_only_unit_errors_come_out(text: str) -> None:
    for read in (units.bits, units.bits_per_cycle, units.hertz, units.watts):
        with suppress(UnitError):
            assert math.isfinite(read(text))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (999.6, "1 k"),
        (1536, "1.54 k"),
        (724_406_816, "724 M"),
        (1e15, "1000 T"),
        (0.5, "0.5"),
        (0.0625, "0.0625"),
        (1.5e-7, "1.5e-07"),
        (-1536, "-1.54 k"),
        (math.inf, "inf T"),
        (math.nan, "nan"),
    ],
)
def test_counts(value: float, text: str) -> None:
    assert units.show_count(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3.97e9, "MAC", "3.97 G x E_MAC"),
        (12, "MAC", "12 x E_MAC"),
        (460, "pJ", "460 pJ"),
        (59.3e6, "pJ", "59.3 µJ"),
        (2e12, "pJ", "2 J"),
        (0, "pJ", "0 pJ"),
    ],
)
def test_shown_energies(value: float, unit: str, text: str) -> None:
    assert units.show_energy(value, unit) == text


def test_shown_capacities() -> None:
    assert units.show_capacity(108 * 8192) == "108 KiB"
    assert units.show_capacity(24 * 16) == "48 B"
    assert units.show_capacity(5) == "5 bit"


@given(st.floats(1e-3, 1e14))
def test_three_digits_are_within_half_a_percent(value: float) -> None:
    number, _, prefix = units.show_count(value).partition(" ")
    scale = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[prefix]
    assert float(number) * scale == pytest.approx(value, rel=0.0051)


@pytest.mark.parametrize(
    ("asked", "unit", "each", "of_80"),
    [
        ("30%", "pJ", 1.0, 24),
        (" 30 % ", "MAC", None, 24),
        (".3", "cost", None, 24),
        (0.3, "pJ", 1.0, 24),
        ("40 µJ", "pJ", 1.0, 40e6),
        ("40 µJ", "MAC", 2.0, 20e6),
        ("12e6 MAC", "MAC", None, 12e6),
    ],
)
def test_budgets_are_shares_or_amounts(
    asked: float | str, unit: str, each: float | None, of_80: float
) -> None:
    assert units.energy_budget(asked, unit, each).of(80) == pytest.approx(of_80)


@pytest.mark.parametrize(
    ("asked", "unit", "why"),
    [
        ("x", "pJ", "or an amount"),
        ("30 %%", "pJ", "or an amount"),
        ("40 mW", "MAC", "or an amount"),
        ("1.5", "pJ", "above 0 and below 1"),
        (0.0, "MAC", "above 0 and below 1"),
        (math.nan, "MAC", "above 0 and below 1"),
        ("100%", "pJ", "above 0 and below 1"),
        ("40 µJ", "MAC", "in joules"),
        ("40 µJ", "cost", "have no unit"),
    ],
)
def test_bad_budgets(asked: float | str, unit: str, why: str) -> None:
    with pytest.raises(UnitError, match=why):
        units.energy_budget(asked, unit, None)
