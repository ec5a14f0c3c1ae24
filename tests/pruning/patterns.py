"""Small networks, one for each way in which channels of published networks hang together."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from picojoule.pruning.graph.tracing import TracedNetwork, trace


def _conv(ins: int, outs: int, kernel: int = 3, **settings: Any) -> nn.Sequential:
    padding = settings.pop("padding", kernel // 2)
    return nn.Sequential(
        nn.Conv2d(ins, outs, kernel, padding=padding, bias=False, **settings),
        nn.BatchNorm2d(outs),
        nn.ReLU(inplace=True),
    )


class Plain(nn.Module):
    """AlexNet, VGG: convolutions, pooling, flatten, linear; with response normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.LocalResponseNorm(3)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1)
        self.fc1 = nn.Linear(12 * 4 * 4, 20)
        self.drop = nn.Dropout(0.3)
        self.fc2 = nn.Linear(20, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu_(self.conv2(x)), 2)
        x = x.view(x.size(0), 12 * 4 * 4)
        return self.fc2(self.drop(functional.relu(self.fc1(x))))


class ResponseNorm(nn.Module):
    """BVLC AlexNet: normalisation over neighbouring channels, grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.LocalResponseNorm(5, alpha=2e-4, beta=0.7, k=1.5)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1, groups=2)
        self.fc = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(functional.relu(self.conv1(x)))
        return self.fc(functional.relu(self.conv2(x)).mean((2, 3)))


class Inception(nn.Module):
    """GoogLeNet, SqueezeNet: branches laid side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 8)
        self.one = _conv(8, 4, 1)
        self.three = nn.Sequential(_conv(8, 6, 1), _conv(6, 8))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), _conv(8, 4, 1))
        self.after = nn.Conv2d(16, 10, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.cat([self.one(x), self.three(x), self.pooled(x)], 1)
        return torch.flatten(functional.adaptive_avg_pool2d(self.after(x), 1), 1)


class Block(nn.Module):
    def __init__(self, ins: int, outs: int, stride: int) -> None:
        super().__init__()
        self.a = _conv(ins, outs, stride=stride)
        self.b = nn.Sequential(nn.Conv2d(outs, outs, 3, padding=1), nn.BatchNorm2d(outs))
        self.down = None if ins == outs else nn.Conv2d(ins, outs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.b(self.a(x))
        y += x if self.down is None else self.down(x)
        return functional.relu(y)


class Residual(nn.Module):
    """ResNet: additions, with and without a convolution in the short cut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 8)
        self.blocks = nn.Sequential(Block(8, 8, 1), Block(8, 12, 2), Block(12, 12, 1))
        self.fc = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.blocks(self.stem(x)).mean([2, 3]))


class PaddedShortcut(nn.Module):
    """The short cut of the original ResNet-20: every second pixel, zeros as new channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 8)
        self.body = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16))
        self.fc = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        return self.fc((self.body(x) + short).relu().mean((2, 3)))


