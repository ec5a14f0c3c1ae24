"""One ONNX operator as its layers are read off it: operands, widths, densities, attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from onnx import NodeProto

from picojoule.frontends.onnx_shapes import Traced, attributes, label_of, local_name, names_in
from picojoule.frontends.onnx_tensors import Constant, TensorError, TensorValues, width_of
from picojoule.frontends.onnx_values import with_zero_point
from picojoule.frontends.products import ProblemError
from picojoule.frontends.source_file import shortened
from picojoule.workload import DENSE, Layer, PerOperand

# Between a layer and the QuantizeLinear that narrows its output: one may be done before the
# output leaves the accelerator, element by element.
_ACTIVATIONS = names_in(
    """
    Add BatchNormalization Celu Clip Div Elu Erf FastGelu Gelu HardSigmoid HardSwish Identity
    LeakyRelu Mish Mul PRelu QuickGelu Relu Reshape Selu Sigmoid Softplus Softsign Squeeze Sub
    Swish Tanh ThresholdedRelu Transpose Unsqueeze Flatten MaxPool BiasGelu
    """
)
_QUANTIZERS = names_in("QuantizeLinear Quant IntQuant BipolarQuant FloatQuant")
ACCUMULATOR_BITS = 32  # ConvInteger and MatMulInteger deliver int32
_MOST_FOLLOWED = 64


class UnknownShapeError(Exception):
    """A layer needs the shape of a tensor, and it is not known."""

    def __init__(self, tensor: str) -> None:
        super().__init__(tensor)
        self.tensor = tensor


class NotModelledError(Exception):
    """An operator multiplies in a way that no layer stands for; the message says which."""


class Numbers:
    """The attributes of an operator, checked: a damaged file has any type anywhere."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def has(self, name: str) -> bool:
        """Whether there is such an attribute."""
        return name in self._values

    def whole(self, name: str, default: int) -> int:
        """A whole number."""
        value = self._values.get(name, default)
        if not isinstance(value, int):
            raise ProblemError(f"attribute {name} is not a whole number")
        return value

    def ints(self, name: str, length: int, default: int) -> list[int]:
        """*length* whole numbers."""
        value = self._values.get(name)
        if value is None or (isinstance(value, list) and not value):
            return [default] * length
        if not isinstance(value, list) or not all(isinstance(item, int) for item in value):
            raise ProblemError(f"attribute {name} is not a list of whole numbers")
        if len(value) != length:
            raise ProblemError(f"attribute {name} has {len(value)} numbers, not {length}")
        return value

    def count(self, name: str) -> int:
        """How many entries a list has."""
        value = self._values.get(name, [])
        return len(value) if isinstance(value, list) else 0

    def word(self, name: str, default: str) -> str:
        """A text."""
        value = self._values.get(name, default.encode())
        if not isinstance(value, bytes):
            raise ProblemError(f"attribute {name} is not a text")
        return value.decode("utf-8", "replace")


