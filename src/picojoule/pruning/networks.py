"""The networks of the experiments and of the released models, for 28 x 28 and 227 x 227 images.

Plain modules with the field's names for layers; nothing in pruning depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn
from torch.nn import functional


class LeNet5(nn.Module):
    """Caffe's LeNet: convolutions of 20 and 50 filters, 500 hidden units."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        return self.fc2(functional.relu(self.fc1(x.flatten(1))))  # type: ignore[no-any-return]


class SmallAlexNet(nn.Module):
    """AlexNet's shape for 28 x 28 images: five convolutions (2, 4, 5 in two groups), three FC."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(64, 96, 3, padding=1)
        self.conv4 = nn.Conv2d(96, 96, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(96, 64, 3, padding=1, groups=2)
        self.fc1 = nn.Linear(64 * 3 * 3, 256)
        self.fc2 = nn.Linear(256, 128)
        self.fc3 = nn.Linear(128, classes)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.relu(self.conv3(x))
        x = functional.relu(self.conv4(x))
        x = functional.max_pool2d(functional.relu(self.conv5(x)), 2)
        x = functional.relu(self.fc1(self.dropout(x.flatten(1))))
        x = functional.relu(self.fc2(self.dropout(x)))
        return self.fc3(x)  # type: ignore[no-any-return]


class _ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions; where the shape changes, a strided 1 x 1 on the way around."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.around: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            self.around = nn.Sequential(
                nn.Conv2d(before, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.around(x))


class ResNet20(nn.Module):
    """He et al.'s CIFAR ResNet of 20 layers (16, 32, 64 channels), for one-channel images."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(_ResidualBlock(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(_ResidualBlock(16, 32, 2), *_blocks(32))
        self.layer3 = nn.Sequential(_ResidualBlock(32, 64, 2), *_blocks(64))
        self.fc = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


def _blocks(width: int) -> tuple[_ResidualBlock, ...]:
    return tuple(_ResidualBlock(width, width, 1) for _ in range(2))


def mobilenet(classes: int = 10) -> nn.Module:
    """MobileNetV1's pattern (Howard et al., 2017), 32 to 256 channels, for one-channel images."""
    layers: list[nn.Module] = []

    def add(before: int, width: int, kernel: int, stride: int, groups: int = 1) -> None:
        convolution = nn.Conv2d(
            before, width, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        layers.extend([convolution, nn.BatchNorm2d(width), nn.ReLU()])

    add(1, 32, 3, 2)
    before = 32
    for width, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        add(before, before, 3, stride, before)
        add(before, width, 1, 1)
        before = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
    return nn.Sequential(*layers)


class _Fire(nn.Module):
    def __init__(self, before: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.squeeze(x))
        return torch.cat(
            [functional.relu(self.expand1x1(x)), functional.relu(self.expand3x3(x))], 1
        )


class SqueezeNet11(nn.Module):
    """SqueezeNet 1.1 (Iandola et al., 2016), for 227 x 227 images."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2)
        self.fire2, self.fire3 = _Fire(64, 16, 64), _Fire(128, 16, 64)
        self.fire4, self.fire5 = _Fire(128, 32, 128), _Fire(256, 32, 128)
        self.fire6, self.fire7 = _Fire(256, 48, 192), _Fire(384, 48, 192)
        self.fire8, self.fire9 = _Fire(384, 64, 256), _Fire(512, 64, 256)
        self.conv10 = nn.Conv2d(512, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def pooled(x: torch.Tensor) -> torch.Tensor:
            return functional.max_pool2d(x, 3, stride=2, ceil_mode=True)

        x = pooled(functional.relu(self.conv1(x)))
        x = pooled(self.fire3(self.fire2(x)))
        x = pooled(self.fire5(self.fire4(x)))
        x = self.fire9(self.fire8(self.fire7(self.fire6(x))))
        return functional.relu(self.conv10(x)).mean((2, 3))


NETWORKS: Mapping[str, tuple[Callable[[int], nn.Module], tuple[int, ...]]] = MappingProxyType(
    {
        "lenet5": (LeNet5, (1, 28, 28)),
        "small-alexnet": (SmallAlexNet, (1, 28, 28)),
        "resnet20": (ResNet20, (1, 28, 28)),
        "mobilenet": (mobilenet, (1, 28, 28)),
        "squeezenet1.1": (SqueezeNet11, (3, 227, 227)),
    }
)
"""By name: what makes the network for a number of classes, and the shape of one input."""
