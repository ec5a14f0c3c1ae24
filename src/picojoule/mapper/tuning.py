"""The numbers that decide how long a search takes, and never what it finds.

Each was chosen by trial on the layers of ``benchmarks/search.py`` while the part that reads it was
written; those trials were not kept, so no published benchmark stands behind any single number. What
they are worth together is in ``benchmarks/results/search.md``.
"""

from __future__ import annotations

from typing import NamedTuple


class Tuning(NamedTuple):
    """How much effort goes where; a named tuple, because compiled code reads only such.

    Args:
        dual_rounds, dual_turns: of a class's dual bound: passes over all options, and steps on the
            candidates between two passes.
        dual_candidates: options of each block that those steps know.
        box_rounds, box_turns, box_candidates: the same for each choice of outermost tile counts.
        fewest_rounds, fewest_turns, fewest_candidates: the same for the fewest steps of a space.
        fewest_gaps: how far above that bound the fewest steps are looked for, one after the other.
        rivals: options of a block that others are compared with, to leave out those beaten.
        box_work: work on the boxes of a class after which it is halved instead.
        leaf: choices of options that are walked, not halved.
        sets: of options that are halved, at the same time.
        first_price: multiplier of a limit to begin with.
        price_step: how far a multiplier moves at most for a limit overrun e-fold.
        price_decay: how soon those steps get smaller.
        price_clip: overruns (logarithms) are taken to be no larger.
        least_pull: the share of the newest pick in the averages, once many have been seen.
        stale: a bound that rises by less (in its logarithm) has as good as settled.
        patience: steps in which it rises by less before the steps end.
        enough: a dual bound that far above the least is not sharpened before its turn.
        first_step: how far above its bound a class is searched first; doubled each time.
        few: options that are searched faster with their hops open than bounded with them decided.
        first_pace: work (:data:`boxes.A_BOX`) taken to be done in a second before a search was
            broken off: what the slowest do, so that no time is overrun.
        margin: the share of the time left that a search may take by what the last one did.
        least_work: what a search within a time budget is given at least.
        buckets: of the table in which a window's moments are found again; a power of two.
        many: classes of which those that are alike are sought; of fewer that takes too long.
    """

    dual_rounds: int = 8
    dual_turns: int = 60
    dual_candidates: int = 32
    box_rounds: int = 2
    box_turns: int = 25
    box_candidates: int = 16
    fewest_rounds: int = 8
    fewest_turns: int = 100
    fewest_candidates: int = 32
    fewest_gaps: tuple[float, ...] = (0.01, 0.1, 1.0)
    rivals: int = 512
    box_work: int = 2_500_000
    leaf: float = 1000.0
    sets: int = 256
    first_price: float = 0.02
    price_step: float = 0.05
    price_decay: float = 0.2
    price_clip: float = 4.0
    least_pull: float = 0.01
    stale: float = 0.0001
    patience: int = 15
    enough: float = 0.01
    first_step: float = 0.02
    few: int = 2000
    first_pace: int = 10_000_000
    margin: float = 0.9
    least_work: int = 20_000
    buckets: int = 1 << 12
    many: int = 500


TUNING = Tuning()
