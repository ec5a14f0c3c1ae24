"""Prices of a network whose densities, weight widths and channels change."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from picojoule.errors import PicojouleError  # noqa: E402
from picojoule.pruning.energy_aware.pricing import Pricing  # noqa: E402
from picojoule.pruning.graph.tracing import trace  # noqa: E402
from picojoule.pruning.layers.capture import Densities, find_layers  # noqa: E402
from picojoule.workload import Layer  # noqa: E402


class Net(nn.Module):
    """Two linear layers, and a product of activations that pruning does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x @ x.transpose(1, 2) @ x)


def effectual(layer: Layer) -> float:
    return layer.effectual_macs


def pricing(batch: int = 1) -> Pricing:
    traced = trace(Net(), (torch.randn(1, 5, 6),))
    return Pricing(traced, find_layers(traced), None, batch=batch, cost=effectual)


def test_a_price_by_hand() -> None:
    prices = pricing()
    assert [(x.name, x.macs) for x in prices.workload if x.name not in prices.unpruned] == [
        ("first", 5 * 6 * 8),
        ("last", 5 * 8 * 4),
    ]
    activations = sum(prices.workload[name].macs for name in prices.unpruned)
    assert activations == 2 * 5 * 5 * 8
    price = prices.price(
        prices.network({"first": 0.5, "last": 1.0}, {"first": Densities(0.25, 1.0)})
    )
    assert price.layers["first"] == pytest.approx(240 * 0.5 * 0.25)
    assert price.energy == pytest.approx(30 + 160 + activations)
    assert price.macs == 240 + 160 + activations
    narrow = prices.price(prices.network({"first": 1.0, "last": 1.0}, {}, sides={"first": (6, 2)}))
    assert narrow.layers["first"] == 5 * 6 * 2
    assert prices.weights_left("first", (6, 2)) == 0.25
    assert prices.channels("last") == (8, 4)


def test_a_batch_is_priced_per_inference() -> None:
    assert pricing(batch=3).macs("first") == pricing().macs("first")


def test_budgets_are_shares_or_amounts() -> None:
    prices = pricing()
    for share in (0.25, "0.25", "25%", " 25 % "):
        assert prices.budget(share, 80.0) == 20.0
    for asked, why in (
        ("40 µJ", "have no unit"),
        (1.5, "above 0 and below 1"),
        ("130%", "above 0 and below 1"),
        ("0%", "above 0 and below 1"),
    ):
        with pytest.raises(PicojouleError, match=why):
            prices.budget(asked, 80.0)


def test_a_cost_must_be_a_number() -> None:
    traced = trace(Net(), (torch.randn(1, 5, 6),))
    prices = Pricing(traced, find_layers(traced), None, cost=lambda _: float("nan"))
    with pytest.raises(PicojouleError, match="the cost of layer 'first' is nan"):
        prices.layer("first", weight=1.0, densities=None)
