"""Expected sizes and counts of sparse operands.

Values are taken as independently zero with probability ``1 - density``, as the published
analytical estimator does (Asilomar'17 §IV). Sizes are in bits per value, flags included.
"""

from __future__ import annotations

from picojoule.accelerator import Format, SparseSupport, ZeroSkip
from picojoule.workload import OPERANDS, Operand, PerOperand

# The Eyeriss chip packs run-length pairs into words of 64 bits (JSSC'17 §V-B).
_RLC_WORD = 64


def bits_per_value(coding: Format, width: int, density: float, support: SparseSupport) -> float:
    """Expected bits that one value of *width* bits takes in *coding*.

    >>> bits_per_value(Format.BITMAP, 16, 0.25, SparseSupport())
    5.0
    """
    if coding is Format.DENSE:
        return float(width)
    if coding is Format.BITMAP:  # Asilomar'17 §IV: N x (1 + density x b)
        return 1 + density * width
    if coding is Format.RUN_LENGTH:
        pair = support.run_bits + width
        # Three pairs of 5 + 16 bits fill 63 of 64 bits; pairs wider than a word span words.
        packed = _RLC_WORD / (_RLC_WORD // pair) if pair <= _RLC_WORD else pair
        return pairs_per_value(density, support.run_bits) * packed
    return pairs_per_value(density, support.count_bits) * (support.count_bits + width)


def pairs_per_value(density: float, run_bits: int) -> float:
    """Expected (run, value) pairs per value when a run counts at most ``2**run_bits - 1`` zeros.

    A pair ends at the first non-zero value, or after the longest run (its value is then a zero),
    so it covers ``sum_{k=0}^{longest} (1 - density)**k`` values on average (renewal argument).

    >>> pairs_per_value(1.0, 5), pairs_per_value(0.0, 5)
    (1.0, 0.03125)
    """
    longest = 1 << run_bits
    if density == 0.0:
        return 1 / longest
    return density / (1 - (1 - density) ** longest)


def effectual_fraction(density: PerOperand[float], support: SparseSupport) -> float:
    """Fraction of the MACs that are really done: those whose seen factors are non-zero."""
    if support.zeros is ZeroSkip.NONE:
        return 1.0
    fraction = 1.0
    for operand in (Operand.INPUT, Operand.WEIGHT):
        if operand in support.of:
            fraction *= density[OPERANDS.index(operand)]
    return fraction


def worked_fraction(
    density: PerOperand[float], support: SparseSupport, paired: frozenset[Operand]
) -> float:
    """Fraction of the MACs for which a machine that skips zeros takes time.

    Those that are done and, of operands that are *paired* with counts of zeros, those of zeros that
    pad runs which are too long for a count (EIE, ISCA 2016 §III-B).

    >>> eie = SparseSupport(zeros=ZeroSkip.SKIP, of=frozenset({Operand.WEIGHT}))
    >>> round(worked_fraction(PerOperand(1.0, 0.09, 1.0), eie, frozenset({Operand.WEIGHT})), 4)
    0.1156
    """
    fraction = effectual_fraction(density, support)
    for operand in support.of & paired:
        share = density[OPERANDS.index(operand)]
        fraction *= pairs_per_value(share, support.count_bits) / share if share else 1.0
    return fraction
