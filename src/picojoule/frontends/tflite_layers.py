"""One TFLite operator that multiplies and accumulates -> the canonical layers it consists of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from picojoule.frontends.convolutions import SpatialAxis, convolution_layers
from picojoule.frontends.products import (
    NotABatchError,
    ProblemError,
    attention_layers,
    contraction,
    layer_of,
    product,
)
from picojoule.frontends.tflite_file import Operator, StoredTensor, Subgraph
from picojoule.frontends.tflite_shapes import SAME_PADDING, Shape, Shapes, window_outputs
from picojoule.frontends.tflite_tensors import FLOAT_BITS, Constant, density_of, width_of
from picojoule.transposed import transposed_conv
from picojoule.workload import DENSE, Layer, PerOperand

# Operators that only change how a constant is stored or laid out.
_PASSES = frozenset(
    [
        "CAST",
        "DENSIFY",
        "DEQUANTIZE",
        "EXPAND_DIMS",
        "FAKE_QUANT",
        "QUANTIZE",
        "RESHAPE",
        "SQUEEZE",
        "TRANSPOSE",
    ]
)
_LONGEST_PASS = 16

Pads = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Scope:
    """One run of a subgraph: what is known of its tensors.

    Args:
        constants: those that the caller of the subgraph hands in, by the inputs' index.
        inputs: the tensors that are handed in.
        makers: the operator that makes each tensor.
        batch: inferences at once.
        densities: of the weights looked at so far, by the tensor's identity; None: none is.
        remarks: takes what had to be assumed.
    """

    subgraph: Subgraph
    shapes: Shapes
    constants: Mapping[int, Constant]
    inputs: frozenset[int]
    makers: Mapping[int, Operator]
    batch: int
    densities: dict[int, float | None] | None
    remarks: dict[str, None]

    def constant(self, index: int, depth: int = 0) -> Constant | None:
        """What a tensor is made of, if it is known before inference."""
        if index < 0 or depth > _LONGEST_PASS:
            return None
        tensor = self.subgraph.tensors[index]
        count = math.prod(tensor.shape)
        if tensor.data is not None:
            return Constant(width_of(tensor.kind), tensor, count, self._block_bits(tensor, count))
        if index in self.inputs or tensor.variable:
            return self.constants.get(index)
        maker = self.makers.get(index)
        if maker is None:  # a weight whose values were left out of the file
            return Constant(width_of(tensor.kind), None, count)
        if maker.name not in _PASSES:
            return None
        source = self.constant(maker.input(0), depth + 1)
        if source is None:
            return None
        if maker.name == "QUANTIZE":
            return replace(source, bits=width_of(tensor.kind))
        if maker.name == "FAKE_QUANT":
            return replace(source, bits=min(64, maker.option("NumBits", "FakeQuantOptions")))
        return replace(source, count=count)

    def _block_bits(self, tensor: StoredTensor, count: int) -> float:
        """What the scales and zero points of its blocks add to each of a tensor's values."""
        blocks, tensors = tensor.blocks, self.subgraph.tensors
        if blocks is None or not count:
            return 0.0
        places = {blocks.scales, blocks.zero_points} - {0}
        parts = [tensors[place] for place in places if 0 < place < len(tensors)]
        scale_bits = sum(
            width_of(part.kind) * math.prod(part.shape) for part in parts if part.data is not None
        )
        if scale_bits:
            return scale_bits / count
        return FLOAT_BITS / blocks.size if blocks.size > 0 else 0.0

    def with_scales(self, layer: Layer, operator: Operator) -> Layer:
        """A layer with the scales of blocks of its stored weights."""
        constants = [self.constant(index) for index in operator.inputs]
        most = max((each.scale_bits for each in constants if each is not None), default=0.0)
        if not most or layer.weight_is_activation:
            return layer
        return replace(layer, scale_bits=PerOperand(0.0, most, 0.0))

    def bits(self, index: int) -> int:
        """The width of a tensor's values where they are stored."""
        if index < 0:
            raise ProblemError("a tensor it needs is missing")
        constant = self.constant(index)
        return width_of(self.subgraph.tensors[index].kind) if constant is None else constant.bits

    def widths(self, operator: Operator, left: int, right: int) -> PerOperand[int]:
        """The widths of a product of two tensors into the operator's output."""
        if not operator.outputs or operator.outputs[0] < 0:
            raise ProblemError("it has no output")
        return PerOperand(self.bits(left), self.bits(right), self.bits(operator.outputs[0]))

    def density(self, constant: Constant | None) -> PerOperand[float]:
        """Dense but for the weights, if their values may be looked at."""
        if constant is None or self.densities is None:
            return DENSE
        key = id(constant.tensor)
        if constant.tensor is None or key not in self.densities:
            self.densities[key] = density_of(constant)
        density = self.densities[key]
        if density is None:
            self.remarks["some weights have no values in the file, or only zeros: density 1"] = None
            return DENSE
        return DENSE._replace(weight=density)


