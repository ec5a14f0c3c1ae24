"""Which ONNX operator reads what another made: the graph between the layers of a traced model."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from onnx import ModelProto, NodeProto

from picojoule.frontends.onnx_shapes import Ran, Traced, flat, label_of, local_name, names_in
from picojoule.frontends.wiring import Effect, Effects, WiredOperator, connect
from picojoule.graph import Graph, Tensor

VIEWS = names_in(
    "DequantizeLinear Dropout Expand Flatten Identity Reshape Squeeze Tile Transpose Unsqueeze"
)
"""Operators after which the same words lie in memory: levels are stored, not what they mean, and
of what repeats itself one of each, as layers count it."""

OF_SHAPES = names_in("ConstantOfShape EyeLike RandomNormalLike RandomUniformLike Shape Size")
"""Operators that look at the shape of their input only."""

BY_VALUE = names_in(
    """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BatchNormalization BiasAdd BiasGelu BipolarQuant
    BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Cos Cosh Div
    Elu Equal Erf Exp FastGelu FloatQuant Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish
    ImageScaler IntQuant IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg
    Not Or PRelu Pow QLinearLeakyRelu QLinearSigmoid Quant QuantizeLinear QuickGelu Reciprocal Relu
    Round Scale ScaledTanh Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish
    Tan Tanh ThresholdedRelu Trunc Where Xor
    """
)
"""Operators that change each value by itself, those of two computed tensors pair by pair."""

IN_PLACE = names_in("Concat QLinearConcat Slice Split")
EFFECTS = Effects(VIEWS, BY_VALUE, IN_PLACE)
"""Operators whose outputs are parts of their input, or the other way round."""


def graph_of(model: ModelProto, traced: Traced, ran: Sequence[Ran]) -> Graph | None:
    """The graph between the layers of what *ran*; None where the file does not tell all of it."""
    wiring = _Wiring(traced)
    return connect(
        wiring.operations(ran),
        wiring.tensor,
        [info.name for info in model.graph.input if wiring.is_computed(info.name)],
        [wiring.source(info.name) for info in model.graph.output if wiring.is_computed(info.name)],
    )


class _Wiring:
    def __init__(self, traced: Traced) -> None:
        self._traced = traced
        self._ends = {name for region in traced.regions.values() for name in region.outputs}
        # Of all branches: which one runs is not known, and what the others read is needed too.
        self._inside: dict[str, list[NodeProto]] = defaultdict(list)
        for step in flat(traced.steps):
            self._inside[self._region_of(step.path)].append(step.node)

    def source(self, name: str) -> str:
        """The tensor that *name* stands for, across borders of functions and branches."""
        while name in self._traced.same and name not in self._ends:
            name = self._traced.same[name]
        return name

    def is_computed(self, name: str) -> bool:
        """Whether a tensor depends on what the network is given."""
        return bool(name) and name not in self._traced.constants

    def tensor(self, name: str) -> Tensor:
        """Words and width of a tensor."""
        shape = self._traced.shape(name)
        return Tensor(
            name=local_name(name),
            words=None if shape is None else math.prod(shape),
            bits=self._traced.width(name),
            scale_bits=self._traced.scales.get(name, 0.0),
        )

    def operations(self, ran: Sequence[Ran]) -> Iterator[WiredOperator]:
        """What ran, in order; loops and undecided branches each as one."""
        inside: list[Ran] = []
        region = ""
        for each in ran:
            around = self._region_of(each.step.path)
            if inside and around != region:
                yield self._whole(region, inside)
                inside = []
            region = around
            if around:
                inside.append(each)
            else:
                yield self._operation(each)
        if inside:
            yield self._whole(region, inside)

    def _region_of(self, path: str) -> str:
        """The outermost loop or branch that an operator is in."""
        regions = self._traced.regions
        if not regions:
            return ""
        ends = [place for place, letter in enumerate(path) if letter == "."]
        return next((path[:end] for end in ends if path[:end] in regions), "")

    def _operation(self, ran: Ran) -> WiredOperator:
        node, operator = ran.step.node, ran.step.node.op_type
        reads = () if operator in OF_SHAPES else self._reads(node)
        makes = tuple(name for name in node.output if name)
        return WiredOperator(
            name=node.name or next(map(local_name, makes), operator),
            operator=label_of(node),
            effect=EFFECTS.of(operator),
            reads=reads,
            makes=makes,
            layers=ran.layers,
        )

    def _reads(self, node: NodeProto) -> tuple[str, ...]:
        names = map(self.source, node.input)
        return tuple(name for name in names if self.is_computed(name))

    def _whole(self, path: str, inside: Sequence[Ran]) -> WiredOperator:
        """A loop or an undecided branch with all that is in it."""
        region, nodes = self._traced.regions[path], self._inside[path]
        made = {name for node in nodes for name in node.output}
        reads = [self.source(name) for name in region.inputs if self.is_computed(name)]
        reads += [
            name
            for node in nodes
            for name in self._reads(node)
            if name not in made and not name.startswith(f"{path}.")  # a trip's number, a slice
        ]
        return WiredOperator(
            name=region.name,
            operator=region.operator,
            effect=Effect.OWN,
            reads=tuple(dict.fromkeys(reads)),
            makes=tuple(name for name in region.outputs if name),
            layers=tuple(layer for each in inside for layer in each.layers),
            partial=True,
        )
