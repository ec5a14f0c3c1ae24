"""Published classifiers of images, of their published size, written from their papers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

CLASSES = 1000


def unit(
    ins: int,
    outs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    act: Callable[[], nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution with padding that keeps the size, batch norm and, unless None, an activation."""
    conv = nn.Conv2d(ins, outs, kernel, stride, kernel // 2, groups=groups, bias=False)
    parts: list[nn.Module] = [conv, nn.BatchNorm2d(outs)]
    return nn.Sequential(*parts, *([act()] if act is not None else []))


def head(features: nn.Module, width: int, classes: int = CLASSES) -> nn.Sequential:
    """Features, averaged over the image, and one linear layer."""
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def lenet() -> nn.Module:
    """LeCun et al. 1998, Figure 2, with all maps of C3 connected."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(16, 120, 5), nn.Flatten(),
        nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip


def alexnet() -> nn.Module:
    """Krizhevsky 2014: one tower."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(),
        nn.Linear(9216, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, CLASSES),
    )  # fmt: skip


def vgg(*counts: int) -> nn.Module:
    """Simonyan and Zisserman 2014, Table 1."""
    layers: list[nn.Module] = []
    width = 3
    for outs, count in zip((64, 128, 256, 512, 512), counts, strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(width, outs, 3, padding=1), nn.ReLU()]
            width = outs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(25088, 4096), nn.ReLU(),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, CLASSES),
    )  # fmt: skip


