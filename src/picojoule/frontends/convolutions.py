"""Convolutions of one to three axes as canonical layers, which have two, for every frontend.

A third axis is taken into the batch or the channels, whichever is exact: all products are counted,
none twice. Where its windows overlap, what two of them share is read once for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from picojoule.errors import WorkloadError
from picojoule.transposed import transposed_conv
from picojoule.workload import Layer, conv


@dataclass(frozen=True, slots=True)
class SpatialAxis:
    """One axis that a filter slides along.

    Args:
        size: of the input, without padding.
        kernel, stride, dilation: as usual.
        padding: before and after; of a transposed convolution it crops the output.
        output_padding: of a transposed convolution.
    """

    size: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: tuple[int, int] = (0, 0)
    output_padding: int = 0

    @property
    def outputs(self) -> int:
        """Windows along the axis."""
        room = self.size + sum(self.padding) - (self.kernel - 1) * self.dilation - 1
        return room // self.stride + 1

    @property
    def transposed_outputs(self) -> int:
        """Outputs of a transposed convolution along the axis."""
        reach = (self.size - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
        return reach - sum(self.padding) + self.output_padding


_POINT = SpatialAxis(1, 1)


def convolution_layers(
    name: str,
    axes: Sequence[SpatialAxis],
    *,
    in_channels: int,
    out_channels: int,
    groups: int,
    batch: int,
    **rest: Any,
) -> list[Layer]:
    """A convolution along one, two or three axes, as one layer.

    Args:
        in_channels, out_channels: totals over all groups.
        rest: fields of the layer.

    Raises:
        WorkloadError: it cannot exist.
    """
    first, second = _point_first(axes[:2])
    if len(axes) > 3:
        raise WorkloadError(f"layer {name!r}: a convolution along {len(axes)} axes")
    if len(axes) == 3:
        depth, first, second = _deepest(axes)
        if depth.outputs < 1:
            raise WorkloadError(
                f"layer {name!r}: a window of {depth.kernel} does not fit into {depth.size}"
            )
        in_channels *= depth.kernel
        batch *= depth.outputs
    return [
        conv(
            name,
            input_size=(first.size, second.size),
            kernel=(first.kernel, second.kernel),
            stride=(first.stride, second.stride),
            dilation=(first.dilation, second.dilation),
            padding=first.padding + second.padding,
            in_channels=in_channels,
            out_channels=out_channels,
            groups=groups,
            batch=batch,
            **rest,
        )
    ]


def shares_windows(axes: Sequence[SpatialAxis]) -> bool:
    """Whether the third axis has windows that overlap: their common inputs are read again."""
    if len(axes) < 3:
        return False
    depth = _deepest(axes)[0]
    return depth.kernel > 1 and depth.stride < (depth.kernel - 1) * depth.dilation + 1


def transposed_layers(
    name: str,
    axes: Sequence[SpatialAxis],
    *,
    in_channels: int,
    out_channels: int,
    groups: int,
    batch: int,
    **rest: Any,
) -> list[Layer]:
    """A transposed convolution along one, two or three axes.

    Two axes are as in :func:`picojoule.transposed.transposed_conv`. Along a third each input meets
    every tap, so taps are output channels (whose values are added up where they overlap).

    Raises:
        WorkloadError: it cannot exist.
    """
    if len(axes) > 3:
        raise WorkloadError(f"layer {name!r}: a convolution along {len(axes)} axes")
    if min(axis.transposed_outputs for axis in axes) < 1:
        raise WorkloadError(f"layer {name!r}: its output would have no rows or columns")
    *third, first, second = _point_first(axes)
    taps = math.prod(axis.kernel for axis in third)
    return list(
        transposed_conv(
            name,
            input_size=(first.size, second.size),
            kernel=(first.kernel, second.kernel),
            stride=(first.stride, second.stride),
            dilation=(first.dilation, second.dilation),
            padding=first.padding + second.padding,
            output_padding=(first.output_padding, second.output_padding),
            in_channels=in_channels,
            out_channels=out_channels * taps,
            groups=groups,
            batch=batch * math.prod(axis.size for axis in third),
            **rest,
        )
    )


def _point_first(axes: Sequence[SpatialAxis]) -> tuple[SpatialAxis, ...]:
    """A convolution along one axis has one row."""
    return (_POINT, *axes) if len(axes) == 1 else tuple(axes)


def _deepest(axes: Sequence[SpatialAxis]) -> tuple[SpatialAxis, SpatialAxis, SpatialAxis]:
    """The axis to take into batch and channels, of which as little as can be is read again."""
    depth, *flat = axes
    pointwise = all(axis == SpatialAxis(axis.size, 1) for axis in flat)
    if pointwise:  # a convolution along the depth: what lies across it is one row of columns
        return _POINT, depth, SpatialAxis(flat[0].size * flat[1].size, 1)
    index = min(range(3), key=lambda i: (axes[i].kernel / axes[i].stride, i))
    rest = [axis for i, axis in enumerate(axes) if i != index]
    return axes[index], rest[0], rest[1]
