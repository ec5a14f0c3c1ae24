"""Published networks, written here: their connections as published, fewer blocks and filters.

What matters to pruning is how channels hang together, and that is kept: every kind of block is
there, at least two of a kind where blocks follow each other, on images of 32 x 32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

CLASSES = 10


def _conv(ins: int, outs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(ins, outs, kernel, stride, kernel // 2, groups=groups, bias=False)


def _unit(
    ins: int, outs: int, kernel: int, stride: int = 1, groups: int = 1, act: Any = nn.ReLU
) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    return nn.Sequential(
        _conv(ins, outs, kernel, stride, groups), nn.BatchNorm2d(outs), act(inplace=True)
    )


def _linear_unit(ins: int, outs: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm alone."""
    return nn.Sequential(_conv(ins, outs, kernel, stride), nn.BatchNorm2d(outs))


def _head(features: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


def _alexnet() -> nn.Module:
    """Krizhevsky 2014 (one tower), as torchvision has it."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, 2, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(16, 24, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(24, 32, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(32, 24, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.5),
        nn.Linear(96, 48), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Linear(48, 48), nn.ReLU(inplace=True), nn.Linear(48, CLASSES),
    )  # fmt: skip


def _vgg16() -> nn.Module:
    """Simonyan and Zisserman 2014, Table 1, column D: thirteen convolutions."""
    layers: list[nn.Module] = []
    width = 3
    for outs, count in ((8, 2), (12, 2), (16, 3), (24, 3), (24, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(width, outs, 3, padding=1), nn.ReLU(inplace=True)]
            width = outs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(24, 32), nn.ReLU(inplace=True), nn.Dropout(),
        nn.Linear(32, 32), nn.ReLU(inplace=True), nn.Linear(32, CLASSES),
    )  # fmt: skip


class _Inception(nn.Module):
    """Szegedy et al. 2014, Figure 2b: four branches side by side."""

    def __init__(self, ins: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        one, three, five, pooled = widths
        self.branch1 = _unit(ins, one, 1)
        self.branch2 = nn.Sequential(_unit(ins, three // 2, 1), _unit(three // 2, three, 3))
        self.branch3 = nn.Sequential(_unit(ins, five // 2, 1), _unit(five // 2, five, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), _unit(ins, pooled, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


def _googlenet() -> nn.Module:
    features = nn.Sequential(
        _unit(3, 16, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True), _unit(16, 16, 1), _unit(16, 24, 3),
        _Inception(24, (8, 12, 4, 4)), _Inception(28, (12, 16, 8, 8)),
        nn.MaxPool2d(3, 2, ceil_mode=True), _Inception(44, (16, 24, 8, 8)),
    )  # fmt: skip
    return _head(features, 56)


class _Fire(nn.Module):
    """Iandola et al. 2016, Figure 1."""

    def __init__(self, ins: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(ins, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.squeeze(x), inplace=True)
        return torch.cat(
            [
                functional.relu(self.expand1x1(x), inplace=True),
                functional.relu(self.expand3x3(x), inplace=True),
            ],
            1,
        )


def _squeezenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 24, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True),
        _Fire(24, 6, 12), _Fire(24, 6, 16), nn.MaxPool2d(3, 2, ceil_mode=True), _Fire(32, 8, 16),
        nn.Dropout(0.5), nn.Conv2d(32, CLASSES, 1), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


class _Residual(nn.Module):
    """He et al. 2015, Figure 5: the basic block and the bottleneck."""

    def __init__(self, ins: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outs = 4 * width if bottleneck else width
        if bottleneck:
            self.body = nn.Sequential(
                _unit(ins, width, 1), _unit(width, width, 3, stride), _linear_unit(width, outs)
            )
        else:
            self.body = nn.Sequential(_unit(ins, width, 3, stride), _linear_unit(width, outs, 3))
        self.downsample = _linear_unit(ins, outs, 1, stride) if stride > 1 or ins != outs else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        y += x if self.downsample is None else self.downsample(x)
        return functional.relu(y, inplace=True)


def _resnet(bottleneck: bool) -> nn.Module:
    widths, wide = (8, 12, 16), 4 if bottleneck else 1
    layers: list[nn.Module] = [_unit(3, 8, 7, 2), nn.MaxPool2d(3, 2, 1)]
    ins = 8
    for number, width in enumerate(widths):
        layers.append(_Residual(ins, width, 2 if number else 1, bottleneck))
        layers.append(_Residual(wide * width, width, 1, bottleneck))
        ins = wide * width
    return _head(nn.Sequential(*layers), ins)


def _mobilenet_v1() -> nn.Module:
    """Howard et al. 2017, Table 1."""
    layers: list[nn.Module] = [_unit(3, 8, 3, 2)]
    width = 8
    for outs, stride in ((16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (32, 1), (48, 2), (48, 1)):
        layers += [_unit(width, width, 3, stride, width), _unit(width, outs, 1)]
        width = outs
    return _head(nn.Sequential(*layers), width)


class _Squeeze(nn.Module):
    """Squeeze and excite (Hu et al. 2017)."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(width, squeezed, 1), nn.Conv2d(squeezed, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = functional.silu(self.fc1(self.avgpool(x)))
        return torch.sigmoid(self.fc2(scale)) * x


class _Inverted(nn.Module):
    """Sandler et al. 2018, Figure 3; with squeeze and excite as in EfficientNet."""

    def __init__(self, ins: int, outs: int, stride: int, expansion: int, squeeze: bool) -> None:
        super().__init__()
        width = ins * expansion
        act = nn.SiLU if squeeze else nn.ReLU6
        layers = [_unit(ins, width, 1, act=act)] if expansion > 1 else []
        layers.append(_unit(width, width, 3, stride, width, act))
        if squeeze:
            layers.append(_Squeeze(width, max(1, ins // 4)))  # type: ignore[arg-type]
        self.body = nn.Sequential(*layers, _linear_unit(width, outs))
        self.adds = stride == 1 and ins == outs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.adds else self.body(x)


def _inverted(squeeze: bool) -> nn.Module:
    act = nn.SiLU if squeeze else nn.ReLU6
    layers: list[nn.Module] = [_unit(3, 8, 3, 2, act=act)]
    width = 8
    for outs, stride, expansion in ((8, 1, 1), (12, 2, 4), (12, 1, 4), (16, 2, 4), (16, 1, 4)):
        layers.append(_Inverted(width, outs, stride, expansion, squeeze))
        width = outs
    layers.append(_unit(width, 48, 1, act=act))
    return _head(nn.Sequential(*layers), 48)


class _DenseLayer(nn.Module):
    """Huang et al. 2016: batch norm, ReLU and convolution, twice, on all that came before."""

    def __init__(self, ins: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(ins), _conv(ins, 2 * growth, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(2 * growth), _conv(2 * growth, growth, 3)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        x = self.conv1(functional.relu(self.norm1(torch.cat(features, 1))))
        return self.conv2(functional.relu(self.norm2(x)))


class _DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_unit(3, 16, 7, 2), nn.MaxPool2d(3, 2, 1))
        self.block1 = nn.ModuleList([_DenseLayer(16 + 8 * n, 8) for n in range(3)])
        self.transition = nn.Sequential(
            nn.BatchNorm2d(40), nn.ReLU(inplace=True), _conv(40, 20, 1), nn.AvgPool2d(2)
        )
        self.block2 = nn.ModuleList([_DenseLayer(20 + 8 * n, 8) for n in range(2)])
        self.norm = nn.BatchNorm2d(36)
        self.classifier = nn.Linear(36, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.transition(self._block(self.block1, self.stem(x)))
        x = functional.relu(self.norm(self._block(self.block2, x)), inplace=True)
        return self.classifier(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))

    @staticmethod
    def _block(layers: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
        features = [x]
        for layer in layers:
            features.append(layer(features))
        return torch.cat(features, 1)


def _shuffled(x: torch.Tensor) -> torch.Tensor:
    batch, channels, height, width = x.size()
    x = x.view(batch, 2, channels // 2, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(batch, channels, height, width)


class _Shuffle(nn.Module):
    """Ma et al. 2018, Figure 3c and d."""

    def __init__(self, ins: int, outs: int, stride: int) -> None:
        super().__init__()
        half = outs // 2
        self.passes = stride == 1
        self.branch1 = nn.Identity() if self.passes else nn.Sequential(
            _conv(ins, ins, 3, 2, ins), nn.BatchNorm2d(ins), _unit(ins, half, 1)
        )  # fmt: skip
        self.branch2 = nn.Sequential(
            _unit(half if self.passes else ins, half, 1),
            _conv(half, half, 3, stride, half), nn.BatchNorm2d(half), _unit(half, half, 1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, dim=1) if self.passes else (x, x)
        return _shuffled(torch.cat((self.branch1(left), self.branch2(right)), 1))


def _shufflenet_v2() -> nn.Module:
    features = nn.Sequential(
        _unit(3, 8, 3, 2), nn.MaxPool2d(3, 2, 1), _Shuffle(8, 24, 2), _Shuffle(24, 24, 1),
        _Shuffle(24, 24, 1), _Shuffle(24, 48, 2), _Shuffle(48, 48, 1), _unit(48, 64, 1),
    )  # fmt: skip
    return _head(features, 64)


_NETWORKS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "alexnet": _alexnet,
        "googlenet": _googlenet,
        "squeezenet": _squeezenet,
        "vgg16": _vgg16,
        "resnet18": lambda: _resnet(bottleneck=False),
        "resnet50": lambda: _resnet(bottleneck=True),
        "mobilenet_v1": _mobilenet_v1,
        "mobilenet_v2": lambda: _inverted(squeeze=False),
        "densenet121": _DenseNet,
        "efficientnet_b0": lambda: _inverted(squeeze=True),
        "shufflenet_v2": _shufflenet_v2,
    }
)
_QUICK = ("densenet121", "shufflenet_v2")
PUBLISHED = tuple(_NETWORKS)
SOME_QUICK = tuple(
    name if name in _QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED
)
"""All of them as parameters of a test, the plainer ones marked slow."""


def published(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The network with fixed random weights, in evaluation mode, and two images."""
    torch.manual_seed(0)
    model = _NETWORKS[name]().eval()
    data = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    return model, data
