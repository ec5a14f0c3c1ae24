"""One ONNX operator that multiplies and accumulates -> the canonical layers it consists of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnx import NodeProto

from picojoule.errors import WorkloadError
from picojoule.frontends.onnx_shapes import Step, Traced, attributes, with_zero_point
from picojoule.frontends.onnx_tensors import Constant, TensorError, TensorValues, width_of
from picojoule.frontends.products import (
    NotABatchError,
    ProblemError,
    attention_layers,
    contraction,
    product,
)
from picojoule.frontends.source_file import Findings, shortened
from picojoule.transposed import transposed_conv
from picojoule.workload import DENSE, Layer, PerOperand, conv

__all__ = ["LayerBuilder", "NotABatchError", "label_of"]

# Between a layer and the QuantizeLinear that narrows its output: they change no width.
_KEEPS_WIDTH = frozenset({"Relu", "Clip", "LeakyRelu"})
ACCUMULATOR_BITS = 32  # ConvInteger and MatMulInteger deliver int32


def label_of(node: NodeProto) -> str:
    """What an operator is called in ``not_counted``."""
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


@dataclass(frozen=True, slots=True)
class _Operands:
    """Which inputs of an operator are multiplied, and its zero points, by position."""

    left: int = 0
    right: int = 1
    right_zero: int | None = None
    output_zero: int | None = None
    integer: bool = False


_PLAIN = _Operands()
_INTEGER = _Operands(0, 1, right_zero=3, integer=True)
_QLINEAR = _Operands(0, 3, right_zero=5, output_zero=7, integer=True)


class LayerBuilder:
    """Collects the layers of a traced graph, for *batch* inferences.

    Args:
        tensors: where to look for the values of weights; None: their density is 1.
        findings: takes the mistakes, each with the path of its operator.
    """

    def __init__(
        self, traced: Traced, tensors: TensorValues | None, findings: Findings, batch: int
    ) -> None:
        self.layers: list[Layer] = []
        self._traced = traced
        self._tensors = tensors
        self._findings = findings
        self._batch = batch
        self._names: set[str] = set()
        self._consumers: dict[str, list[NodeProto]] = defaultdict(list)
        for step in traced.steps:
            for name in step.node.input:
                self._consumers[name].append(step.node)

    def add(self, step: Step) -> str | None:
        """Add the layers of an operator; return its label if it is not one that has any.

        Raises:
            NotABatchError: its work does not divide by the batch.
        """
        node = step.node
        label = label_of(node)
        convert = _CONVERTERS.get(label)
        if convert is None:
            return label
        name = self._free_name(node.name or next(filter(None, node.output), "") or label)
        try:
            layers = convert(self, name, node)
        except (ProblemError, WorkloadError, TensorError) as error:
            self._findings.add(f"{step.path} {shortened(name)} ({label})", str(error))
            return None
        if not layers:  # None, or a transposed convolution of which only the bias is left
            return label
        if isinstance(layers, str):
            return layers
        self.layers += layers
        self._names.update(layer.name for layer in layers)
        self._names.add(name)
        return None

    def _free_name(self, name: str) -> str:
        if name not in self._names:
            return name
        number = 2
        while f"{name}_{number}" in self._names:
            number += 1
        return f"{name}_{number}"

    # -- reading an operator -------------------------------------------------------------------

    def _input(self, node: NodeProto, index: int) -> str:
        name = node.input[index] if index < len(node.input) else ""
        if not name:
            raise ProblemError(f"input {index} is missing")
        return name

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self._traced.shape(name)
        if shape is None:
            raise ProblemError(
                f"the shape of tensor {shortened(name, 80)} is not known: it comes from an "
                "operator without shape inference, or sizes depend on data"
            )
        return shape

    def _weight(self, node: NodeProto, which: _Operands, index: int, axis: int) -> Constant | None:
        constant = self._traced.constants.get(self._input(node, index))
        if constant is None or which.right_zero is None or len(node.input) <= which.right_zero:
            return constant
        point = self._traced.values.get(node.input[which.right_zero])
        return with_zero_point(constant, point, axis)

    def _density(self, weight: Constant | None) -> PerOperand[float]:
        if weight is None or self._tensors is None:
            return DENSE
        try:
            return DENSE._replace(weight=self._tensors.density_of(weight))
        except TensorError as error:
            name = weight.tensor.name if weight.tensor is not None else ""
            raise TensorError(f"weights {shortened(name)}: {error}") from error

    def _bits(self, node: NodeProto, which: _Operands) -> PerOperand[int]:
        kinds = [
            self._traced.element_type(self._input(node, index))
            for index in (which.left, which.right)
        ]
        return PerOperand(width_of(kinds[0]), width_of(kinds[1]), self._output_bits(node, which))

    def _output_bits(self, node: NodeProto, which: _Operands) -> int:
        if which.output_zero is not None and len(node.input) > which.output_zero:
            return width_of(self._traced.element_type(node.input[which.output_zero]))
        if which.integer:
            return ACCUMULATOR_BITS
        name = node.output[0] if node.output else ""
        following = self._consumers.get(name, [])
        while len(following) == 1 and following[0].op_type in _KEEPS_WIDTH and following[0].output:
            name = following[0].output[0]
            following = self._consumers.get(name, [])
        if len(following) == 1 and following[0].op_type == "QuantizeLinear":
            name = following[0].output[0] if following[0].output else ""
        return width_of(self._traced.element_type(name))

    # -- convolutions --------------------------------------------------------------------------

    def conv(self, name: str, node: NodeProto, which: _Operands = _PLAIN) -> list[Layer] | str:
        """Conv, ConvInteger, QLinearConv in one or two dimensions."""
        at = self._convolution(node, which)
        if isinstance(at, str):
            return at
        channels, filters = at.weight_shape[1] * at.groups, at.weight_shape[0]
        if channels != at.channels:
            raise ProblemError(
                f"the input has {at.channels} channels, the weights {at.weight_shape[1]} for "
                f"each of {at.groups} groups"
            )
        return [
            conv(
                name,
                in_channels=channels,
                out_channels=filters,
                padding=_conv_padding(at),
                input_size=at.size,
                kernel=at.kernel,
                stride=at.stride,
                dilation=at.dilation,
                groups=at.groups,
                batch=self._divisible(at.maps),
                bits=self._bits(node, which),
                density=self._density(at.weight),
                weight_is_activation=at.weight_computed,
            )
        ]

    def transposed(self, name: str, node: NodeProto) -> list[Layer] | str:
        """ConvTranspose in one or two dimensions, without the zeros it seems to insert."""
        at = self._convolution(node, _PLAIN)
        if isinstance(at, str):
            return at
        if at.weight_shape[0] != at.channels:
            raise ProblemError(
                f"the input has {at.channels} channels, the weights {at.weight_shape[0]}"
            )
        padding, output_padding = _transposed_padding(at)
        return list(
            transposed_conv(
                name,
                in_channels=at.channels,
                out_channels=at.weight_shape[1] * at.groups,
                padding=padding,
                output_padding=output_padding,
                input_size=at.size,
                kernel=at.kernel,
                stride=at.stride,
                dilation=at.dilation,
                groups=at.groups,
                batch=self._divisible(at.maps),
                bits=self._bits(node, _PLAIN),
                density=self._density(at.weight),
                weight_is_activation=at.weight_computed,
            )
        )

    def _divisible(self, maps: int) -> int:
        if maps % self._batch:
            raise NotABatchError
        return maps

    def _convolution(self, node: NodeProto, which: _Operands) -> _Convolution | str:
        data = self._shape(self._input(node, which.left))
        weight_name = self._input(node, which.right)
        shape = self._shape(weight_name)
        spatial = len(shape) - 2
        if spatial > 2:
            return f"{node.op_type} ({spatial}-D)"
        if len(data) != len(shape) or spatial < 1:
            raise ProblemError(f"an input of shape {list(data)} with weights of {list(shape)}")
        given = _Numbers(attributes(node))
        weight = self._weight(node, which, which.right, 0)
        pads = given.ints("pads", 2 * spatial, 0)
        auto_pad = given.word("auto_pad", "NOTSET")
        if auto_pad not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
            raise ProblemError(f"auto_pad {shortened(auto_pad)} is not known")
        # One dimension is one row.
        first = 2 - spatial
        return _Convolution(
            maps=data[0],
            channels=data[1],
            weight_shape=shape,
            weight=weight,
            # A graph that is given its weights from outside is still one with weights.
            weight_computed=weight is None and weight_name not in self._traced.graph_inputs,
            size=_pair(data[2:]),
            kernel=_pair(shape[2:]),
            stride=_pair(given.ints("strides", spatial, 1)),
            dilation=_pair(given.ints("dilations", spatial, 1)),
            groups=given.whole("group", 1),
            # ONNX: all begins, then all ends.
            padding=((0, 0, pads[0], pads[1]) if first else (pads[0], pads[2], pads[1], pads[3])),
            auto_pad=auto_pad,
            output_padding=_pair(given.ints("output_padding", spatial, 0), fill=0),
            output_shape=(
                _pair(given.ints("output_shape", spatial, 1)) if given.has("output_shape") else None
            ),
        )

    # -- products ------------------------------------------------------------------------------

    def matmul(self, name: str, node: NodeProto, which: _Operands = _PLAIN) -> list[Layer]:
        """MatMul, MatMulInteger, QLinearMatMul, with numpy's broadcasting."""
        left = self._shape(self._input(node, which.left))
        right = self._shape(self._input(node, which.right))
        return self._product(name, node, which, left, right)

    def gemm(self, name: str, node: NodeProto) -> list[Layer]:
        """Gemm; its bias and scale factors are not counted, as those of Conv are not."""
        given = _Numbers(attributes(node))
        shapes = []
        for index, flag in enumerate(("transA", "transB")):
            shape = self._shape(self._input(node, index))
            if len(shape) != 2:
                raise ProblemError(f"input {index} of shape {list(shape)} is not a matrix")
            shapes.append(shape[::-1] if given.whole(flag, 0) else shape)
        return self._product(name, node, _PLAIN, shapes[0], shapes[1])

    def _product(
        self,
        name: str,
        node: NodeProto,
        which: _Operands,
        left: tuple[int, ...],
        right: tuple[int, ...],
    ) -> list[Layer]:
        weight = self._weight(node, which, which.right, -1)
        bits = self._bits(node, which)
        stored = "right" if weight is not None else None
        if weight is None:
            weight = self._weight(node, _PLAIN, which.left, 0)
            if weight is not None:
                stored = "left"
                bits = PerOperand(bits.weight, bits.input, bits.output)
        return [
            product(
                name,
                left,
                right,
                stored=stored,
                batch=self._batch,
                bits=bits,
                density=self._density(weight),
            )
        ]

    def einsum(self, name: str, node: NodeProto) -> list[Layer] | None:
        """Einsum of two operands that is one batched product; others are not counted."""
        equation = _Numbers(attributes(node)).word("equation", "")
        if len(node.input) != 2:
            return None
        left, right = (self._shape(self._input(node, index)) for index in (0, 1))
        weight = self._weight(node, _PLAIN, 1, 0)
        bits = self._bits(node, _PLAIN)
        if weight is None and self._weight(node, _PLAIN, 0, 0) is not None:
            # Put the constant second: the equation says which index is which.
            inputs, arrow, output = equation.partition("->")
            equation = ",".join(reversed(inputs.split(","))) + arrow + output
            left, right, weight = right, left, self._weight(node, _PLAIN, 0, 0)
            bits = PerOperand(bits.weight, bits.input, bits.output)
        layer = contraction(
            name,
            equation,
            left,
            right,
            stored=weight is not None,
            batch=self._batch,
            bits=bits,
            density=self._density(weight),
        )
        return None if layer is None else [layer]

    def attention(self, name: str, node: NodeProto) -> list[Layer]:
        """Attention (opset 23): scores and their product with the values."""
        given = _Numbers(attributes(node))
        shapes = [self._shape(self._input(node, index)) for index in range(3)]
        heads = [given.whole(f"{of}_num_heads", 0) for of in ("q", "kv", "kv")]
        split = []
        for shape, count in zip(shapes, heads, strict=True):
            if len(shape) == 3 and count > 0 and shape[2] % count == 0:
                split.append((shape[0], count, shape[1], shape[2] // count))
            elif len(shape) == 4:
                split.append(shape)
            else:
                raise ProblemError(f"an operand of shape {list(shape)} does not split into heads")
        past = 0
        if len(node.input) > 4 and node.input[4]:
            earlier = self._shape(node.input[4])
            if len(earlier) != 4:
                raise ProblemError(f"past keys of shape {list(earlier)}")
            past = earlier[2]
        query, key, value = split
        key = (*key[:2], key[2] + past, key[3])
        value = (*value[:2], value[2] + past, value[3])
        return attention_layers(
            name, query, key, value, batch=self._batch, bits=self._bits(node, _PLAIN)
        )


@dataclass(frozen=True, slots=True)
class _Convolution:
    """The attributes of Conv and ConvTranspose, in two dimensions."""

    maps: int
    channels: int
    weight_shape: tuple[int, ...]
    weight: Constant | None
    weight_computed: bool
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    padding: tuple[int, int, int, int]
    auto_pad: str
    output_padding: tuple[int, int]
    output_shape: tuple[int, int] | None


def _pair(values: Sequence[int], fill: int = 1) -> tuple[int, int]:
    return (values[0], values[1]) if len(values) == 2 else (fill, values[0])


class _Numbers:
    """The attributes of an operator, checked: a damaged file has any type anywhere."""

    def __init__(self, given: dict[str, object]) -> None:
        self._given = given

    def has(self, name: str) -> bool:
        return name in self._given

    def whole(self, name: str, default: int) -> int:
        value = self._given.get(name, default)
        if not isinstance(value, int):
            raise ProblemError(f"attribute {name} is not a whole number")
        return value

    def ints(self, name: str, length: int, default: int) -> list[int]:
        value = self._given.get(name)
        if value is None or (isinstance(value, list) and not value):
            return [default] * length
        if not isinstance(value, list) or not all(isinstance(item, int) for item in value):
            raise ProblemError(f"attribute {name} is not a list of whole numbers")
        if len(value) != length:
            raise ProblemError(f"attribute {name} has {len(value)} numbers, not {length}")
        return value

    def word(self, name: str, default: str) -> str:
        value = self._given.get(name, default.encode())
        if not isinstance(value, bytes):
            raise ProblemError(f"attribute {name} is not a text")
        return value.decode("utf-8", "replace")


def _conv_padding(at: _Convolution) -> tuple[int, int, int, int]:
    if at.auto_pad == "NOTSET":
        return at.padding
    if at.auto_pad == "VALID" or min(at.stride) < 1:
        return (0, 0, 0, 0)
    padding: list[int] = []
    for size, kernel, stride, dilation in zip(
        at.size, at.kernel, at.stride, at.dilation, strict=True
    ):
        # SAME: ceil(size / stride) outputs.
        window = (kernel - 1) * dilation + 1
        total = max(0, (-(-size // stride) - 1) * stride + window - size)
        padding += _split(total, odd_at_end=at.auto_pad == "SAME_UPPER")
    return padding[0], padding[1], padding[2], padding[3]


def _transposed_padding(at: _Convolution) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """Cropping of the output, and rows and columns added to it, by the operator's definition."""
    if at.auto_pad == "VALID":
        return (0, 0, 0, 0), at.output_padding
    same = at.auto_pad in ("SAME_UPPER", "SAME_LOWER")
    if at.output_shape is None and not same:
        return at.padding, at.output_padding
    padding: list[int] = []
    extra: list[int] = []
    for axis in (0, 1):
        wanted = at.size[axis] * at.stride[axis]
        if at.output_shape is not None:
            wanted = at.output_shape[axis]
        window = (at.kernel[axis] - 1) * at.dilation[axis] + 1
        full = at.stride[axis] * (at.size[axis] - 1) + at.output_padding[axis] + window
        # An output larger than the full one has more rows at its end.
        padding += _split(max(0, full - wanted), odd_at_end=at.auto_pad == "SAME_UPPER")
        extra.append(at.output_padding[axis] + max(0, wanted - full))
    return (padding[0], padding[1], padding[2], padding[3]), (extra[0], extra[1])


def _split(total: int, *, odd_at_end: bool) -> tuple[int, int]:
    half = total // 2
    return (half, total - half) if odd_at_end else (total - half, half)


_CONVERTERS: dict[str, Callable[[LayerBuilder, str, NodeProto], list[Layer] | str | None]] = {
    "Conv": LayerBuilder.conv,
    "ConvInteger": lambda builder, name, node: builder.conv(name, node, _INTEGER),
    "QLinearConv": lambda builder, name, node: builder.conv(name, node, _QLINEAR),
    "ConvTranspose": LayerBuilder.transposed,
    "Gemm": LayerBuilder.gemm,
    "MatMul": LayerBuilder.matmul,
    "MatMulInteger": lambda builder, name, node: builder.matmul(name, node, _INTEGER),
    "QLinearMatMul": lambda builder, name, node: builder.matmul(name, node, _QLINEAR),
    "Einsum": LayerBuilder.einsum,
    "Attention": LayerBuilder.attention,
}
