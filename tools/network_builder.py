"""A network layer by layer, with the feature map that flows through it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from picojoule.frontends.wiring import Effect, WiredOperator, connect
from picojoule.graph import Graph, Tensor
from picojoule.workload import Layer, Operand, Workload, conv

Pads = tuple[int, int, int, int]

BY_VALUE = ("ADD", "Add", "BatchNormalization", "Clip", "Gelu", "Mul", "Relu", "Tanh", "Where")
"""Operators that keep the size of what they read and work value by value."""
ROW_BY_ROW = ("LRN", "LayerNormalization", "SOFTMAX", "Softmax")
"""Operators that keep the size of what they read and look at more than one value of it."""
JOINS = ("Concat", "Split", "Slice")
"""Operators that make one of parts, or parts of one, in place."""


@dataclass
class Wires:
    """The operators of a network in order, and the tensors between them.

    Args:
        at: the tensor that flows: the one made last, unless somebody went back.
    """

    at: str = ""
    operations: list[WiredOperator] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    numbers: Counter[str] = field(default_factory=Counter)

    def given(self, name: str, words: int, bits: int = 16) -> str:
        """A tensor that the network is given."""
        self.inputs.append(name)
        self.at = self._tensor(name, name, words, bits)
        return self.at

    def layer(self, layer: Layer, operator: str, *reads: str) -> str:
        """A layer on the tensor that flows, or on others."""
        self.at = self._step(
            layer.name,
            operator,
            Effect.OWN,
            reads or (self.at,),
            [layer.size(Operand.OUTPUT)],
            bits=layer.bits.output,
            layers=(layer,),
        )[0]
        return self.at

    def operator(
        self, operator: str, *reads: str, words: int | None = None, bits: int | None = None
    ) -> str:
        """An operator without products; size and width are those of what it reads, unless said."""
        sizes = None if words is None else [words]
        (self.at,) = self.operators(operator, *reads, words=sizes, bits=bits)
        return self.at

    def operators(
        self,
        operator: str,
        *reads: str,
        words: Sequence[int] | None = None,
        bits: int | None = None,
    ) -> tuple[str, ...]:
        """An operator that makes several tensors, of *words* each."""
        read = reads or (self.at,)
        first = self.tensors[read[0]]
        effect = Effect.OWN
        if operator in JOINS:
            effect = Effect.IN_PLACE
        elif operator in BY_VALUE:
            effect = Effect.BY_VALUE
        name = first.name
        if effect is not Effect.BY_VALUE or len(read) > 1:
            self.numbers[operator] += 1
            name = f"{operator.lower()}_{self.numbers[operator]}"
        assert first.words is not None
        sizes = words or [first.words]
        return self._step(name, operator, effect, read, sizes, bits=bits or first.bits)

    def graph(self) -> Graph:
        """What lies between the layers."""
        graph = connect(
            self.operations, self.tensors.__getitem__, self.inputs, [*self.outputs, self.at]
        )
        assert graph is not None
        return graph

    def _step(
        self,
        name: str,
        operator: str,
        effect: Effect,
        reads: Sequence[str],
        words: Sequence[int],
        *,
        bits: int,
        layers: tuple[Layer, ...] = (),
    ) -> tuple[str, ...]:
        count = len(self.operations)
        names = [name] if len(words) == 1 else [f"{name}.{n}" for n in range(1, len(words) + 1)]
        makes = tuple(
            self._tensor(f"{count}:{each}", each, size, bits)
            for each, size in zip(names, words, strict=True)
        )
        self.operations.append(
            WiredOperator(
                name=name,
                operator=operator,
                effect=effect,
                reads=tuple(reads),
                makes=makes,
                layers=layers,
            )
        )
        return makes

    def _tensor(self, key: str, name: str, words: int, bits: int) -> str:
        self.tensors[key] = Tensor(name=name, words=words, bits=bits)
        return key


class Flow(NamedTuple):
    """The feature map at some place of a network."""

    channels: int
    size: int
    at: str


@dataclass
class Builder:
    """Layers in order of execution, and the square feature map that flows through them.

    Args:
        name: of the input.
    """

    channels: int
    size: int
    name: str = "input"
    layers: list[Layer] = field(default_factory=list)
    not_counted: Counter[str] = field(default_factory=Counter)
    wires: Wires = field(default_factory=Wires)

    def __post_init__(self) -> None:
        if self.name:
            self.wires.given(self.name, self.channels * self.size**2)

    @property
    def flow(self) -> Flow:
        """The feature map that flows; set it to go back to another."""
        return Flow(self.channels, self.size, self.wires.at)

    @flow.setter
    def flow(self, flow: Flow) -> None:
        self.channels, self.size, self.wires.at = flow

    def add(self, layer: Layer, operator: str = "MatMul", *reads: str) -> str:
        """A layer on the tensor that flows, or on others."""
        self.layers.append(layer)
        return self.wires.layer(layer, operator, *reads)

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
        self.add(layer, "Conv")
        self.channels, self.size = out, layer.bounds.P
        self.apply(*then.split())

    def full(self, name: str, out: int, then: str = "Relu") -> None:
        """A fully connected layer: a convolution as large as the feature map."""
        self.conv(name, out, self.size, then=then)

    def pool(
        self, operator: str, kernel: int, stride: int, pad: int = 0, ceil: bool = False
    ) -> None:
        """A pooling layer; Caffe rounds its output size up (*ceil*)."""
        steps = (self.size + 2 * pad - kernel) / stride
        self._pooled(operator, (math.ceil(steps) if ceil else math.floor(steps)) + 1)

    def global_pool(self) -> None:
        self._pooled("GlobalAveragePool", 1)

    def _pooled(self, operator: str, size: int) -> None:
        self.size = size
        self.not_counted[operator] += 1
        self.wires.operator(operator, words=self.channels * size**2)

    def apply(self, *operators: str) -> None:
        """Operators on the tensor that flows that keep its size."""
        for operator in operators:
            assert operator in BY_VALUE + ROW_BY_ROW, operator
            self.not_counted[operator] += 1
            self.wires.operator(operator)

    def concat(self, *flows: Flow) -> None:
        """Feature maps of one size side by side."""
        self.channels = sum(flow.channels for flow in flows)
        self.not_counted["Concat"] += 1
        words = self.channels * self.size**2
        self.wires.operator("Concat", *(flow.at for flow in flows), words=words)

    def sum(self, *tensors: str) -> None:
        """Two tensors added up."""
        self.not_counted["Add"] += 1
        self.wires.operator("Add", *tensors)

    def count(self, *operators: str) -> None:
        """Operators that are there and read nothing that is computed."""
        self.not_counted.update(operators)

    def workload(self, name: str, source: str) -> Workload:
        return Workload(
            name,
            tuple(self.layers),
            not_counted=dict(sorted(self.not_counted.items())),
            source=source,
            graph=self.wires.graph(),
        )