class Separable(nn.Module):
    """MobileNetV1: depthwise and pointwise convolutions in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 8)
        self.dw1, self.pw1 = _conv(8, 8, groups=8, stride=2), _conv(8, 16, 1)
        self.dw2, self.pw2 = _conv(16, 16, groups=16), _conv(16, 12, 1)
        self.fc = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pw2(self.dw2(self.pw1(self.dw1(self.stem(x)))))
        return self.fc(functional.avg_pool2d(x, 8).flatten(1))


class Inverted(nn.Module):
    """MobileNetV2, EfficientNet: expansion, depthwise, squeeze-and-excite, projection, addition."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 8)
        self.expand = _conv(8, 24, 1)
        self.dw = _conv(24, 24, groups=24)
        self.squeeze, self.excite = nn.Conv2d(24, 6, 1), nn.Conv2d(6, 24, 1)
        self.project = nn.Sequential(nn.Conv2d(24, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.dw(self.expand(x))
        scale = functional.silu(self.squeeze(functional.adaptive_avg_pool2d(y, 1)))
        y = y * torch.sigmoid(self.excite(scale))
        return self.head((x + self.project(y)).mean((2, 3)))


class Dense(nn.Module):
    """DenseNet: every layer reads all before it; normalisation in front of the convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8 + 4 * n) for n in range(3)])
        self.convs = nn.ModuleList([nn.Conv2d(8 + 4 * n, 4, 3, padding=1) for n in range(3)])
        self.last = nn.BatchNorm2d(20)
        self.fc = nn.Linear(20, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat([x, conv(norm(x).relu())], 1)
        return self.fc(self.last(x).relu().mean((2, 3)))


def _shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    batch, channels, height, width = x.size()
    x = x.view(batch, groups, channels // groups, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(batch, -1, height, width)


class Shuffled(nn.Module):
    """ShuffleNetV2: half of the channels pass by, then all are shuffled; three times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 12)
        self.units = nn.ModuleList(
            [
                nn.Sequential(
                    _conv(6, 6, 1), nn.Conv2d(6, 6, 3, padding=1, groups=6), _conv(6, 6, 1)
                )
                for _ in range(3)
            ]
        )
        self.fc = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for unit in self.units:
            left, right = x.chunk(2, dim=1)
            x = _shuffle(torch.cat([left, unit(right)], 1), 2)
        return self.fc(x.mean([2, 3]))


class Grouped(nn.Module):
    """ResNeXt: a grouped convolution keeps as many channels in each group."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 12)
        self.grouped = _conv(12, 18, groups=3)
        self.doubled = nn.Conv2d(18, 36, 3, padding=1, groups=18)  # two filters per channel
        self.fc = nn.Linear(36, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.doubled(self.grouped(self.stem(x))).relu().mean((2, 3)))


class Decoder(nn.Module):
    """FastDepth: transposed convolution, pixel shuffle, slices, one weight used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 8)
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 12, 2, 2)
        self.wide = nn.Conv2d(12, 16, 1)
        self.shuffle = nn.PixelShuffle(2)
        self.scale = nn.Parameter(torch.rand(4, 1, 1))
        self.out = nn.Conv2d(2, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.shared(self.shared(self.stem(x)).relu()).relu()
        x = self.shuffle(self.wide(self.up(x))) * self.scale
        return self.out(x[:, 1:3])


class Normalised(nn.Module):
    """ConvNeXt and group normalisation: channels last, then first again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.group_norm = nn.GroupNorm(2, 8)
        self.layer_norm = nn.LayerNorm(8)
        self.widen, self.narrow = nn.Linear(8, 16), nn.Linear(16, 8)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.group_norm(self.stem(x))
        y = self.layer_norm(x.permute(0, 2, 3, 1))
        y = self.narrow(functional.gelu(self.widen(y))).permute(0, 3, 1, 2)
        return self.fc((x + y).mean((2, 3)))


class Attending(nn.Module):
    """An operator that mixes channels in a way that is not followed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 8)
        self.free = _conv(8, 8)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        flat = x.flatten(2)
        mixed = torch.softmax(flat @ flat.transpose(1, 2), -1) @ flat
        return self.fc((self.free(x).flatten(2) + mixed).mean(2))


PATTERNS: tuple[type[nn.Module], ...] = (
    Plain,
    ResponseNorm,
    Inception,
    Residual,
    PaddedShortcut,
    Separable,
    Inverted,
    Dense,
    Shuffled,
    Grouped,
    Decoder,
    Normalised,
    Attending,
)
# Here a removed channel changes what the others are divided by.
NORMALISING = (ResponseNorm, Normalised)


def made(pattern: Callable[[], nn.Module]) -> nn.Module:
    """The network, with statistics and biases that are not those of a fresh one."""
    torch.manual_seed(0)
    model = pattern()
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean = torch.randn(part.num_features) / 4
                part.running_var = torch.rand(part.num_features) + 0.5
                part.weight.uniform_(0.5, 1.5)
                part.bias.normal_(0, 0.3)
    return model.eval()


@cache
def traced(pattern: Callable[[], nn.Module]) -> TracedNetwork:
    """The network traced with one image; not to be changed."""
    return trace(made(pattern), (images(1),))


def images(count: int = 2) -> torch.Tensor:
    return torch.randn((count, 3, 16, 16), generator=torch.Generator().manual_seed(1))