Converter = Callable[[Scope, str, Operator], list[Layer]]


# -- convolutions ---------------------------------------------------------------------------------


def _same_padding(
    size: int, kernel: int, stride: int, dilation: int, padding: int
) -> tuple[int, int]:
    """Zeros before and after; of an odd number of them the one more is after."""
    if padding != SAME_PADDING:
        return 0, 0
    window = (kernel - 1) * dilation + 1
    outputs = window_outputs(size, kernel, stride, dilation, padding)
    total = max(0, (outputs - 1) * stride + window - size)
    return total // 2, total - total // 2


def _strides(operator: Operator, kind: str, axes: str = "HW") -> tuple[int, ...]:
    strides = tuple(int(operator.option(f"Stride{axis}", kind)) for axis in axes)
    if min(strides) < 1:
        raise ProblemError(f"strides of {list(strides)}")
    return strides


def _dilations(operator: Operator, kind: str, axes: str = "HW") -> tuple[int, ...]:
    dilations = tuple(int(operator.option(f"Dilation{axis}Factor", kind)) for axis in axes)
    if min(dilations) < 1:
        raise ProblemError(f"dilations of {list(dilations)}")
    return dilations


def _ranked(shape: Shape, rank: int, what: str) -> Shape:
    if len(shape) != rank or min(shape) < 1:
        raise ProblemError(f"{what} of shape {list(shape)}")
    return shape


def _maps(scope: Scope, maps: int) -> int:
    if maps % scope.batch:
        raise NotABatchError
    return maps


def _axes(
    operator: Operator, kind: str, sizes: Sequence[int], kernel: Sequence[int], along: str = "HW"
) -> list[SpatialAxis]:
    """What a convolution does along each axis, the zeros of its padding among it."""
    strides, dilations = _strides(operator, kind, along), _dilations(operator, kind, along)
    padding = operator.option("Padding", kind)
    return [
        SpatialAxis(*numbers, _same_padding(*numbers, padding))
        for numbers in zip(sizes, kernel, strides, dilations, strict=True)
    ]


def _convolution_along(
    scope: Scope,
    name: str,
    operator: Operator,
    axes: Sequence[SpatialAxis],
    *,
    batch: int,
    channels: int,
    filters: int,
    groups: int,
) -> list[Layer]:
    weight = scope.constant(operator.input(1))
    return convolution_layers(
        name,
        axes,
        in_channels=channels,
        out_channels=filters,
        groups=groups,
        batch=batch,
        bits=scope.widths(operator, operator.input(0), operator.input(1)),
        density=scope.density(weight),
        weight_is_activation=weight is None,
    )


def _groups(channels: int, per_group: int) -> int:
    """The groups of a convolution, which follow from the shapes."""
    if channels % per_group:
        raise ProblemError(
            f"the input has {channels} channels, the weights {per_group} in each group"
        )
    return channels // per_group


