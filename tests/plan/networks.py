"""Small random networks with branches, sums and concatenations, for tests of plans."""

from __future__ import annotations

import random

from picojoule.graph import Graph, Node, Tensor
from picojoule.workload import Layer, PerOperand, Workload, linear, matmul


class Sketch:
    """A network that is written down node by node."""

    def __init__(self, bits: PerOperand[int] = PerOperand(16, 16, 16)) -> None:
        self.bits = bits
        self.layers: list[Layer] = []
        self.nodes: list[Node] = []
        self.shapes: dict[str, tuple[int, int]] = {}
        self.inputs: list[str] = []

    def given(self, name: str, rows: int, features: int) -> str:
        """An input of the network."""
        self.inputs.append(name)
        self.shapes[name] = (rows, features)
        return name

    def product(self, source: str, features: int) -> str:
        """A linear layer."""
        rows, inner = self.shapes[source]
        name = f"fc{len(self.nodes)}"
        layer = linear(name, rows=rows, in_features=inner, out_features=features, bits=self.bits)
        return self._node(name, (source,), (rows, features), layer)

    def scores(self, first: str, second: str) -> str:
        """The product of two tensors: rows of one with rows of the other."""
        (rows, inner), (columns, _) = self.shapes[first], self.shapes[second]
        name = f"qk{len(self.nodes)}"
        layer = matmul(name, rows=rows, inner=inner, columns=columns, bits=self.bits)
        return self._node(name, (first, second), (rows, columns), layer)

    def added(self, first: str, second: str) -> str:
        """A sum."""
        return self._node(f"add{len(self.nodes)}", (first, second), self.shapes[first])

    def joined(self, first: str, second: str) -> str:
        """A concatenation along features, which moves nothing."""
        (rows, one), (_, two) = self.shapes[first], self.shapes[second]
        name = f"join{len(self.nodes)}"
        return self._node(name, (first, second), (rows, one + two), in_place=True)

    def _node(
        self,
        name: str,
        reads: tuple[str, ...],
        shape: tuple[int, int],
        layer: Layer | None = None,
        in_place: bool = False,
    ) -> str:
        layers = () if layer is None else (name,)
        self.nodes.append(
            Node(
                name=name,
                operators=("Op",),
                reads=reads,
                makes=(name,),
                layers=layers,
                in_place=in_place,
            )
        )
        self.layers += [] if layer is None else [layer]
        self.shapes[name] = shape
        return name

    def network(self, *outputs: str) -> Workload:
        """The network that gives these tensors, and all that nobody reads."""
        read = {name for node in self.nodes for name in node.reads}
        ends = dict.fromkeys((*outputs, *(x.name for x in self.nodes if x.name not in read)))
        tensors = {
            name: Tensor(
                name=name,
                words=rows * features,
                bits=self.bits.input if name in self.inputs else self.bits.output,
            )
            for name, (rows, features) in self.shapes.items()
        }
        graph = Graph(tuple(self.nodes), tensors, tuple(self.inputs), tuple(ends))
        network = Workload("sketch", tuple(self.layers), graph=graph)
        assert network.graph is not None
        return network


def random_network(rng: random.Random, products: int) -> Workload:
    """So many products, with sums, concatenations and several readers between them."""
    sketch = Sketch(rng.choice([PerOperand(16, 16, 16), PerOperand(8, 8, 8)]))
    rows = rng.choice([2, 3, 4])
    there = [sketch.given("x", rows, rng.choice([3, 4, 6]))]
    while len(sketch.layers) < products:
        source = rng.choice(there[-3:])
        kind = rng.random()
        alike = [x for x in there if sketch.shapes[x] == sketch.shapes[source] and x != source]
        if kind < 0.2 and alike:
            there.append(sketch.added(source, rng.choice(alike)))
        elif kind < 0.3 and len(there) > 1:
            other = rng.choice([x for x in there if x != source])
            if sketch.shapes[other][0] == sketch.shapes[source][0] and "x" not in (source, other):
                there.append(sketch.joined(source, other))
        elif kind < 0.45 and alike:
            there.append(sketch.scores(source, rng.choice(alike)))
        else:
            there.append(sketch.product(source, rng.choice([3, 4, 6])))
    return sketch.network()