def network_in_network() -> nn.Module:
    """Lin et al. 2013, for CIFAR-10: small networks of 1 x 1 convolutions."""
    layers: list[nn.Module] = []
    for ins, outs, kernel in ((3, 192, 5), (192, 160, 1), (160, 96, 1)):
        layers += [nn.Conv2d(ins, outs, kernel, padding=kernel // 2), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    for ins, outs, kernel in ((96, 192, 5), (192, 192, 1), (192, 192, 1)):
        layers += [nn.Conv2d(ins, outs, kernel, padding=kernel // 2), nn.ReLU()]
    layers.append(nn.AvgPool2d(3, 2, 1))
    for ins, outs, kernel in ((192, 192, 3), (192, 192, 1), (192, 10, 1)):
        layers += [nn.Conv2d(ins, outs, kernel, padding=kernel // 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Beside(nn.Module):
    """Branches over the same input, their maps one after the other."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def _inception(ins: int, *widths: int) -> nn.Module:
    one, three_in, three, five_in, five, pooled = widths
    return Beside(
        unit(ins, one, 1),
        nn.Sequential(unit(ins, three_in, 1), unit(three_in, three, 3)),
        nn.Sequential(unit(ins, five_in, 1), unit(five_in, five, 5)),
        nn.Sequential(nn.MaxPool2d(3, 1, 1), unit(ins, pooled, 1)),
    )


def googlenet() -> nn.Module:
    """Szegedy et al. 2014, Table 1, without the side classifiers."""
    pool = nn.MaxPool2d(3, 2, 1)
    features = nn.Sequential(
        unit(3, 64, 7, 2), pool, unit(64, 64, 1), unit(64, 192, 3), pool,
        _inception(192, 64, 96, 128, 16, 32, 32), _inception(256, 128, 128, 192, 32, 96, 64), pool,
        _inception(480, 192, 96, 208, 16, 48, 64), _inception(512, 160, 112, 224, 24, 64, 64),
        _inception(512, 128, 128, 256, 24, 64, 64), _inception(512, 112, 144, 288, 32, 64, 64),
        _inception(528, 256, 160, 320, 32, 128, 128), pool,
        _inception(832, 256, 160, 320, 32, 128, 128), _inception(832, 384, 192, 384, 48, 128, 128),
    )  # fmt: skip
    return head(features, 1024)


def _fire(ins: int, squeezed: int, expanded: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(ins, squeezed, 1), nn.ReLU(),
        Beside(nn.Conv2d(squeezed, expanded, 1), nn.Conv2d(squeezed, expanded, 3, padding=1)),
        nn.ReLU(),
    )  # fmt: skip


def squeezenet(pools: tuple[int, ...], width: int, kernel: int, pad: int = 0) -> nn.Module:
    """Iandola et al. 2016, Table 1; version 1.1 pools earlier.

    Args:
        pad: of the last convolution: Caffe's version 1.0 has 1.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, kernel, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 0, 1, False, True),
    ]
    ins = width
    for number, squeezed in enumerate((16, 16, 32, 32, 48, 48, 64, 64), 2):
        layers.append(_fire(ins, squeezed, 4 * squeezed))
        ins = 8 * squeezed
        if number in pools:
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
    return nn.Sequential(
        *layers,
        nn.Conv2d(512, CLASSES, 1, padding=pad),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class Residual(nn.Module):
    """What a body computes, added to its input, which is projected where the shapes differ."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + (x if self.shortcut is None else self.shortcut(x))


class Excite(nn.Module):
    """Squeeze and excite (Hu et al. 2017)."""

    def __init__(self, width: int, squeezed: int, act: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(width, squeezed, 1), nn.Conv2d(squeezed, width, 1)
        self.act = act()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.fc2(self.act(self.fc1(x.mean((2, 3), keepdim=True)))))


def resnet(
    counts: tuple[int, ...],
    *,
    bottleneck: bool = True,
    groups: int = 1,
    width: int = 64,
    excite: bool = False,
) -> nn.Module:
    """He et al. 2015, Table 1; Xie et al. 2016, Zagoruyko and Komodakis 2016, Hu et al. 2017."""
    layers: list[nn.Module] = [unit(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    ins = 64
    for stage, count in enumerate(counts):
        plain, inner = 64 << stage, (width << stage) * groups
        outs = 4 * plain if bottleneck else plain
        for number in range(count):
            stride = 2 if stage and not number else 1
            if bottleneck:
                body = [unit(ins, inner, 1), unit(inner, inner, 3, stride, groups)]
                body.append(unit(inner, outs, 1, act=None))
            else:
                body = [unit(ins, outs, 3, stride), unit(outs, outs, 3, act=None)]
            more = [Excite(outs, outs // 16)] if excite else []
            shortcut = unit(ins, outs, 1, stride, act=None) if stride > 1 or ins != outs else None
            layers += [Residual(nn.Sequential(*body, *more), shortcut), nn.ReLU()]
            ins = outs
    return head(nn.Sequential(*layers), ins)


class _Dense(nn.Module):
    def __init__(self, ins: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(ins), nn.Conv2d(ins, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat(
            [
                x,
                self.conv2(functional.relu(self.norm2(self.conv1(functional.relu(self.norm1(x)))))),
            ],
            1,
        )


def densenet(counts: tuple[int, ...] = (6, 12, 24, 16), growth: int = 32) -> nn.Module:
    """Huang et al. 2016, Table 1."""
    layers: list[nn.Module] = [unit(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    ins = 64
    for stage, count in enumerate(counts):
        for _ in range(count):
            layers.append(_Dense(ins, growth))
            ins += growth
        layers += [nn.BatchNorm2d(ins), nn.ReLU()]
        if stage < len(counts) - 1:
            layers += [nn.Conv2d(ins, ins // 2, 1, bias=False), nn.AvgPool2d(2)]
            ins //= 2
    return head(nn.Sequential(*layers), ins)


def mobilenet_v1() -> nn.Module:
    """Howard et al. 2017, Table 1."""
    layers: list[nn.Module] = [unit(3, 32, 3, 2)]
    ins = 32
    for outs, stride in (
        (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
        *((512, 1),) * 5, (1024, 2), (1024, 1),
    ):  # fmt: skip
        layers += [unit(ins, ins, 3, stride, ins), unit(ins, outs, 1)]
        ins = outs
    return head(nn.Sequential(*layers), ins)


def inverted(
    ins: int,
    outs: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    width: int,
    squeezed: int = 0,
    act: Callable[[], nn.Module] = nn.ReLU6,
) -> nn.Module:
    """Sandler et al. 2018, Figure 3, with squeeze and excite where *squeezed* is not 0."""
    layers: list[nn.Module] = [unit(ins, width, 1, act=act)] if width != ins else []
    layers.append(unit(width, width, kernel, stride, width, act))
    if squeezed:
        layers.append(Excite(width, squeezed, act))
    body = nn.Sequential(*layers, unit(width, outs, 1, act=None))
    return Residual(body) if stride == 1 and ins == outs else body


def mobilenet_v2() -> nn.Module:
    """Sandler et al. 2018, Table 2."""
    layers: list[nn.Module] = [unit(3, 32, 3, 2, act=nn.ReLU6)]
    ins = 32
    for expansion, outs, count, first in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
        (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for number in range(count):
            stride = 1 if number else first
            layers.append(inverted(ins, outs, stride=stride, width=ins * expansion))
            ins = outs
    return head(nn.Sequential(*layers, unit(ins, 1280, 1, act=nn.ReLU6)), 1280)


def mobilenet_v3() -> nn.Module:
    """Howard et al. 2019, Table 1: the large one."""
    relu, swish = nn.ReLU, nn.Hardswish
    layers: list[nn.Module] = [unit(3, 16, 3, 2, act=swish)]
    ins = 16
    for kernel, width, outs, excite, act, stride in (
        (3, 16, 16, 0, relu, 1), (3, 64, 24, 0, relu, 2), (3, 72, 24, 0, relu, 1),
        (5, 72, 40, 24, relu, 2), (5, 120, 40, 32, relu, 1), (5, 120, 40, 32, relu, 1),
        (3, 240, 80, 0, swish, 2), (3, 200, 80, 0, swish, 1), (3, 184, 80, 0, swish, 1),
        (3, 184, 80, 0, swish, 1), (3, 480, 112, 120, swish, 1), (3, 672, 112, 168, swish, 1),
        (5, 672, 160, 168, swish, 2), (5, 960, 160, 240, swish, 1), (5, 960, 160, 240, swish, 1),
    ):  # fmt: skip
        kind: dict[str, Any] = {"kernel": kernel, "stride": stride, "squeezed": excite, "act": act}
        layers.append(inverted(ins, outs, width=width, **kind))
        ins = outs
    return nn.Sequential(
        *layers, unit(160, 960, 1, act=swish), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(960, 1280), nn.Hardswish(), nn.Linear(1280, CLASSES),
    )  # fmt: skip


def efficientnet() -> nn.Module:
    """Tan and Le 2019, Table 1: B0."""
    layers: list[nn.Module] = [unit(3, 32, 3, 2, act=nn.SiLU)]
    ins = 32
    for expansion, outs, count, first, kernel in (
        (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
    ):  # fmt: skip
        for number in range(count):
            width, stride = ins * expansion, 1 if number else first
            kind: dict[str, Any] = {"kernel": kernel, "stride": stride, "act": nn.SiLU}
            layers.append(inverted(ins, outs, width=width, squeezed=ins // 4, **kind))
            ins = outs
    return head(nn.Sequential(*layers, unit(ins, 1280, 1, act=nn.SiLU)), 1280)


class _Shuffle(nn.Module):
    """Ma et al. 2018, Figure 3c and d."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        half, stride = outs // 2, 1 if ins == outs else 2
        self.halves = ins == outs
        self.left = (
            nn.Identity()
            if self.halves
            else nn.Sequential(unit(ins, ins, 3, 2, ins, None), unit(ins, half, 1))
        )
        self.right = nn.Sequential(
            unit(half if self.halves else ins, half, 1),
            unit(half, half, 3, stride, half, None),
            unit(half, half, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, 1) if self.halves else (x, x)
        x = torch.cat([self.left(left), self.right(right)], 1)
        return x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


def shufflenet() -> nn.Module:
    """Ma et al. 2018, Table 5: 1x."""
    layers: list[nn.Module] = [unit(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
    ins = 24
    for outs, count in ((116, 4), (232, 8), (464, 4)):
        for _ in range(count):
            layers.append(_Shuffle(ins, outs))
            ins = outs
    return head(nn.Sequential(*layers, unit(ins, 1024, 1)), 1024)


class _LastNorm(nn.LayerNorm):
    """Layer norm over the channels of an image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _ConvNext(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.up = nn.LayerNorm(width), nn.Linear(width, 4 * width)
        self.down, self.scale = nn.Linear(4 * width, width), nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.mix(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.down(functional.gelu(self.up(y)))).permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    """Liu et al. 2022: T."""
    layers: list[nn.Module] = [nn.Conv2d(3, 96, 4, 4), _LastNorm(96)]
    ins = 96
    for outs, count in ((96, 3), (192, 3), (384, 9), (768, 3)):
        if outs != ins:
            layers += [_LastNorm(ins), nn.Conv2d(ins, outs, 2, 2)]
            ins = outs
        layers += [_ConvNext(outs) for _ in range(count)]
    return head(nn.Sequential(*layers), 768)


IMAGE = (1, 3, 224, 224)
CLASSIFIERS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = MappingProxyType(
    {
        "LeNet-5": (lenet, (1, 1, 28, 28)),
        "AlexNet": (alexnet, IMAGE),
        "VGG-11": (lambda: vgg(1, 1, 2, 2, 2), IMAGE),
        "VGG-16": (lambda: vgg(2, 2, 3, 3, 3), IMAGE),
        "Network in Network": (network_in_network, (1, 3, 32, 32)),
        "GoogLeNet": (googlenet, IMAGE),
        "SqueezeNet 1.0": (lambda: squeezenet((4, 8), 96, 7), IMAGE),
        "SqueezeNet 1.1": (lambda: squeezenet((3, 5), 64, 3), IMAGE),
        "ResNet-18": (lambda: resnet((2, 2, 2, 2), bottleneck=False), IMAGE),
        "ResNet-50": (lambda: resnet((3, 4, 6, 3)), IMAGE),
        "ResNeXt-50 32x4d": (lambda: resnet((3, 4, 6, 3), groups=32, width=4), IMAGE),
        "Wide ResNet-50-2": (lambda: resnet((3, 4, 6, 3), width=128), IMAGE),
        "SE-ResNet-50": (lambda: resnet((3, 4, 6, 3), excite=True), IMAGE),
        "DenseNet-121": (densenet, IMAGE),
        "MobileNet v1": (mobilenet_v1, IMAGE),
        "MobileNet v2": (mobilenet_v2, IMAGE),
        "MobileNet v3 large": (mobilenet_v3, IMAGE),
        "EfficientNet-B0": (efficientnet, IMAGE),
        "ShuffleNet v2": (shufflenet, IMAGE),
        "ConvNeXt-T": (convnext, IMAGE),
    }
)
"""Name -> what makes the network, and the shape of its input."""
