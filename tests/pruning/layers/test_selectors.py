"""Rules that choose weights, against brute force on small problems."""

from __future__ import annotations

import itertools

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")

from torch import Tensor  # noqa: E402

from picojoule.errors import PicojouleError  # noqa: E402
from picojoule.pruning.layers.constraints import Constraint, Filters, Pattern, Unstructured  # noqa: E402
from picojoule.pruning.layers.least_squares import _by_gradients, least_squares  # noqa: E402
from picojoule.pruning.layers.quantising import quantise  # noqa: E402
from picojoule.pruning.layers.selectors import (  # noqa: E402
    SELECTORS,
    alps,
    eap,
    error,
    obc,
    restore,
    select,
)

Problem = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def problem(groups: int, rows: int, columns: int, n: int = 400, seed: int = 0) -> Problem:
    """Weights, H, G, X, Y of a layer with correlated inputs, as behind a ReLU."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    x = (normal(groups, columns, columns) @ normal(groups, columns, n) / columns**0.5).relu()
    w = normal(groups, rows, columns)
    y = w @ x
    return w, x @ x.mT, y @ x.mT, x, y


CONSTRAINTS = [Unstructured(40), Unstructured(1), Unstructured(96), Pattern(2, 4), Filters(3)]


@pytest.mark.parametrize("rule", SELECTORS)
@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_constraints_hold_and_no_rule_loses_to_magnitude(
    rule: str, constraint: Constraint, groups: int
) -> None:
    w, h, g, x, y = problem(groups, 8 // groups, 12)
    found = select(rule, w, h, g, constraint, samples=(x, y))
    assert found.shape == w.shape
    assert constraint.satisfied(found != 0)
    plain = SELECTORS["magnitude"](w, h, g, constraint)
    assert error(found, h, g) <= error(plain, h, g) + 1e-9


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.9, 1.0])
def test_least_squares_is_numpys_per_filter(share: float) -> None:
    _, h, g, x, y = problem(2, 9, 14)
    support = torch.rand(2, 9, 14, generator=torch.Generator().manual_seed(1)) < share
    found = least_squares(h, g, support)
    for group, row in itertools.product(range(2), range(9)):
        kept = support[group, row].nonzero()[:, 0]
        wanted = torch.linalg.lstsq(x[group, kept].T, y[group, row]).solution
        torch.testing.assert_close(found[group, row, kept], wanted, rtol=1e-8, atol=1e-10)
    assert not found[~support].any()


def test_least_squares_by_gradients_is_as_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    _, h, g, _, _ = problem(1, 9, 14)
    support = torch.rand(1, 9, 14, generator=torch.Generator().manual_seed(1)) < 0.5
    wanted = least_squares(h, g, support)
    found = _by_gradients(h[0], g[0], support[0], None, 200)
    assert found is not None
    torch.testing.assert_close(found, wanted[0], rtol=1e-7, atol=1e-9)
    # Given too few steps they give up, and factors take over.
    assert _by_gradients(h[0], g[0], support[0], None, 2) is None
    monkeypatch.setattr("picojoule.pruning.layers.least_squares._FEW_PRODUCTS", 0)
    monkeypatch.setattr("picojoule.pruning.layers.least_squares._MOST_STEPS", 2)
    assert torch.equal(least_squares(h, g, support), wanted)


def test_least_squares_with_inputs_that_are_always_zero() -> None:
    _, _, _, x, y = problem(1, 4, 6)
    x[0, 2] = 0  # a dead channel: H is singular
    h, g = x @ x.mT, y @ x.mT
    found = least_squares(h, g, torch.ones(1, 4, 6, dtype=torch.bool))
    assert torch.isfinite(found).all()
    alive = [0, 1, 3, 4, 5]
    wanted = torch.linalg.lstsq(x[0, alive].T, y[0].T).solution.T
    torch.testing.assert_close(found[0][:, alive], wanted, rtol=1e-5, atol=1e-7)


def best_by_trying_all(h: Tensor, g: Tensor, keep: int) -> float:
    columns = h.shape[-1]
    return min(
        error(least_squares(h, g, support), h, g)
        for kept in itertools.combinations(range(columns), keep)
        for support in [
            torch.zeros(1, 1, columns, dtype=torch.bool).index_fill(2, torch.tensor(kept), True)
        ]
    )


@pytest.mark.parametrize("rule", [alps, obc])
def test_near_the_optimum_of_all_supports(rule: object) -> None:
    ratios = []
    for seed in range(8):
        w, h, g, _, y = problem(1, 1, 9, seed=seed)
        energy = float(y.square().sum())
        best = energy + best_by_trying_all(h, g, 4)
        found = energy + error(rule(w, h, g, Unstructured(4)), h, g)  # type: ignore[operator]
        assert found >= best * (1 - 1e-9)
        ratios.append(found / best)
    assert sum(ratios) / len(ratios) < 1.15
    assert ratios.count(min(ratios)) >= 1
    assert sum(ratio < 1.0001 for ratio in ratios) >= 4  # the optimum itself, half of the time


def test_removal_costs_are_what_removals_cost() -> None:
    """OBC's first removal of a row is the one that brute force finds."""
    w, h, g, _, _ = problem(1, 1, 7, seed=3)
    found = obc(w, h, g, Unstructured(6))
    errors = []
    for gone in range(7):
        support = torch.ones(1, 1, 7, dtype=torch.bool)
        support[..., gone] = False
        errors.append(error(least_squares(h, g, support), h, g))
    assert (found == 0).nonzero()[0, 2] == errors.index(min(errors))


