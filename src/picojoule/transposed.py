"""Transposed convolutions as ordinary ones: which products of an input and a tap exist."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

from picojoule.errors import WorkloadError
from picojoule.workload import OPERANDS, Layer, conv

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

    Where the windows of the phases hang over the input by so much that they would make more
    products than there are of an input with a tap, only those that exist are counted: either every
    tap becomes a filter of its own over the stored inputs, or outputs at the edges, which see
    fewer taps, become layers of their own; whichever has fewer words.

    >>> [x.macs for x in transposed_conv("t", input_size=(1, 1), in_channels=100,
    ...                                  out_channels=1024, kernel=(4, 4))]
    [1638400]
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
    axes = [
        _decompositions(
            name,
            input_size[axis],
            kernel[axis],
            stride[axis],
            dilation[axis],
            padding[2 * axis : 2 * axis + 2],
            output_padding[axis],
        )
        for axis in (0, 1)
    ]
    decompositions = []
    for rows, columns in zip(*axes, strict=True):
        if len(rows) * len(columns) > LARGEST_PHASES:
            continue
        layers = []
        for i, row in rows:
            for j, column in columns:
                layers.append(
                    conv(
                        name if len(rows) * len(columns) == 1 else f"{name}[{i},{j}]",
                        input_size=(row.size, column.size),
                        in_channels=in_channels,
                        out_channels=out_channels * row.filters * column.filters,
                        kernel=(row.taps, column.taps),
                        dilation=(row.dilation, column.dilation),
                        padding=(row.before, row.after, column.before, column.after),
                        groups=groups,
                        **rest,  # type: ignore[arg-type]
                    )
                )
        decompositions.append(tuple(layers))
    return min(decompositions, key=lambda layers: sum(x.size(o) for x in layers for o in OPERANDS))


class _Phase(NamedTuple):
    size: int
    taps: int
    dilation: int
    before: int
    after: int
    filters: int = 1
    """Weights of equal place in the input that are filters of one layer."""


_Phases = list[tuple[int, _Phase]]


def _decompositions(
    name: str,
    size: int,
    kernel: int,
    stride: int,
    dilation: int,
    padding: tuple[int, ...],
    output_padding: int,
) -> tuple[_Phases, _Phases]:
    """Two ways to write one axis of a transposed convolution, alike unless its windows hang over.

    The products of phases are counted with those of padding, as for any convolution; past one for
    each input and tap, they are replaced by those of stored inputs.
    """
    outputs = (size - 1) * stride + (kernel - 1) * dilation + 1 - sum(padding) + output_padding
    if outputs < 1:
        raise WorkloadError(f"layer {name!r}: its output would have {outputs} rows or columns")
    phases = _phases(size, kernel, stride, dilation, padding, outputs)
    products = sum(phase.taps * len(range(number, outputs, stride)) for number, phase in phases)
    if products <= size * kernel or kernel > LARGEST_PHASES // 4:
        return phases, phases
    windows = _whole_windows(size, kernel, stride, dilation, padding[0], outputs)
    if sum(padding):
        return windows, windows
    return [(0, _Phase(size, 1, 1, 0, 0, kernel))], windows


def _whole_windows(
    size: int, kernel: int, stride: int, dilation: int, before: int, outputs: int
) -> _Phases:
    """One axis by outputs that see the same taps, so that no window leaves the input."""
    step = dilation // math.gcd(stride, dilation)
    pieces: dict[tuple[int, _Phase], int] = {}
    for phase in range(min(stride, outputs)):
        # Output j of the phase meets input first + j through a tap.
        firsts = [
            (phase + before - k * dilation) // stride
            for k in range(kernel)
            if (phase + before - k * dilation) % stride == 0
        ]
        count = len(range(phase, outputs, stride))
        ends = {0, count}
        for first in firsts:
            ends |= {min(max(0, -first), count), min(max(0, size - first), count)}
        ordered = sorted(ends)
        for start, end in itertools.pairwise(ordered):
            seen = [first for first in firsts if 0 <= first + start < size]
            if not seen:
                continue  # these outputs are only the bias
            used = end - start + (len(seen) - 1) * step
            key = (seen[-1] + start, _Phase(used, len(seen), step, 0, 0))
            pieces[key] = pieces.get(key, 0) + 1
    return [
        (number, piece._replace(filters=filters))
        for number, ((_, piece), filters) in enumerate(pieces.items())
    ]


def _phases(
    size: int,
    kernel: int,
    stride: int,
    dilation: int,
    padding: tuple[int, ...],
    outputs: int,
) -> _Phases:
    """The one-dimensional convolutions, by output phase, of a transposed convolution.

    Output o receives input i through tap k whenever o = i*stride + k*dilation - padding[0].
    """
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
        phases.append((phase, _Phase(used, len(taps), step, before, after)))
    return phases