@dataclass(frozen=True)
class Call:
    """An operator to be read into layers, for *batch* inferences.

    Args:
        name: of its layer.
        tensors: where to look for the values of weights; None: their density is 1.
        consumers, producers: of every tensor.
    """

    name: str
    node: NodeProto
    traced: Traced
    batch: int
    tensors: TensorValues | None
    consumers: Mapping[str, Sequence[NodeProto]]
    producers: Mapping[str, NodeProto]

    @property
    def label(self) -> str:
        """What the operator is called."""
        return label_of(self.node)

    @cached_property
    def attributes(self) -> Numbers:
        """Its attributes."""
        return Numbers(attributes(self.node))

    def has(self, place: int) -> bool:
        """Whether there is an input at *place*."""
        return place < len(self.node.input) and bool(self.node.input[place])

    def input(self, place: int) -> str:
        """The name of an input."""
        if not self.has(place):
            raise ProblemError(f"input {place} is missing")
        return str(self.node.input[place])

    def shape(self, place: int, rank: int | None = None) -> tuple[int, ...]:
        """The shape of an input, which must have *rank* dimensions."""
        name = self.input(place)
        shape = self.traced.shape(name)
        if shape is None:
            raise UnknownShapeError(name)
        if rank is not None and len(shape) != rank:
            raise ProblemError(f"input {place} of shape {list(shape)} has not {rank} dimensions")
        return shape

    def weight(self, place: int, zero: int | None = None, axis: int = 0) -> Constant | None:
        """An input that is stored with the network, *zero* being the place of its zero point."""
        constant = self.traced.constants.get(self.input(place))
        if constant is None or zero is None or not self.has(zero):
            return constant
        return with_zero_point(constant, self.traced.values.get(self.node.input[zero]), axis)

    def is_stored(self, place: int) -> bool:
        """Whether an input comes with the network, or is given to the graph as one that might."""
        name = self.input(place)
        return name in self.traced.constants or name in self.traced.graph_inputs

    def density(self, weight: Constant | None) -> PerOperand[float]:
        """What is known of zeros."""
        if weight is None or self.tensors is None:
            return DENSE
        try:
            return DENSE._replace(weight=self.tensors.density_of(weight))
        except TensorError as error:
            name = weight.tensor.name if weight.tensor is not None else ""
            raise TensorError(f"weights {shortened(local_name(name))}: {error}") from error

    def width(self, place: int) -> int:
        """Bits of an input."""
        return self.traced.width(self.input(place))

    def bits(
        self,
        left: int = 0,
        right: int = 1,
        *,
        output_zero: int | None = None,
        integer: bool = False,
    ) -> PerOperand[int]:
        """Widths of two inputs and the output.

        Args:
            output_zero: the place of the output's zero point, which has its type.
            integer: without one, the output is an accumulator.
        """
        if output_zero is not None and self.has(output_zero):
            output = self.traced.width(self.node.input[output_zero])
        else:
            output = ACCUMULATOR_BITS if integer else self.output_bits()
        return PerOperand(self.width(left), self.width(right), output)

    def output_bits(self, place: int = 0) -> int:
        """Bits of the output, after what may be done to it element by element.

        If all that is made of it is quantised in the end, it has those bits.
        """
        name = self.node.output[place] if place < len(self.node.output) else ""
        widths = [self.traced.width(levels) for levels in self._levels_of(name)]
        return max(widths, default=width_of(self.traced.element_type(name)))

    def with_scales(self, layer: Layer, *, alone: bool) -> Layer:
        """A layer with the scales of blocks of its operands, unless it has them already.

        Args:
            alone: it is all of the operator, so that the inputs and the output are its own.
        """
        scales = self.traced.scales
        if not scales or any(layer.scale_bits):
            return layer
        inputs = [name for name in self.node.input if name]
        stored = [name for name in inputs if name in self.traced.constants]
        data = [scales.get(name, 0.0) for name in inputs if name not in self.traced.constants]
        weight = max((scales.get(name, 0.0) for name in stored), default=0.0)
        if layer.weight_is_activation:
            weight = data[1] if alone and len(data) > 1 else 0.0
        levels = self._levels_of(next(iter(self.node.output), ""))
        output = max((scales.get(name, 0.0) for name in levels), default=0.0)
        scale_bits = PerOperand(
            data[0] if alone and data else 0.0, weight, output if alone else 0.0
        )
        return replace(layer, scale_bits=scale_bits) if any(scale_bits) else layer

    def _levels_of(self, name: str) -> list[str]:
        """What a tensor is quantised to by all that use it; none if one does not."""
        derived, levels = self._made_of(name), []
        for tensor in derived:
            readers = self.consumers.get(tensor, ())
            if not readers or tensor in self.traced.outputs:
                return []
            for reader in readers:
                output = reader.output[0] if reader.output else ""
                if reader.op_type in _QUANTIZERS:
                    levels.append(output)
                elif output not in derived:
                    return []
        return levels

    def _made_of(self, name: str) -> set[str]:
        """What is made of a tensor and constants only, element by element; itself as well."""
        derived, new = {name}, {name}
        while new and len(derived) < _MOST_FOLLOWED:
            readers = [reader for tensor in derived for reader in self.consumers.get(tensor, ())]
            new = {
                reader.output[0]
                for reader in readers
                if reader.op_type in _ACTIVATIONS
                and reader.output
                and all(x in derived or x in self.traced.constants for x in reader.input if x)
            } - derived
            derived |= new
        return derived


Converter = Callable[[Call], "list[Layer]"]
