"""Chains of one dimension: which are listed, which left out, and what a dataflow allows."""

from __future__ import annotations

import numpy as np
import pytest

from picojoule.mapper.chains import Cuts, Rules, chains
from picojoule.mapper.listings import Asked


def cuts(
    *limits: int, fans: tuple[int, ...], perfect: bool = False, rules: Rules | None = None
) -> Cuts:
    return Cuts(limits=limits, fans=fans, edge=0, perfect=perfect, rules=rules)


def listed(which: Cuts) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
    tiles, fans = chains(which)
    return {(tuple(t), tuple(f)) for t, f in zip(tiles.tolist(), fans.tolist(), strict=True)}


def test_dividing_chains() -> None:
    # 6 over two levels without an array: the inner tile is a divisor of 6.
    assert {tiles[1] for tiles, _ in listed(cuts(6, 6, fans=(0, 0), perfect=True))} == {1, 2, 3, 6}
    # At most 2 fit inside.
    assert {tiles[1] for tiles, _ in listed(cuts(6, 2, fans=(0, 0), perfect=True))} == {1, 2}


def test_dividing_unrollings() -> None:
    # One level over an array of 4: 6 is unrolled 1, 2 or 3 times; 6 and 4 do not fit or divide.
    one = listed(cuts(6, fans=(4,), perfect=True))
    assert {fans for _, fans in one} == {(1,), (2,), (3,)}


def test_only_the_smallest_tile_of_a_number_of_tiles() -> None:
    # Three levels, an array of one element in the middle, 7 in all. 4 tiles of 2 cover 7, and 3 of
    # 3, 2 of 4, 1 of 7; 5 and 6 also take 2 tiles and save nothing over 4.
    outer = {tiles[1] for tiles, _ in listed(cuts(7, 7, 1, fans=(0, 1, 0)))}
    assert outer == {1, 2, 3, 4, 7}


def test_too_long_a_dimension_is_not_listed_whole() -> None:
    # Of 50,257 there are more chains than are listed; even splits of 13: 13, 7, 5, 4, 3, 2, 1.
    long = cuts(50_257, 50_257, 50_257, 50_257, fans=(0, 16, 16, 0))
    assert not long.complete
    counted = tuple((child, 0, outer) for child in (1, 2, 3) for outer in range(child + 1))
    short = cuts(13, 13, 13, 13, fans=(0, 0, 0, 0))._replace(counted=counted)
    assert short.complete
    assert {tiles[1] for tiles, _ in listed(short)} >= {1, 2, 3, 4, 5, 7, 13}


FREE = Rules(gap=1, element=None, buffer=None, spanned=False, whole=False, spread=False)


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (FREE._replace(element=2), [False, True, False]),
        (FREE._replace(element=5), [True, True, True]),  # no element can: it is cut after all
        (FREE._replace(spanned=True), [False, True, True]),
        (FREE._replace(whole=True), [True, True, False]),
        (FREE._replace(spread=True), [False, True, False]),
    ],
)
def test_rules(rules: Rules, kept: list[bool]) -> None:
    # 6 whole in the buffer: element tiles of 1 and 2, 3 unrolled: 3 and 6 of 6 at once; then a
    # buffer tile of 3, all of it at once.
    tiles = np.array([[6, 6, 1, 1], [6, 6, 2, 1], [6, 3, 1, 1]])
    fans = np.array([[1, 3, 1], [1, 3, 1], [1, 3, 1]])
    assert rules.allowed(tiles, fans).tolist() == kept


def test_unrollings_that_axes_multiply_to() -> None:
    # On 2 x 2 three elements become four; five, that the array has no room for, are not there; and
    # three that cover their tile in one step stay, since the fourth is idle.
    loose = cuts(5, 5, 1, fans=(0, 4, 0))
    exact = loose._replace(spans=((), (2, 2), ()))
    assert {fans[1] for _, fans in listed(loose)} == {1, 2, 3}
    assert ((5, 5, 1, 1), (1, 4, 1)) in listed(exact)
    assert ((5, 3, 1, 1), (1, 3, 1)) in listed(exact)
    assert all(fans[1] != 3 or tiles[1] == 3 for tiles, fans in listed(exact))


def test_a_sum_may_be_spread_wider_than_it_needs() -> None:
    # 8 on an array of 3, element tiles up to 3: three steps of one element or of three with one
    # value each take as long in steps; the sum passed on between three may cost less.
    narrow = cuts(8, 8, 3, fans=(0, 3, 0))
    wide = narrow._replace(more=True)
    assert listed(narrow) < listed(wide)
    assert ((8, 8, 1, 1), (1, 3, 1)) in listed(wide)


def test_a_wider_spread_may_save_turns() -> None:
    # 13 on an array of 3 whose elements hold 4: two steps either way, of 4 + 4 turns on two
    # elements (8 + 5), of 4 + 1 on three (12 + 1).
    narrow = cuts(13, 13, 4, fans=(0, 3, 0))
    wide = narrow._replace(asked=Asked(turns=True))
    faster = ((13, 13, 4, 1), (1, 3, 1))
    assert faster not in listed(narrow)
    assert faster in listed(wide)
