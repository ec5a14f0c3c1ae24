"""A task that is learned in a second: which quarter of an image is bright."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from picojoule.pruning.datasets import Data, Samples


class SmallNet(nn.Module):
    """Grouped and strided convolutions, a batch norm, a residual, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.conv3 = nn.Conv2d(8, 12, 3, stride=2)
        self.fc1 = nn.Linear(108, 24)
        self.fc2 = nn.Linear(24, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm(self.conv1(x)))
        x = x + functional.relu(self.conv2(x))
        x = functional.relu(self.conv3(x))
        return self.fc2(functional.relu(self.fc1(x.flatten(1))))


def bright_quarters(count: int, seed: int) -> Samples:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=draw)
    images = torch.randn(count, 1, 8, 8, generator=draw)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 0.8
    return Samples(images, labels)


def make() -> tuple[nn.Module, Data]:
    """The network, trained, and its data: what ``picojoule prune small.py:make`` takes."""
    data = Data(bright_quarters(512, 1), bright_quarters(256, 2), bright_quarters(256, 3))
    torch.manual_seed(0)
    model = SmallNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    draw = torch.Generator().manual_seed(0)
    for _ in range(4):
        for inputs, labels in data.train.shuffled(64, draw):
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    return model.eval(), data
