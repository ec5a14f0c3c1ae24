"""Released models: packed bit for bit, each with a card that is true."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")
pytest.importorskip("safetensors")

from safetensors.torch import load  # noqa: E402

import picojoule  # noqa: E402
from picojoule.errors import PicojouleError  # noqa: E402
from picojoule.pruning.graph.tracing import trace  # noqa: E402
from picojoule.pruning.layers.capture import find_layers  # noqa: E402
from picojoule.pruning.networks import NETWORKS  # noqa: E402
from picojoule.pruning.released import cards, packed, unpacked  # noqa: E402

CARDS = cards()


def test_packing_keeps_every_bit() -> None:
    draw = torch.Generator().manual_seed(0)
    sparse = torch.randn(7, 3, 3, 3, generator=draw)
    sparse[torch.rand(sparse.shape, generator=draw) < 0.8] = 0
    grid = torch.randint(1, 8, (12, 5, 3, 3), generator=draw).float()
    grid[0], grid[1] = 0, grid[1] * 18  # a row without weights, and one of 8 bits
    tensors = {
        "sparse": sparse,
        "dense": torch.randn(5, generator=draw),
        "empty": torch.zeros(4, 2),
        "count": torch.tensor(3),
        "scalar": torch.tensor(1.5),
        "grid": (grid.double() * torch.randn(12, 1, 1, 1, generator=draw).double()).float(),
        "sparse grid": grid * (torch.rand(grid.shape, generator=draw) < 0.3) * 0.1,
        "of half": grid.half(),
        "no grid": grid * 0.1 + 1e-7,
    }
    raw = packed(tensors)
    found = unpacked(raw)
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
    assert raw == packed(found)
    assert load(raw)["grid"].dtype == load(raw)["values/sparse grid"].dtype == torch.int8
    assert load(raw)["no grid"].dtype == torch.float32


def test_an_unknown_model() -> None:
    with pytest.raises(PicojouleError, match="no released model 'lenet'"):
        picojoule.load_model("lenet")


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card["name"])
def test_a_model_is_what_its_card_says(card: dict[str, object]) -> None:
    model = picojoule.load_model(str(card["name"]))
    _, shape = NETWORKS[str(card["network"])]
    layers = find_layers(trace(model, (torch.zeros(1, *shape),)))
    by_layer = card["weights_kept_by_layer"]
    assert isinstance(by_layer, dict)
    assert set(by_layer) == {layer.name for layer in layers}
    for layer in layers:
        weight = model.get_parameter(layer.parameter)
        share = int(torch.count_nonzero(weight)) / weight.numel()
        assert share == pytest.approx(by_layer[layer.name])
    small = picojoule.load_model(str(card["name"]), narrow=True)
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert model(images).shape == (3, card["classes"])
        torch.testing.assert_close(small(images), model(images), rtol=1e-4, atol=1e-4)
    sizes = [sum(p.numel() for p in network.parameters()) for network in (model, small)]
    channels = card.get("channels", {})
    assert isinstance(channels, dict)
    narrower = any(after < before for before, after in channels.values())
    assert sizes[1] < sizes[0] if narrower else sizes[1] <= sizes[0]
    assert card["energy"] * card["reduction"] == pytest.approx(card["energy_unpruned"])  # type: ignore[operator]


def test_the_whole_set_is_small() -> None:
    assert sum(int(card["bytes"]) for card in CARDS) < 20e6
