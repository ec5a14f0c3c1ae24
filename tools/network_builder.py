"""A network layer by layer, with the feature map that flows through it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from picojoule.workload import Layer, Workload, conv

Pads = tuple[int, int, int, int]


@dataclass
class Builder:
    """Layers in order of execution, and the square feature map that flows through them."""

    channels: int
    size: int
    layers: list[Layer] = field(default_factory=list)
    not_counted: Counter[str] = field(default_factory=Counter)

    def conv(
        self,
        name: str,
        out: int,
        kernel: int,
        stride: int = 1,
        *,
        pad: int | Pads = 0,
        groups: int = 1,
        then: str = "Relu",
    ) -> None:
        """A convolution to *out* channels, and the operators applied to its output."""
        layer = conv(
            name,
            input_size=(self.size, self.size),
            in_channels=self.channels,
            out_channels=out,
            kernel=(kernel, kernel),
            stride=(stride, stride),
            padding=pad if isinstance(pad, tuple) else (pad,) * 4,
            groups=groups,
        )
        self.layers.append(layer)
        self.channels, self.size = out, layer.bounds.P
        self.count(*then.split())

    def full(self, name: str, out: int, then: str = "Relu") -> None:
        """A fully connected layer: a convolution as large as the feature map."""
        self.conv(name, out, self.size, then=then)

    def pool(
        self, operator: str, kernel: int, stride: int, pad: int = 0, ceil: bool = False
    ) -> None:
        """A pooling layer; Caffe rounds its output size up (*ceil*)."""
        steps = (self.size + 2 * pad - kernel) / stride
        self.size = (math.ceil(steps) if ceil else math.floor(steps)) + 1
        self.count(operator)

    def global_pool(self) -> None:
        self.size = 1
        self.count("GlobalAveragePool")

    def count(self, *operators: str) -> None:
        """Operators that are there and are not modelled."""
        self.not_counted.update(operators)

    def workload(self, name: str, source: str) -> Workload:
        return Workload(
            name,
            tuple(self.layers),
            not_counted=dict(sorted(self.not_counted.items())),
            source=source,
        )
