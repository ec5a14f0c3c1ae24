"""Transposed convolutions, as the ordinary ones that they consist of."""

from __future__ import annotations

import math
from typing import NamedTuple

from picojoule.errors import WorkloadError
from picojoule.workload import Layer, conv, window_reach

# A transposed convolution is as many layers as its stride has phases (16 x 16 in segmentation
# decoders); thousands of them are a mistake in a file.
LARGEST_PHASES = 4096


def transposed_conv(
    name: str,
    *,
    input_size: tuple[int, int],
    in_channels: int,
    out_channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    output_padding: tuple[int, int] = (0, 0),
    groups: int = 1,
    **rest: object,
) -> tuple[Layer, ...]:
    """A transposed convolution as the ordinary convolutions it consists of.

    Output rows of equal phase (row modulo stride) see the same subset of filter taps, so a
    transposed convolution of stride ``U x V`` is ``U*V`` convolutions of stride 1 over the same
    input (sub-pixel decomposition; Shi et al., arXiv:1609.07009). No inserted zero is ever
    multiplied. Each phase is a layer named ``name[i,j]`` and reads the input for itself.
    ``padding`` is the transposed convolution's own (it crops the output).
    """
    if min(*input_size, *kernel, *stride, *dilation, groups) < 1:
        raise WorkloadError(
            f"layer {name!r}: input {input_size}, kernel {kernel}, stride {stride}, dilation "
            f"{dilation} and groups {groups} must be at least 1"
        )
    if min(*padding, *output_padding) < 0:
        raise WorkloadError(
            f"layer {name!r}: padding {padding} and output padding {output_padding} "
            "must be at least 0"
        )
    if max(*kernel, *stride) > LARGEST_PHASES or math.prod(stride) > LARGEST_PHASES:
        raise WorkloadError(
            f"layer {name!r}: kernel {kernel} and stride {stride} of a transposed convolution "
            f"give more than {LARGEST_PHASES} convolutions or taps; not modelled"
        )
    phases = [
        _phases(name, *along)
        for along in zip(
            input_size,
            kernel,
            stride,
            dilation,
            (padding[:2], padding[2:]),
            output_padding,
            strict=True,
        )
    ]
    layers = []
    for i, rows in phases[0]:
        for j, columns in phases[1]:
            layers.append(
                conv(
                    name if len(phases[0]) * len(phases[1]) == 1 else f"{name}[{i},{j}]",
                    input_size=(rows.size, columns.size),
                    in_channels=in_channels,
                    out_channels=out_channels,
                    kernel=(rows.taps, columns.taps),
                    dilation=(rows.dilation, columns.dilation),
                    padding=(rows.before, rows.after, columns.before, columns.after),
                    groups=groups,
                    **rest,  # type: ignore[arg-type]
                )
            )
    return tuple(layers)


class _Phase(NamedTuple):
    size: int
    taps: int
    dilation: int
    before: int
    after: int


def _phases(
    name: str,
    size: int,
    kernel: int,
    stride: int,
    dilation: int,
    padding: tuple[int, int],
    output_padding: int,
) -> list[tuple[int, _Phase]]:
    """The one-dimensional convolutions, by output phase, of a transposed convolution.

    Output o receives input i through tap k whenever o = i*stride + k*dilation - padding[0].
    """
    outputs = (size - 1) * stride + window_reach(kernel, dilation) - sum(padding) + output_padding
    if outputs < 1:
        raise WorkloadError(f"layer {name!r}: its output would have {outputs} rows or columns")
    # Taps that reach one phase are this far apart, and step this far through the input.
    period = stride // math.gcd(stride, dilation)
    step = period * dilation // stride
    phases = []
    for phase in range(min(stride, outputs)):
        taps = [k for k in range(kernel) if (phase + padding[0] - k * dilation) % stride == 0]
        if not taps:
            continue  # these outputs are only the bias
        count = len(range(phase, outputs, stride))
        highest = (phase + padding[0] - taps[0] * dilation) // stride
        lowest = (phase + padding[0] - taps[-1] * dilation) // stride
        # Output j of this phase reads inputs lowest + j to highest + j; what lies outside the real
        # input is padding, what no output reads is left out.
        last = highest + count - 1
        used = min(last, size - 1) - max(lowest, 0) + 1
        if used < 1:
            continue
        before, after = max(0, -lowest), max(0, last - (size - 1))
        phases.append(
            (phase, _Phase(size=used, taps=len(taps), dilation=step, before=before, after=after))
        )
    return phases
