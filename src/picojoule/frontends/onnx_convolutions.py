"""Convolutions of ONNX, of onnxruntime's blocked and channels-last layouts, and of integers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from picojoule.frontends.convolutions import (
    SpatialAxis,
    convolution_layers,
    shares_windows,
    transposed_layers,
)
from picojoule.frontends.onnx_blocked import true_channels, true_filters
from picojoule.frontends.onnx_calls import Call, Converter, NotModelledError
from picojoule.frontends.onnx_foreign_shapes import channels_last
from picojoule.frontends.onnx_tensors import Constant
from picojoule.frontends.products import NoProductsError, NotABatchError, ProblemError
from picojoule.frontends.source_file import shortened
from picojoule.workload import DENSE, Layer


@dataclass(frozen=True, slots=True)
class _Places:
    """Which inputs of an operator are convolved, and its zero points."""

    data: int = 0
    weight: int = 1
    weight_zero: int | None = None
    output_zero: int | None = None
    integer: bool = False
    blocked: bool = False


_PLAIN = _Places()
_INTEGER = _Places(weight_zero=3, integer=True)
_QLINEAR = _Places(0, 3, weight_zero=5, output_zero=7, integer=True)
_BLOCKED = _Places(blocked=True)


@dataclass(frozen=True, slots=True)
class _Window:
    """The attributes of Conv and ConvTranspose."""

    maps: int
    channels: int
    size: tuple[int, ...]
    weight_shape: tuple[int, ...]
    weight: Constant | None
    stride: list[int]
    dilation: list[int]
    groups: int
    pads: list[int]
    auto_pad: str

    def padding(self, axis: int) -> tuple[int, int]:
        """Zeros before and after a dimension of an ordinary convolution."""
        if self.auto_pad == "NOTSET":  # all begins, then all ends
            return self.pads[axis], self.pads[axis + len(self.size)]
        stride = self.stride[axis]
        if self.auto_pad == "VALID" or stride < 1:
            return 0, 0
        # SAME: ceil(size / stride) outputs.
        size = self.size[axis]
        window = (self.weight_shape[2 + axis] - 1) * self.dilation[axis] + 1
        total = max(0, (-(-size // stride) - 1) * stride + window - size)
        return _split(total, odd_at_end=self.auto_pad == "SAME_UPPER")


def _window(call: Call, places: _Places) -> _Window:
    data = call.shape(places.data)
    shape = call.shape(places.weight)
    if channels_last(call.node) and len(data) > 2:
        data = (data[0], data[-1], *data[1:-1])
    spatial = len(shape) - 2
    if len(data) != len(shape) or spatial < 1:
        raise ProblemError(f"an input of shape {list(data)} with weights of {list(shape)}")
    if spatial > 3:
        raise NotModelledError(f"{call.label} ({spatial}-D)")
    if 0 in data or 0 in shape:
        raise NoProductsError("one of its operands is empty")
    attributes = call.attributes
    auto_pad = attributes.word("auto_pad", "NOTSET")
    if auto_pad not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ProblemError(f"auto_pad {shortened(auto_pad)} is not known")
    if data[0] % call.batch:
        raise NotABatchError
    return _Window(
        maps=data[0],
        channels=data[1],
        size=data[2:],
        weight_shape=shape,
        weight=call.weight(places.weight, places.weight_zero),
        stride=attributes.ints("strides", spatial, 1),
        dilation=attributes.ints("dilations", spatial, 1),
        groups=attributes.whole("group", 1),
        pads=attributes.ints("pads", 2 * spatial, 0),
        auto_pad=auto_pad,
    )


def _conv(call: Call, places: _Places = _PLAIN) -> list[Layer]:
    """Conv and its kin in one to three dimensions."""
    at = _window(call, places)
    filters, groups, density = at.weight_shape[0], at.groups, call.density(at.weight)
    channels = at.weight_shape[1] * at.groups
    if places.blocked:
        # What fills the last block of channels, in and out, are zeros and no weights.
        filled = at.weight_shape[1] * filters
        if groups == filters and at.weight_shape[1] == 1:  # depthwise
            channels = groups = filters = true_filters(call)
        elif groups == 1:
            filters = true_filters(call)
            channels = min(channels, true_channels(call, call.input(places.data)) or channels)
        true = channels // groups * filters if groups > 0 else 0
        if true < 1:
            raise ProblemError(f"{channels} channels in {groups} groups for {filters} filters")
        dense = min(1.0, density.weight * filled / true)
        density = DENSE._replace(weight=dense)
    elif channels != at.channels:
        raise ProblemError(
            f"the input has {at.channels} channels, the weights {at.weight_shape[1]} for "
            f"each of {at.groups} groups"
        )
    axes = [
        SpatialAxis(
            size, at.weight_shape[2 + axis], at.stride[axis], at.dilation[axis], at.padding(axis)
        )
        for axis, size in enumerate(at.size)
    ]
    if min(at.stride) >= 1 and shares_windows(axes):
        call.traced.remark(
            "convolutions in three dimensions are charged the inputs that windows along one "
            "of them share once for each window"
        )
    return convolution_layers(
        call.name,
        axes,
        in_channels=channels,
        out_channels=filters,
        groups=groups,
        batch=at.maps,
        bits=call.bits(
            places.data, places.weight, output_zero=places.output_zero, integer=places.integer
        ),
        density=density,
        # A graph that is given its weights from outside is still one with weights.
        weight_is_activation=not call.is_stored(places.weight),
    )


def _transposed(call: Call, places: _Places = _PLAIN) -> list[Layer]:
    """ConvTranspose in one to three dimensions, without the zeros it seems to insert."""
    at = _window(call, places)
    if at.weight_shape[0] != at.channels:
        raise ProblemError(
            f"the input has {at.channels} channels, the weights {at.weight_shape[0]}"
        )
    spatial = len(at.size)
    attributes = call.attributes
    extra = attributes.ints("output_padding", spatial, 0)
    wanted = attributes.ints("output_shape", spatial, 1) if attributes.has("output_shape") else None
    return transposed_layers(
        call.name,
        [
            _cropped(at, axis, extra[axis], None if wanted is None else wanted[axis])
            for axis in range(spatial)
        ],
        in_channels=at.channels,
        out_channels=at.weight_shape[1] * at.groups,
        groups=at.groups,
        batch=at.maps,
        bits=call.bits(
            places.data, places.weight, output_zero=places.output_zero, integer=places.integer
        ),
        density=call.density(at.weight),
        weight_is_activation=not call.is_stored(places.weight),
    )


def _dynamic_pads(call: Call) -> list[Layer]:
    """ConvTransposeWithDynamicPads: what is cropped is an input."""
    pads = call.traced.values.get(call.input(2)) if call.has(2) else None
    if pads is not None:
        node = type(call.node)()
        node.CopyFrom(call.node)
        attribute = node.attribute.add(name="pads", type=7)
        attribute.ints.extend(int(pad) for pad in pads.reshape(-1))
        call = replace(call, node=node)
    return _transposed(call)


def _cropped(at: _Window, axis: int, extra: int, wanted: int | None) -> SpatialAxis:
    """One dimension of a transposed convolution: what is cropped from its output, and added."""
    stride, kernel, dilation = at.stride[axis], at.weight_shape[2 + axis], at.dilation[axis]
    cropped = at.pads[axis], at.pads[axis + len(at.size)]
    same = at.auto_pad in ("SAME_UPPER", "SAME_LOWER")
    if at.auto_pad == "VALID":
        cropped = 0, 0
    elif same or wanted is not None:
        wanted = at.size[axis] * stride if wanted is None else wanted
        full = stride * (at.size[axis] - 1) + extra + (kernel - 1) * dilation + 1
        # An output larger than the full one has more rows at its end.
        cropped = _split(max(0, full - wanted), odd_at_end=at.auto_pad == "SAME_UPPER")
        extra += max(0, wanted - full)
    return SpatialAxis(at.size[axis], kernel, stride, dilation, cropped, extra)


def _split(total: int, *, odd_at_end: bool) -> tuple[int, int]:
    half = total // 2
    return (half, total - half) if odd_at_end else (total - half, half)


def _deformed(call: Call) -> list[Layer]:
    """DeformConv: a product with samples of the input, of which no two windows share one."""
    data, shape = call.shape(0), call.shape(1)
    places = call.shape(2)[2:]
    groups = call.attributes.whole("group", 1)
    if len(data) != len(shape) or len(shape) < 3:
        raise ProblemError(f"an input of shape {list(data)} with weights of {list(shape)}")
    if data[0] % call.batch:
        raise NotABatchError
    call.traced.remark("DeformConv: the interpolation of its samples is not counted")
    return convolution_layers(
        call.name,
        [SpatialAxis(math.prod(places), 1)],
        in_channels=shape[1] * groups * math.prod(shape[2:]),
        out_channels=shape[0],
        groups=groups,
        batch=data[0],
        bits=call.bits(),
        density=call.density(call.weight(1)),
        weight_is_activation=not call.is_stored(1),
    )


def _causal(call: Call) -> list[Layer]:
    """CausalConvWithState: each channel with its own taps over now and the past."""
    data, shape = call.shape(0), call.shape(1)
    if call.attributes.whole("channels_last", 0):
        data = (data[0], data[-1], *data[1:-1])
    if len(data) != 3 or len(shape) != 3 or shape[1] != 1:
        raise NotModelledError(call.label)
    if data[0] % call.batch:
        raise NotABatchError
    taps, dilation = shape[2], call.attributes.whole("dilation", 1)
    return convolution_layers(
        call.name,
        [SpatialAxis(data[2], taps, 1, dilation, ((taps - 1) * dilation, 0))],
        in_channels=shape[0],
        out_channels=shape[0],
        groups=shape[0],
        batch=data[0],
        bits=call.bits(),
        density=call.density(call.weight(1)),
        weight_is_activation=not call.is_stored(1),
    )


def _with(work: Callable[[Call, _Places], list[Layer]], places: _Places) -> Converter:
    return lambda call: work(call, places)


CONVERTERS: Mapping[str, Converter] = {
    "Conv": _conv,
    "ConvInteger": _with(_conv, _INTEGER),
    "ConvTranspose": _transposed,
    "DeformConv": _deformed,
    "QLinearConv": _with(_conv, _QLINEAR),
    "CausalConvWithState": _causal,
    "com.microsoft.CausalConvWithState": _causal,
    "com.microsoft.ConvTransposeWithDynamicPads": _dynamic_pads,
    "com.microsoft.FusedConv": _conv,
    "com.microsoft.NhwcConv": _conv,
    "com.microsoft.NhwcFusedConv": _conv,
    "com.microsoft.QLinearConv": _with(_conv, _QLINEAR),
    "com.microsoft.nchwc.Conv": _with(_conv, _BLOCKED),
    "com.ms.internal.nhwc.Conv": _conv,
    "com.ms.internal.nhwc.ConvTranspose": _transposed,
    "com.ms.internal.nhwc.QLinearConv": _with(_conv, _QLINEAR),
    "com.ms.internal.nhwc.QLinearConvTranspose": _with(_transposed, _QLINEAR),
}