def _convolution(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """CONV_2D."""
    maps, *size, channels = _ranked(scope.shapes.of(operator.input(0)), 4, "an input")
    filters, *kernel, per_group = _ranked(scope.shapes.of(operator.input(1)), 4, "weights")
    groups = _groups(channels, per_group)
    return _convolution_along(
        scope,
        name,
        operator,
        _axes(operator, "Conv2DOptions", size, kernel),
        batch=_maps(scope, maps),
        channels=channels,
        filters=filters,
        groups=groups,
    )


def _depthwise(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """DEPTHWISE_CONV_2D: a group for each channel of the input."""
    maps, *size, channels = _ranked(scope.shapes.of(operator.input(0)), 4, "an input")
    _, *kernel, filters = _ranked(scope.shapes.of(operator.input(1)), 4, "weights")
    return _convolution_along(
        scope,
        name,
        operator,
        _axes(operator, "DepthwiseConv2DOptions", size, kernel),
        batch=_maps(scope, maps),
        channels=channels,
        filters=filters,
        groups=channels,
    )


def _transposed(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """TRANSPOSE_CONV, without the zeros it seems to insert."""
    kind = "TransposeConvOptions"
    maps, *size, channels = _ranked(scope.shapes.of(operator.input(2)), 4, "an input")
    filters, *kernel, inputs = _ranked(scope.shapes.of(operator.input(1)), 4, "weights")
    _, *wanted, _ = _ranked(scope.shapes.of(operator.output(0)), 4, "an output")
    if inputs != channels:
        raise ProblemError(f"the input has {channels} channels, the weights {inputs}")
    strides, padding = _strides(operator, kind), operator.option("Padding", kind)
    crops: list[int] = []
    extra: list[int] = []
    for axis in (0, 1):
        # The output is cropped as the forward convolution over it would pad it.
        before, _ = _same_padding(wanted[axis], kernel[axis], strides[axis], 1, padding)
        rest = (size[axis] - 1) * strides[axis] + kernel[axis] - before - wanted[axis]
        crops += [before, max(0, rest)]
        extra.append(max(0, -rest))
    weight = scope.constant(operator.input(1))
    return list(
        transposed_conv(
            name,
            input_size=(size[0], size[1]),
            in_channels=channels,
            out_channels=filters,
            kernel=(kernel[0], kernel[1]),
            stride=(strides[0], strides[1]),
            padding=(crops[0], crops[1], crops[2], crops[3]),
            output_padding=(extra[0], extra[1]),
            batch=_maps(scope, maps),
            bits=scope.widths(operator, operator.input(2), operator.input(1)),
            density=scope.density(weight),
            weight_is_activation=weight is None,
        )
    )


def _conv_3d(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """CONV_3D: a plane of outputs is a map, whose channels are those of all taps along depth."""
    kind = "Conv3DOptions"
    maps, *size, channels = _ranked(scope.shapes.of(operator.input(0)), 5, "an input")
    *kernel, per_group, filters = _ranked(scope.shapes.of(operator.input(1)), 5, "weights")
    groups = _groups(channels, per_group)
    depth, *plane = _axes(operator, kind, size, kernel, "DHW")
    if depth.kernel > 1:
        scope.remarks[
            "in CONV_3D the taps along depth are channels: planes are fetched for each of them"
        ] = None
    return _convolution_along(
        scope,
        name,
        operator,
        plane,
        batch=_maps(scope, maps) * max(0, depth.outputs),
        channels=channels * depth.kernel,
        filters=filters,
        groups=groups,
    )


# -- products -------------------------------------------------------------------------------------


def _connected(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """FULLY_CONNECTED; everything before the last dimension is a row."""
    data = scope.shapes.of(operator.input(0))
    filters, inner = _ranked(scope.shapes.of(operator.input(1)), 2, "weights")
    if not math.prod(data) or math.prod(data) % inner:
        raise ProblemError(f"an input of shape {list(data)} does not split into rows of {inner}")
    weight = scope.constant(operator.input(1))
    return [
        layer_of(
            name,
            groups=1,
            rows=math.prod(data) // inner,
            inner=inner,
            columns=filters,
            stored=weight is not None,
            batch=scope.batch,
            bits=scope.widths(operator, operator.input(0), operator.input(1)),
            density=scope.density(weight),
        )
    ]


def _matmul(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """BATCH_MATMUL, with numpy's broadcasting."""
    shapes = []
    for place, flag in enumerate(("AdjX", "AdjY")):
        shape = scope.shapes.of(operator.input(place))
        if len(shape) > 1 and operator.option(flag, "BatchMatMulOptions", False):
            shape = (*shape[:-2], shape[-1], shape[-2])
        shapes.append(shape)
    bits = scope.widths(operator, operator.input(0), operator.input(1))
    weight = scope.constant(operator.input(1))
    stored = "right" if weight is not None else None
    if weight is None:
        weight = scope.constant(operator.input(0))
        if weight is not None:
            stored, bits = "left", PerOperand(bits.weight, bits.input, bits.output)
    return [
        product(
            name,
            shapes[0],
            shapes[1],
            stored=stored,
            batch=scope.batch,
            bits=bits,
            density=scope.density(weight),
        )
    ]


def _dot_general(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """STABLEHLO_DOT_GENERAL: a product over named axes of both operands."""
    kind = "StablehloDotGeneralOptions"
    shapes = [scope.shapes.of(operator.input(place)) for place in (0, 1)]
    if sum(map(len, shapes)) > 26:
        raise ProblemError("more axes than can be told apart")
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    terms: list[list[str]] = [[""] * len(shape) for shape in shapes]
    output = []
    for what in ("Batching", "Contracting"):
        axes = [operator.option(f"{side}{what}DimensionsAsNumpy", kind) for side in ("Lhs", "Rhs")]
        pairs = [[] if isinstance(numbers, int) else numbers.tolist() for numbers in axes]
        if len(pairs[0]) != len(pairs[1]):
            raise ProblemError(f"{pairs[0]} and {pairs[1]} are not pairs of axes")
        for left, right in zip(*pairs, strict=True):
            if not (0 <= left < len(terms[0]) and 0 <= right < len(terms[1])):
                raise ProblemError(f"axes {left} and {right} of {shapes[0]} and {shapes[1]}")
            terms[0][left] = terms[1][right] = next(letters)
            output += [terms[0][left]] if what == "Batching" else []
    for term in terms:
        for axis, letter in enumerate(term):
            if not letter:
                term[axis] = next(letters)
                output.append(term[axis])
    weight = scope.constant(operator.input(1))
    layer = contraction(
        name,
        f"{''.join(terms[0])},{''.join(terms[1])}->{''.join(output)}",
        shapes[0],
        shapes[1],
        stored=weight is not None,
        batch=scope.batch,
        bits=scope.widths(operator, operator.input(0), operator.input(1)),
        density=scope.density(weight),
    )
    if layer is None:
        raise ProblemError("it sums over no axis of both operands")
    return [layer]


def attention(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """A composite of scaled dot-product attention over ``[batch, positions, heads, width]``."""
    shapes = []
    for place in range(3):
        n, positions, heads, width = _ranked(scope.shapes.of(operator.input(place)), 4, "an input")
        shapes.append((n, heads, positions, width))
    bits = scope.widths(operator, operator.input(0), operator.input(1))
    return attention_layers(name, *shapes, batch=scope.batch, bits=bits)


CONVERTERS: Mapping[str, Converter] = {
    "BATCH_MATMUL": _matmul,
    "CONV_2D": _convolution,
    "CONV_3D": _conv_3d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _connected,
    "STABLEHLO_DOT_GENERAL": _dot_general,
    "TRANSPOSE_CONV": _transposed,
}
