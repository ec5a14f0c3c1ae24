"""PyTorch modules, by way of torch.export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from picojoule.errors import InputError
from picojoule.frontends import load
from picojoule.workload import Extents, PerOperand, Workload

torch = pytest.importorskip("torch")
nn = torch.nn
F = torch.nn.functional
Module: Any = nn.Module

pytestmark = pytest.mark.filterwarnings("ignore")


def read(module: Any, *shapes: tuple[int, ...]) -> Workload:
    return load((module, tuple(torch.randn(shape) for shape in shapes)))


def test_convolutions_by_hand() -> None:
    network = read(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding="same", dilation=(1, 2), groups=8),
            nn.ConvTranspose2d(8, 4, 2, stride=2),
            nn.Flatten(),
            nn.Linear(4 * 16 * 16, 10),
        ),
        (1, 3, 16, 16),
    )
    assert network["0"].bounds == Extents(M=8, C=3, P=8, Q=8, R=3, S=3)
    assert network["3"].bounds == Extents(G=8, P=8, Q=8, R=3, S=3)
    assert network["3"].padding == (1, 1, 2, 2)
    up = [layer for layer in network if layer.name.startswith("4[")]
    # Stride 2, kernel 2: one product per output and channel pair.
    assert sum(layer.macs for layer in up) == 16 * 16 * 8 * 4
    assert network["6"].macs == 10_240
    assert dict(network.not_counted) == {"batch_norm": 1, "relu": 1}


def test_one_dimension_and_no_batch_dimension() -> None:
    network = read(nn.Conv1d(3, 5, 4, padding=1), (3, 20))
    assert network.layers[0].bounds == Extents(M=5, C=3, Q=19, S=4)
    assert network.layers[0].padding == (0, 0, 1, 1)


def test_three_dimensions_have_all_their_products() -> None:
    network = read(nn.Conv3d(3, 5, 2), (1, 3, 4, 4, 4))
    assert network.macs == 3 * 5 * 2**3 * 3**3
    assert network.complete


def test_attention_is_two_products() -> None:
    # Two heads of 4 over 6 tokens of width 8.
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    network = read(layer, (1, 6, 8))
    assert network["self_attn.scores"].bounds == Extents(G=2, M=6, C=4, P=6)
    assert network["self_attn.context"].bounds == Extents(G=2, M=4, C=6, P=6)
    assert network["self_attn.in_proj"].bounds == Extents(M=24, C=8, P=6)
    assert network["linear2"].bounds == Extents(M=8, C=16, P=6)
    # 6 * 8 * 24 + 2 * 2 * 6 * 6 * 4 + 6 * 8 * 8 + 2 * 6 * 8 * 16
    assert network.macs == 1152 + 576 + 384 + 1536


class Products(Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(4, 3))

    def forward(self, x: Any) -> Any:
        y = x @ self.table
        z = torch.einsum("bij,bkj->bik", y, y)
        w = torch.einsum("ij,bjk->bik", self.table, torch.bmm(y.transpose(1, 2), y))
        q = F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])
        return z, w, q


def test_products_of_parameters_and_activations() -> None:
    network = read(Products(), (1, 5, 4))
    bounds = [layer.bounds for layer in network]
    assert bounds == [
        Extents(M=3, C=4, P=5),
        Extents(M=5, C=3, P=5),
        Extents(M=3, C=5, P=3),
        Extents(M=4, C=3, P=3),
        Extents(M=5, C=4, P=5),
        Extents(M=4, C=5, P=5),
    ]
    assert [layer.weight_is_activation for layer in network] == [
        False,
        True,
        True,
        False,
        True,
        True,
    ]
    assert network.layers[0].name == "table"


def test_densities_are_those_of_the_parameters() -> None:
    fc = nn.Linear(4, 4)
    with torch.no_grad():
        fc.weight.copy_(torch.eye(4))
    assert read(fc, (1, 4)).layers[0].density == PerOperand(1.0, 0.25, 1.0)


def test_masks_of_pruning_count_as_zeros() -> None:
    from torch.nn.utils import prune

    fc = nn.Linear(10, 10)
    prune.random_unstructured(fc, "weight", amount=0.5)
    layer = read(fc, (1, 10)).layers[0]
    assert layer.density.weight == 0.5
    assert not layer.weight_is_activation


def test_a_module_without_values_has_shapes() -> None:
    with torch.device("meta"):
        network = load((nn.Linear(4096, 4096), (torch.empty(1, 4096),)))
    assert network.macs == 4096 * 4096


def test_batch_of_the_inputs_is_that_of_the_network() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 3))
    network = read(module, (4, 1, 2, 2))
    assert network.batch == 4
    assert network.macs == 8 + 24
    assert read(module, (1, 1, 2, 2)).with_batch(4).layers == network.layers


def test_the_module_keeps_its_mode() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    module[1].eval()
    read(module, (1, 2))
    assert module.training
    assert module[0].training
    assert not module[1].training


def test_what_cannot_be_exported_is_an_input_error() -> None:
    class Wayward(Module):
        def forward(self, x: Any) -> Any:
            return x if x.sum() > 0 else 2 * x

    with pytest.raises(InputError, match=r"torch\.export"):
        read(Wayward(), (1, 2))


def test_a_module_needs_inputs() -> None:
    with pytest.raises(InputError, match=r"\(module, inputs\)"):
        load(nn.Linear(1, 1))


def test_function_of_a_file_may_return_a_module(tmp_path: Path) -> None:
    path = tmp_path / "nets.py"
    path.write_text(
        "import torch\ndef tiny():\n    return torch.nn.Linear(3, 2), (torch.ones(1, 3),)\n"
    )
    assert load(f"{path}:tiny", name="t").macs == 6


def test_residual_block_by_hand() -> None:
    # 8 x 8 outputs: 3 x 3 from 8 and from 16 channels, 1 x 1 for the shortcut.
    class Block(Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(8, 16, 3, 2, 1)
            self.conv2 = nn.Conv2d(16, 16, 3, 1, 1)
            self.down = nn.Conv2d(8, 16, 1, 2)

        def forward(self, x: Any) -> Any:
            return F.relu(self.conv2(F.relu(self.conv1(x))) + self.down(x))

    network = read(Block(), (1, 8, 16, 16))
    assert [layer.name for layer in network] == ["conv1", "conv2", "down"]
    assert network.macs == 64 * 16 * 8 * 9 + 64 * 16 * 16 * 9 + 64 * 16 * 8
    assert dict(network.not_counted) == {"add": 1, "relu": 2}