def restored_slowly(
    w: Tensor, support: Tensor, x: Tensor, y: Tensor, keep: int, norm: int
) -> Tensor:
    """CVPR'17 §4 step 3, as one would write it first."""
    support = support.clone()
    while int(support.sum()) < keep:
        residual = y - (w * support) @ x
        sizes = residual.abs().pow(norm).sum(-1)
        sizes[support.all(-1)] = -1
        g, r = divmod(int(sizes.argmax()), w.shape[1])
        gains = {}
        for c in (~support[g, r]).nonzero()[:, 0].tolist():
            after = residual[g, r] - w[g, r, c] * x[g, c]
            gains[c] = float(sizes[g, r] - after.abs().pow(norm).sum())
        for c in sorted(gains, key=gains.__getitem__, reverse=True)[
            : min(2, keep - int(support.sum()))
        ]:
            support[g, r, c] = True
    return support


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_restoration_takes_the_papers_order(norm: int, groups: int) -> None:
    w, _, _, x, y = problem(groups, 4, 10, seed=5)
    first = Unstructured(9).support(w.abs())
    for keep in (10, 13, 22):
        found = restore(w, first, (x, y), keep, norm=norm)
        assert torch.equal(found, restored_slowly(w, first, x, y, keep, norm))
        assert bool((found | ~first).all())  # what was kept stays


def test_eap_without_restoration_is_magnitude_and_least_squares() -> None:
    w, h, g, x, y = problem(1, 6, 10)
    plain = SELECTORS["magnitude-ls"](w, h, g, Unstructured(20))
    torch.testing.assert_close(eap(w, h, g, Unstructured(20), samples=(x, y), restored=0.0), plain)


def test_restoration_pays() -> None:
    """What CVPR'17 claims for its steps 3 and 4, on average over layers."""
    gains = []
    for seed in range(6):
        w, h, g, x, y = problem(1, 16, 24, seed=seed)
        energy = float(y.square().sum())
        plain = energy + error(SELECTORS["magnitude-ls"](w, h, g, Unstructured(80)), h, g)
        gains.append(plain / (energy + error(eap(w, h, g, Unstructured(80), samples=(x, y)), h, g)))
    assert sum(gains) / len(gains) > 1.03


def test_quantised_weights_lie_on_the_grid_and_beat_rounding() -> None:
    w, h, g, _, _ = problem(2, 5, 12)
    sparse = least_squares(h, g, w.abs() > 0.5)
    for bits in (8, 4, 3):
        found = quantise(sparse, h, g, bits)
        step = sparse.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
        torch.testing.assert_close(found / step, (found / step).round(), atol=1e-9, rtol=0)
        assert not found[sparse == 0].any()
        rounded = (sparse / step).round() * step
        assert error(found, h, g) <= error(rounded, h, g) + 1e-12
    assert error(quantise(sparse, h, g, 8), h, g) < error(quantise(sparse, h, g, 3), h, g)


def test_a_pattern_whose_rows_do_not_divide() -> None:
    scores = torch.arange(10.0)[None, None]
    support = Pattern(1, 4).support(scores)
    assert support[0, 0].nonzero()[:, 0].tolist() == [3, 7, 9]
    assert Pattern(1, 4).satisfied(support)
    assert not Pattern(1, 4).satisfied(torch.ones(1, 1, 10, dtype=torch.bool))


def test_an_unknown_rule() -> None:
    w, h, g, _, _ = problem(1, 2, 3)
    with pytest.raises(PicojouleError, match=r"no selector 'alp' \(did you mean 'alps'\?\)"):
        select("alp", w, h, g, Unstructured(2))
