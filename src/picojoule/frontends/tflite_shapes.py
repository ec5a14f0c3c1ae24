"""Shapes of a TFLite subgraph whose inputs have other sizes than the file stores.

A file stores a shape for every tensor. They hold as long as the inputs have the stored sizes;
where a caller gives others, the interpreter resizes what follows, and so does this module, by the
operators' own rules. An operator without a rule leaves its outputs unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from picojoule.frontends.products import ProblemError
from picojoule.frontends.tflite_file import Operator, StoredTensor, Subgraph
from picojoule.frontends.tflite_operators import names

Shape = tuple[int, ...]

SMALL = 4096
"""Values of at most this many numbers are followed: they are sizes, permutations, paddings."""

INTEGERS = {2: "<i4", 4: "<i8", 7: "<i2", 9: "i1"}
"""numpy's name of the signed whole-number types of the schema's TensorType."""

SAME_PADDING = 0


def window_outputs(size: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    """Outputs along one axis; *padding* is of the schema's Padding: 0 SAME, 1 VALID."""
    if padding == SAME_PADDING:
        return -(-size // stride)
    return max(0, (size - (kernel - 1) * dilation - 1) // stride + 1)


def whole_values(tensor: StoredTensor) -> NDArray[np.int64] | None:
    """The values of a small constant of whole numbers; None of any other tensor."""
    kind = INTEGERS.get(tensor.kind)
    if tensor.data is None or kind is None:
        return None
    count = math.prod(tensor.shape)
    data = tensor.data.tobytes() if tensor.data.size <= 8 * SMALL else b""
    if count > SMALL or len(data) != count * np.dtype(kind).itemsize:
        return None
    return np.frombuffer(data, dtype=kind).astype(np.int64).reshape(tensor.shape)


class Shapes:
    """The shape of every tensor of *subgraph* when its inputs have the *given* shapes."""

    def __init__(self, subgraph: Subgraph, shapes: Mapping[int, Shape]) -> None:
        self._subgraph = subgraph
        self._shapes: dict[int, Shape | None] = {}
        self._values: dict[int, NDArray[np.int64]] = {}
        changed = {
            index: shape
            for index, shape in shapes.items()
            if shape != subgraph.tensors[index].shape
        }
        self.resized = bool(changed)
        if self.resized:
            self._shapes.update(changed)
            for operator in subgraph.operators:
                self._follow(operator)

    def known(self, index: int) -> Shape | None:
        """The shape of a tensor, or None."""
        if index < 0:
            return None
        return self._shapes.get(index, self._subgraph.tensors[index].shape)

    def of(self, index: int) -> Shape:
        """The shape of a tensor.

        Raises:
            ProblemError: there is no such tensor, or its shape is not known.
        """
        if index < 0:
            raise ProblemError("a tensor it needs is missing")
        shape = self.known(index)
        if shape is None:
            name = self._subgraph.tensors[index].name
            raise ProblemError(
                f"the shape of tensor {name[:80]!r} is not known for these sizes of the inputs: "
                "an operator before it has no rule; resize the model and save it"
            )
        return shape

    def value(self, index: int) -> NDArray[np.int64] | None:
        """The whole numbers in a tensor, if they are known before inference."""
        if index < 0:
            return None
        if index not in self._values:
            values = whole_values(self._subgraph.tensors[index])
            if values is None:
                return None
            self._values[index] = values
        return self._values[index]

    # -- following the operators -----------------------------------------------------------------

    def _follow(self, operator: Operator) -> None:
        inputs = [self.known(index) for index in operator.inputs]
        if operator.name == "SHAPE" and inputs and inputs[0] is not None:
            self._values[operator.outputs[0]] = np.asarray(inputs[0], dtype=np.int64)
        elif (reckon := _RECKONED.get(operator.name)) is not None:
            self._reckon(operator, reckon)
        if not any(index in self._shapes for index in operator.inputs) and not any(
            index in self._values for index in operator.inputs
        ):
            return  # nothing before it has changed
        rule = RULES.get(operator.name)
        shapes: list[Shape] | None = None
        if rule is not None and all(
            shape is not None
            for index, shape in zip(operator.inputs, inputs, strict=True)
            if index >= 0
        ):
            try:
                shapes = rule(self, operator)
            except (ProblemError, ValueError, IndexError, TypeError, ZeroDivisionError):
                shapes = None
        for place, index in enumerate(operator.outputs):
            if index < 0:
                continue
            self._shapes[index] = (
                None
                if shapes is None or min(shapes[place % len(shapes)], default=0) < 0
                else tuple(int(size) for size in shapes[place % len(shapes)])
            )

    def _reckon(
        self, operator: Operator, reckon: Callable[[Shapes, Operator], NDArray[np.int64] | None]
    ) -> None:
        try:
            with np.errstate(all="ignore"):
                result = reckon(self, operator)
        except (ProblemError, ValueError, IndexError, TypeError, ZeroDivisionError):
            return
        if result is not None and result.size <= SMALL and operator.outputs:
            self._values[operator.outputs[0]] = result

    def numbers(self, operator: Operator, place: int) -> NDArray[np.int64]:
        """The known values of an operator's input.

        Raises:
            ProblemError: they are computed.
        """
        values = self.value(operator.input(place))
        if values is None:
            raise ProblemError("a size is computed at inference")
        return values


Rule = Callable[[Shapes, Operator], list[Shape]]


def _same(shapes: Shapes, operator: Operator) -> list[Shape]:
    return [shapes.of(operator.input(0))]


def _broadcast(shapes: Shapes, operator: Operator) -> list[Shape]:
    operands = [shapes.of(index) for index in operator.inputs if index >= 0]
    return [tuple(np.broadcast_shapes(*operands))]


def _window(shapes: Shapes, operator: Operator, kind: str, taps: Shape, channels: int) -> Shape:
    n, height, width, _ = shapes.of(operator.input(0))
    outputs = [
        window_outputs(
            size,
            kernel,
            operator.option(f"Stride{axis}", kind),
            operator.option(f"Dilation{axis}Factor", kind) if kind != "Pool2DOptions" else 1,
            operator.option("Padding", kind),
        )
        for axis, size, kernel in zip("HW", (height, width), taps, strict=True)
    ]
    return (n, *outputs, channels)


def _conv(shapes: Shapes, operator: Operator) -> list[Shape]:
    out, *taps, _ = shapes.of(operator.input(1))
    return [_window(shapes, operator, "Conv2DOptions", tuple(taps), out)]


def _depthwise(shapes: Shapes, operator: Operator) -> list[Shape]:
    _, *taps, out = shapes.of(operator.input(1))
    return [_window(shapes, operator, "DepthwiseConv2DOptions", tuple(taps), out)]


def _pool(shapes: Shapes, operator: Operator) -> list[Shape]:
    taps = (
        operator.option("FilterHeight", "Pool2DOptions"),
        operator.option("FilterWidth", "Pool2DOptions"),
    )
    channels = shapes.of(operator.input(0))[3]
    return [_window(shapes, operator, "Pool2DOptions", taps, channels)]


def _conv_3d(shapes: Shapes, operator: Operator) -> list[Shape]:
    n, *sizes, _ = shapes.of(operator.input(0))
    *taps, _, out = shapes.of(operator.input(1))
    outputs = [
        window_outputs(
            size,
            kernel,
            operator.option(f"Stride{axis}", "Conv3DOptions"),
            operator.option(f"Dilation{axis}Factor", "Conv3DOptions"),
            operator.option("Padding", "Conv3DOptions"),
        )
        for axis, size, kernel in zip("DHW", sizes, taps, strict=True)
    ]
    return [(n, *outputs, out)]


def _transposed(shapes: Shapes, operator: Operator) -> list[Shape]:
    return [tuple(shapes.numbers(operator, 0))]


def _connected(shapes: Shapes, operator: Operator) -> list[Shape]:
    data, (out, inputs) = shapes.of(operator.input(0)), shapes.of(operator.input(1))
    if operator.option("KeepNumDims", "FullyConnectedOptions", False):
        return [(*data[:-1], out)]
    return [(math.prod(data) // inputs, out)]


def _matmul(shapes: Shapes, operator: Operator) -> list[Shape]:
    left, right = (shapes.of(operator.input(n)) for n in (0, 1))
    rows = left[-1] if operator.option("AdjX", "BatchMatMulOptions", False) else left[-2]
    columns = right[-2] if operator.option("AdjY", "BatchMatMulOptions", False) else right[-1]
    return [(*np.broadcast_shapes(left[:-2], right[:-2]), rows, columns)]


def _concatenated(shapes: Shapes, operator: Operator) -> list[Shape]:
    parts = [shapes.of(index) for index in operator.inputs]
    axis = operator.option("Axis", "ConcatenationOptions") % len(parts[0])
    result = list(parts[0])
    result[axis] = sum(shape[axis] for shape in parts)
    return [tuple(result)]


def _reshaped(shapes: Shapes, operator: Operator) -> list[Shape]:
    wanted = shapes.value(operator.input(1))
    if wanted is None and operator.input(1) < 0:
        wanted = np.asarray(operator.option("NewShapeAsNumpy", "ReshapeOptions"))
    if wanted is None:
        raise ProblemError("its shape is computed")
    count = math.prod(shapes.of(operator.input(0)))
    sizes = [int(size) for size in wanted.reshape(-1)]
    fixed = math.prod(size for size in sizes if size != -1)
    if -1 not in sizes and fixed != count:
        raise ProblemError("its shape holds another number of values")
    return [tuple(count // fixed if size == -1 else size for size in sizes)]


def _transpose(shapes: Shapes, operator: Operator) -> list[Shape]:
    data = shapes.of(operator.input(0))
    return [tuple(data[axis] for axis in shapes.numbers(operator, 1))]


def _padded(shapes: Shapes, operator: Operator) -> list[Shape]:
    pads = shapes.numbers(operator, 1)
    data = shapes.of(operator.input(0))
    return [tuple(s + int(p.sum()) for s, p in zip(data, pads, strict=True))]


def _reduced(shapes: Shapes, operator: Operator) -> list[Shape]:
    data = shapes.of(operator.input(0))
    axes = {int(axis) % len(data) for axis in shapes.numbers(operator, 1).reshape(-1)}
    keep = operator.option("KeepDims", "ReducerOptions", False)
    sizes = [(1 if axis in axes else size, axis) for axis, size in enumerate(data)]
    return [tuple(size for size, axis in sizes if keep or axis not in axes)]


def _strided(shapes: Shapes, operator: Operator) -> list[Shape]:
    data = shapes.of(operator.input(0))
    return [_cut_shape(data, _cut(shapes, operator))]


def _cut(shapes: Shapes, operator: Operator) -> tuple[slice | int | None, ...]:
    """The index that a STRIDED_SLICE stands for."""
    begin, end, step = (shapes.numbers(operator, place).reshape(-1) for place in (1, 2, 3))
    masks = {
        name: operator.option(f"{name}Mask", "StridedSliceOptions", 0)
        for name in ("Begin", "End", "Ellipsis", "NewAxis", "ShrinkAxis")
    }
    if masks["Ellipsis"]:
        raise ProblemError("an ellipsis")
    index: list[slice | int | None] = []
    for place in range(len(begin)):
        if masks["NewAxis"] >> place & 1:
            index.append(None)
        elif masks["ShrinkAxis"] >> place & 1:
            index.append(int(begin[place]))
        else:
            first = None if masks["Begin"] >> place & 1 else int(begin[place])
            last = None if masks["End"] >> place & 1 else int(end[place])
            index.append(slice(first, last, int(step[place])))
    return tuple(index)


def _cut_shape(data: Shape, index: tuple[slice | int | None, ...]) -> Shape:
    result: list[int] = []
    axis = 0
    for item in index:
        if item is None:
            result.append(1)
            continue
        if isinstance(item, slice):
            result.append(len(range(*item.indices(data[axis]))))
        axis += 1
    return (*result, *data[axis:])


def _sliced(shapes: Shapes, operator: Operator) -> list[Shape]:
    data = shapes.of(operator.input(0))
    begin, size = (shapes.numbers(operator, place).reshape(-1) for place in (1, 2))
    return [
        tuple(
            whole - int(first) if count == -1 else int(count)
            for whole, first, count in zip(data, begin, size, strict=True)
        )
    ]


def _split(shapes: Shapes, operator: Operator) -> list[Shape]:
    axis, data = int(shapes.numbers(operator, 0)), list(shapes.of(operator.input(1)))
    data[axis] //= len(operator.outputs)
    return [tuple(data)]


def _split_v(shapes: Shapes, operator: Operator) -> list[Shape]:
    data, axis = shapes.of(operator.input(0)), int(shapes.numbers(operator, 2))
    sizes = [int(size) for size in shapes.numbers(operator, 1)]
    if -1 in sizes:
        sizes[sizes.index(-1)] = data[axis] - sum(sizes) - 1
    axis %= len(data)
    return [(*data[:axis], size, *data[axis + 1 :]) for size in sizes]


def _squeezed(shapes: Shapes, operator: Operator) -> list[Shape]:
    data = shapes.of(operator.input(0))
    axes = operator.option("SqueezeDimsAsNumpy", "SqueezeOptions")
    gone = {int(axis) % len(data) for axis in np.atleast_1d(axes)} if np.size(axes) else set()
    if isinstance(axes, int):
        gone = {axis for axis, size in enumerate(data) if size == 1}
    return [tuple(size for axis, size in enumerate(data) if axis not in gone)]


def _expanded(shapes: Shapes, operator: Operator) -> list[Shape]:
    data = shapes.of(operator.input(0))
    axis = int(shapes.numbers(operator, 1).reshape(-1)[0]) % (len(data) + 1)
    return [(*data[:axis], 1, *data[axis:])]


def _packed(shapes: Shapes, operator: Operator) -> list[Shape]:
    data = shapes.of(operator.input(0))
    axis = operator.option("Axis", "PackOptions", 0) % (len(data) + 1)
    return [(*data[:axis], len(operator.inputs), *data[axis:])]


def _unpacked(shapes: Shapes, operator: Operator) -> list[Shape]:
    data = shapes.of(operator.input(0))
    axis = operator.option("Axis", "UnpackOptions", 0) % len(data)
    return [(*data[:axis], *data[axis + 1 :])]


def _gathered(shapes: Shapes, operator: Operator) -> list[Shape]:
    data, places = shapes.of(operator.input(0)), shapes.of(operator.input(1))
    axis = operator.option("Axis", "GatherOptions", 0) % len(data)
    inner = operator.option("BatchDims", "GatherOptions", 0)
    return [(*data[:axis], *places[inner:], *data[axis + 1 :])]


def _resized(shapes: Shapes, operator: Operator) -> list[Shape]:
    n, _, _, channels = shapes.of(operator.input(0))
    height, width = shapes.numbers(operator, 1)
    return [(n, int(height), int(width), channels)]


def _tiled(shapes: Shapes, operator: Operator) -> list[Shape]:
    data, times = shapes.of(operator.input(0)), shapes.numbers(operator, 1)
    return [tuple(size * int(count) for size, count in zip(data, times, strict=True))]


def _counted_sizes(shapes: Shapes, operator: Operator) -> list[Shape]:
    return [(len(shapes.of(operator.input(0))),)]


def _of_value(place: int) -> Rule:
    return lambda shapes, operator: [tuple(shapes.numbers(operator, place).reshape(-1))]


def _arg(shapes: Shapes, operator: Operator) -> list[Shape]:
    data = shapes.of(operator.input(0))
    axis = int(shapes.numbers(operator, 1).reshape(-1)[0]) % len(data)
    return [(*data[:axis], *data[axis + 1 :])]


def _recurrent(shapes: Shapes, operator: Operator) -> list[Shape]:
    data, recurrent = shapes.of(operator.input(0)), shapes.of(operator.input(2))
    width = recurrent[0]
    if operator.name.endswith("LSTM"):
        width = shapes.of(operator.input(6))[1]
    return [(*data[:-1], width)]


def _svdf(shapes: Shapes, operator: Operator) -> list[Shape]:
    rank = max(1, operator.option("Rank", "SVDFOptions"))
    return [(shapes.of(operator.input(0))[0], shapes.of(operator.input(1))[0] // rank)]


def _looked_up(shapes: Shapes, operator: Operator) -> list[Shape]:
    return [(*shapes.of(operator.input(0)), *shapes.of(operator.input(1))[1:])]


def _space_to_depth(shapes: Shapes, operator: Operator) -> list[Shape]:
    n, height, width, channels = shapes.of(operator.input(0))
    block = operator.option("BlockSize", "SpaceToDepthOptions")
    return [(n, height // block, width // block, channels * block * block)]


def _depth_to_space(shapes: Shapes, operator: Operator) -> list[Shape]:
    n, height, width, channels = shapes.of(operator.input(0))
    block = operator.option("BlockSize", "DepthToSpaceOptions")
    return [(n, height * block, width * block, channels // (block * block))]


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        names(
            """
            ABS CAST CEIL COS CUMSUM DEQUANTIZE ELU EXP FAKE_QUANT FLOOR GELU
            HARD_SWISH L2_NORMALIZATION LEAKY_RELU LOCAL_RESPONSE_NORMALIZATION LOG
            LOGICAL_NOT LOGISTIC LOG_SOFTMAX NEG QUANTIZE RELU RELU6 RELU_0_TO_1
            RELU_N1_TO_1 REVERSE_SEQUENCE REVERSE_V2 ROUND RSQRT SIGN SIN SOFTMAX
            SQRT SQUARE TANH ZEROS_LIKE DYNAMIC_UPDATE_SLICE
            """
        ),
        _same,
    ),
    **dict.fromkeys(
        names(
            """
            ADD ADD_N ATAN2 BITWISE_XOR DIV EQUAL FLOOR_DIV FLOOR_MOD GREATER
            GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND LOGICAL_OR MAXIMUM MINIMUM MUL
            NOT_EQUAL POW PRELU RIGHT_SHIFT SELECT SELECT_V2 SQUARED_DIFFERENCE SUB
            """
        ),
        _broadcast,
    ),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), _pool),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _padded),
    **dict.fromkeys(
        ["MEAN", "SUM", "REDUCE_ALL", "REDUCE_ANY", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"],
        _reduced,
    ),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _resized),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN"), _arg),
    **dict.fromkeys(
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "RNN"), _recurrent
    ),
    "BATCH_MATMUL": _matmul,
    "BROADCAST_TO": _of_value(1),
    "CONCATENATION": _concatenated,
    "CONV_2D": _conv,
    "CONV_3D": _conv_3d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEPTH_TO_SPACE": _depth_to_space,
    "EMBEDDING_LOOKUP": _looked_up,
    "EXPAND_DIMS": _expanded,
    "FILL": _of_value(0),
    "FULLY_CONNECTED": _connected,
    "GATHER": _gathered,
    "PACK": _packed,
    "RESHAPE": _reshaped,
    "SHAPE": _counted_sizes,
    "SLICE": _sliced,
    "SPACE_TO_DEPTH": _space_to_depth,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SQUEEZE": _squeezed,
    "STRIDED_SLICE": _strided,
    "SVDF": _svdf,
    "TILE": _tiled,
    "TRANSPOSE": _transpose,
    "TRANSPOSE_CONV": _transposed,
    "UNPACK": _unpacked,
}

Reckoned = Callable[[Shapes, Operator], "NDArray[np.int64] | None"]


def _of_both(reckon: Callable[..., NDArray[np.int64]]) -> Reckoned:
    return lambda shapes, operator: reckon(
        *(shapes.numbers(operator, place) for place in range(len(operator.inputs)))
    )


def _first(shapes: Shapes, operator: Operator) -> NDArray[np.int64]:
    return shapes.numbers(operator, 0)


_RECKONED: dict[str, Reckoned] = {
    "ADD": _of_both(np.add),
    "CAST": _first,
    "CONCATENATION": _of_both(lambda *arrays: np.concatenate([np.atleast_1d(x) for x in arrays])),
    "EXPAND_DIMS": lambda shapes, operator: np.atleast_1d(_first(shapes, operator)),
    "FLOOR_DIV": _of_both(np.floor_divide),
    "GATHER": lambda shapes, operator: np.take(
        _first(shapes, operator), shapes.numbers(operator, 1), axis=0
    ),
    "MAXIMUM": _of_both(np.maximum),
    "MINIMUM": _of_both(np.minimum),
    "MUL": _of_both(np.multiply),
    "PACK": _of_both(lambda *arrays: np.stack(arrays)),
    "REDUCE_PROD": lambda shapes, operator: np.asarray(np.prod(_first(shapes, operator))),
    "RESHAPE": lambda shapes, operator: _first(shapes, operator).reshape(
        shapes.numbers(operator, 1).reshape(-1)
    ),
    "SLICE": lambda shapes, operator: _first(shapes, operator)[
        int(shapes.numbers(operator, 1).reshape(-1)[0]) :
    ][: int(shapes.numbers(operator, 2).reshape(-1)[0]) % (SMALL + 1)],
    "SQUEEZE": lambda shapes, operator: np.squeeze(_first(shapes, operator)),
    "STRIDED_SLICE": lambda shapes, operator: np.asarray(
        _first(shapes, operator)[_cut(shapes, operator)]
    ),
    "SUB": _of_both(np.subtract),
}
