"""Sizes of coded values and counts of effectual MACs, by hand."""

from __future__ import annotations

import itertools
import math

import pytest

from picojoule.accelerator import Format, SparseSupport, ZeroSkip
from picojoule.sparsity import (
    bits_per_value,
    effectual_fraction,
    pairs_per_value,
    worked_fraction,
)
from picojoule.workload import Operand, PerOperand

SUPPORT = SparseSupport(run_bits=5, count_bits=4)
INPUT, WEIGHT, OUTPUT = Operand


def test_dense_values_take_their_width() -> None:
    assert bits_per_value(Format.DENSE, 16, 0.1, SUPPORT) == 16


def test_a_bitmap_takes_a_flag_for_each_value_and_the_values_that_are_there() -> None:
    # 1 + 0.25 x 8 = 3; all there: one bit more than dense.
    assert bits_per_value(Format.BITMAP, 8, 0.25, SUPPORT) == 3
    assert bits_per_value(Format.BITMAP, 8, 1.0, SUPPORT) == 9


def test_run_lengths_are_packed_three_to_a_word() -> None:
    # Pairs of 5 + 16 bits: three fill 63 of 64. With no zeros there is a pair for each value.
    assert bits_per_value(Format.RUN_LENGTH, 16, 1.0, SUPPORT) == pytest.approx(64 / 3)
    # All zeros: a pair covers a run of 31 and the value that ends it.
    assert bits_per_value(Format.RUN_LENGTH, 16, 0.0, SUPPORT) == pytest.approx(64 / 3 / 32)
    # 5 + 27 bits: two to a word. 5 + 60 bits: more than a word, so nothing is packed.
    assert bits_per_value(Format.RUN_LENGTH, 27, 1.0, SUPPORT) == 32
    assert bits_per_value(Format.RUN_LENGTH, 60, 1.0, SUPPORT) == 65


def test_csc_pairs_are_not_packed() -> None:
    # 4 + 8 bits for each non-zero value, and for each run of 15 zeros and the zero after it.
    assert bits_per_value(Format.CSC, 8, 1.0, SUPPORT) == 12
    assert bits_per_value(Format.CSC, 8, 0.0, SUPPORT) == 12 / 16


def test_pairs_per_value_by_hand() -> None:
    # Runs of at most one zero: a pair covers its first value, and the next if that was a zero:
    # 1 + 1/2 values at density 1/2.
    assert pairs_per_value(0.5, 1) == pytest.approx(1 / 1.5)


@pytest.mark.parametrize(("density", "run_bits"), [(0.3, 1), (0.5, 2), (0.9, 1)])
def test_pairs_per_value_of_all_short_sequences(density: float, run_bits: int) -> None:
    # Coded one by one, all sequences of 12 values, each with its probability. Only what is cut off
    # at the end differs from an endless sequence: less than one pair.
    length, expected = 12, 0.0
    for values in itertools.product((0, 1), repeat=length):
        pairs = run = 0
        for value in values:
            if value or run == (1 << run_bits) - 1:
                pairs, run = pairs + 1, 0
            else:
                run += 1
        expected += pairs * math.prod(density if value else 1 - density for value in values)
    assert expected <= pairs_per_value(density, run_bits) * length + 1e-9
    assert expected > pairs_per_value(density, run_bits) * length - 1


def test_the_share_of_macs_that_are_done() -> None:
    density = PerOperand(0.5, 0.2, 0.7)
    both = SparseSupport(zeros=ZeroSkip.GATE, of=frozenset({INPUT, WEIGHT}))
    one = SparseSupport(zeros=ZeroSkip.SKIP, of=frozenset({WEIGHT}))
    assert effectual_fraction(density, both) == 0.5 * 0.2
    assert effectual_fraction(density, one) == 0.2
    assert effectual_fraction(density, SparseSupport(of=frozenset({INPUT}))) == 1
    # A zero in the output is known only afterwards.
    assert effectual_fraction(density, SparseSupport(zeros=ZeroSkip.GATE)) == 1


def test_zeros_that_pad_long_runs_take_time_where_zeros_are_skipped() -> None:
    """Of sparse weights with counts of 4 bit a quarter more pairs; of dense ones no more."""
    support = SparseSupport(zeros=ZeroSkip.SKIP, of=frozenset({Operand.INPUT, Operand.WEIGHT}))
    both = frozenset(support.of)
    sparse, dense = PerOperand(0.35, 0.09, 1.0), PerOperand(0.5, 0.9, 1.0)
    assert worked_fraction(sparse, support, frozenset()) == effectual_fraction(sparse, support)
    assert worked_fraction(sparse, support, both) == pytest.approx(0.35 * 0.1156, rel=2e-3)
    assert worked_fraction(dense, support, both) == pytest.approx(0.45, rel=1e-4)
    assert worked_fraction(PerOperand(0.0, 0.5, 1.0), support, both) == 0
