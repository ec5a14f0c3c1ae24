"""What a chip's compiler does with a layer, where the chip has a rule: its own, not the best.

The search answers with the optimum of a machine, which is a bound. A chip runs the mapping that its
own compiler wrote. For the Eyeriss chip that mapping is a *processing pass* of eight numbers (JSSC
2017, Table III), repeated over the layer. A machine names its rule as ``compiler``; the sizes
that the rule fits a pass into are the machine's own, so a larger buffer gives other passes.

What is printed: an element holds one row of p filters and q channels, r sets of channels and t sets
of filters run side by side in the array, and the buffer holds the partial sums of m filters, n
images and a strip of e rows. How the numbers are chosen is not printed. Three choices are
*inferred*, with Table III and the element and buffer columns of Tables V and VI in sight, so those
columns are no test of them. The DRAM column was in sight when variants were compared; no constant
was set by it, nor by times and energies:

1. Inputs and partial sums take whole banks of the buffer. An image's inputs in a pass take no more
   than one bank, unless those of a single channel do.
2. A strip is no longer than a line of the array, unless it is the whole map, which may fold over
   several lines. Rows of outputs may be cut, rows of inputs stay whole.
3. Of what fits, the chip takes the strip that moves the fewest words to and from DRAM; of equals,
   the one that keeps more elements busy. Then q and r are as large as fits, and t fills the array.

Together they give the printed mappings of AlexNet but for CONV3, which by the chip's own counter
did not run as printed, and the columns of all thirteen layers of VGG-16.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from picojoule.accelerator import Accelerator, Level
from picojoule.mapping import Mapping as LoopNest
from picojoule.mapping import Stage
from picojoule.workload import OPERANDS, Dim, Extents, Layer, Operand

N, G, M, C, P, Q, R, S = Dim
BANK_BITS = 512 * 64  # timeloop-accelergy-exercises, eyeriss_like: 25 banks of 512 x 64 bit
MOST_FILTERS = 16  # p of all five layers in JSSC'17 Table III


class ProcessingPass(NamedTuple):
    """The numbers of JSSC'17 Table III, and the columns that a strip is cut to.

    Args:
        m, n, e, f: filters, images, rows and columns of partial sums that the buffer holds.
        p, q: filters and channels of which an element holds a row each.
        r, t: sets of channels and sets of filters side by side in the array.
    """

    m: int
    n: int
    e: int
    f: int
    p: int
    q: int
    r: int
    t: int


class _Sizes(NamedTuple):
    """What of a machine limits a pass of a layer.

    Args:
        rows, columns: of the array.
        banks: of the buffer.
        inputs, weights, psums: words that an element holds.
        input_bits, psum_bits: of a word of them in the buffer.
    """

    rows: int
    columns: int
    banks: int
    inputs: int
    weights: int
    psums: int
    input_bits: float
    psum_bits: float


class _Strip(NamedTuple):
    """What the buffer may hold: filters, images, rows and columns, and what that costs."""

    m: int
    n: int
    e: int
    f: int
    free_banks: int
    dram_words: int


def chip_mapping(accelerator: Accelerator, layer: Layer) -> LoopNest | None:
    """What the chip does with *layer*: its compiler's mapping; None where no rule says.

    >>> from picojoule import load, load_accelerator
    >>> layer = load("vgg16").with_batch(3)["conv4_2"]
    >>> mapping = chip_mapping(load_accelerator("eyeriss"), layer)
    >>> mapping.tile(1).P, mapping.tile(1).M
    (14, 64)
    >>> chip_mapping(load_accelerator("tpu-v1-like"), layer) is None
    True
    """
    rule = RULES.get(accelerator.compiler or "")
    return rule(accelerator, layer) if rule else None


def processing_pass(accelerator: Accelerator, layer: Layer) -> ProcessingPass | None:
    """The numbers of the pass that the chip runs *layer* in; None if none fits."""
    sizes = _sizes(accelerator, layer)
    strips = sorted(_strips(layer, sizes), key=lambda strip: strip.dram_words)
    for _, equals in itertools.groupby(strips, key=lambda strip: strip.dram_words):
        passes = (_filled(layer, sizes, strip) for strip in equals)
        fitting = [chosen for chosen in passes if chosen is not None]
        if fitting:
            return max(fitting, key=lambda chosen: layer.bounds.R * chosen.e * chosen.r * chosen.t)
    return None


def pass_mapping(accelerator: Accelerator, layer: Layer, chosen: ProcessingPass) -> LoopNest:
    """The pass *chosen* for *layer* as a loop nest of a machine with the levels of the chip.

    An element holds one filter row of p x q filters; filter rows, then what still fits, run along
    the array's rows, output rows along its columns (27 rows of CONV2 fold into two lines of 14).
    Weights stay while a row and the images of the buffer pass.
    """
    shape, sizes = layer.bounds, _sizes(accelerator, layer)
    folds = -(-chosen.e // sizes.columns)
    beside = _beside(chosen.t, sizes.rows // (shape.R * folds * chosen.r))
    along_rows = Extents(R=shape.R, P=folds, C=chosen.r, M=beside)
    along_columns = Extents(P=-(-chosen.e // folds), M=chosen.t // beside)
    buffer = Extents(
        N=chosen.n,
        M=chosen.m,
        C=min(chosen.q * chosen.r, shape.C),
        P=chosen.e,
        Q=chosen.f,
        R=shape.R,
        S=shape.S,
    )
    return LoopNest(
        (
            Stage(shape, (G, N, M, P, Q, C)),
            Stage(
                buffer,
                (M, N, Q),
                frozenset({Operand.INPUT, Operand.OUTPUT}),
                (along_rows, along_columns),
            ),
            Stage(Extents(M=chosen.p, C=chosen.q, S=shape.S), (), frozenset(OPERANDS)),
        )
    )


def _by_passes(accelerator: Accelerator, layer: Layer) -> LoopNest | None:
    chosen = processing_pass(accelerator, layer)
    return pass_mapping(accelerator, layer, chosen) if chosen else None


RULES: Mapping[str, Callable[[Accelerator, Layer], LoopNest | None]] = MappingProxyType(
    {"processing-passes": _by_passes}
)
"""The rules that a machine file may name as ``compiler``."""


def compiler_problems(accelerator: Accelerator) -> tuple[tuple[str, str], ...]:
    """What keeps the compiler that a machine names from mapping on it, as (path, message)."""
    axes = [array and len(array.axes) for array in accelerator.arrays]
    if accelerator.compiler is None or axes == [None, 2, None]:
        return ()
    shape = "three memory levels, and an array with two axes inside the second"
    return (("$.compiler", f"{accelerator.compiler} needs {shape}"),)


def _sizes(accelerator: Accelerator, layer: Layer) -> _Sizes:
    array = next(array for array in accelerator.arrays if array is not None)
    psum_bits = float(accelerator.psum_bits(layer.bits.output))
    words = [layer.stored_bits(Operand.INPUT), layer.stored_bits(Operand.WEIGHT), psum_bits]
    inner = [_capacity(accelerator.levels[-1], operand) for operand in OPERANDS]
    inputs, weights, psums = (int(room // bits) for room, bits in zip(inner, words, strict=True))
    return _Sizes(
        rows=array.axes[0].size,
        columns=array.axes[1].size,
        banks=int(_capacity(accelerator.levels[1], Operand.OUTPUT) // BANK_BITS),
        inputs=inputs,
        weights=weights,
        psums=psums,
        input_bits=words[0],
        psum_bits=psum_bits,
    )


def _capacity(level: Level, operand: Operand) -> float:
    """Bits of the memory that holds *operand*; where no limit is stated, more than any tile."""
    memory = level.holder(operand)
    return 2.0**60 if memory is None or memory.capacity is None else memory.capacity


def _divisors(number: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


def _beside(wanted: int, lines: int) -> int:
    """How many of *wanted* sets go along the rows, where *lines* of them fit."""
    return max(d for d in _divisors(wanted) if d <= max(1, lines))


def _strips(layer: Layer, sizes: _Sizes) -> Iterator[_Strip]:
    """What of the layer the buffer may hold at a time, one bank at least left to the inputs."""
    shape = layer.bounds
    rows, columns = layer.axis(0, padded=True), layer.axis(1, padded=True)
    width = columns.extent(shape.Q, shape.S)
    lines = sizes.rows // shape.R
    lengths = [*range(1, min(sizes.columns, shape.P) + 1)]
    if sizes.columns < shape.P <= sizes.columns * lines:
        lengths.append(shape.P)
    if not lines or layer.time_steps > 1:
        return
    pairs = [(m, n) for m in _divisors(shape.M) for n in _divisors(shape.N)]
    for e in lengths:
        strips = -(-shape.P // e)
        extent = rows.extent(e, shape.R)
        last = rows.extent(shape.P - (strips - 1) * e, shape.R)
        held = extent * width * sizes.input_bits
        for f in _divisors(shape.Q):
            cuts = shape.Q // f
            fetched = ((strips - 1) * extent + last) * cuts * columns.extent(f, shape.S)
            for m, n in pairs:
                psums = math.ceil(m * n * e * f * sizes.psum_bits / BANK_BITS)
                if psums + math.ceil(n * held / BANK_BITS) <= sizes.banks:
                    weights = layer.size(Operand.WEIGHT) * strips * cuts * (shape.N // n)
                    inputs = shape.N * shape.G * shape.C * fetched * (shape.M // m)
                    yield _Strip(m, n, e, f, sizes.banks - psums, weights + inputs)


def _filled(layer: Layer, sizes: _Sizes, strip: _Strip) -> ProcessingPass | None:
    """The pass of a strip, with as many channels and sets of filters at a time as fit."""
    shape = layer.bounds
    folds = -(-strip.e // sizes.columns)
    high = sizes.rows // (shape.R * folds)
    wide = sizes.columns // -(-strip.e // folds)
    rows, columns = layer.axis(0, padded=True), layer.axis(1, padded=True)
    plane = rows.extent(strip.e, shape.R) * columns.extent(shape.Q, shape.S)
    room = min(strip.free_banks, strip.n) * BANK_BITS / (strip.n * plane * sizes.input_bits)
    channels = [
        (q * r, q, r)
        for q in range(1, min(sizes.inputs // shape.S, shape.C) + 1)
        for r in range(1, high + 1)
        if q * r <= min(shape.C, max(1, room))
    ]
    if not channels:
        return None
    _, q, r = max(channels)
    most_filters = min(MOST_FILTERS, sizes.weights // (q * shape.S), sizes.psums)
    fitting = [d for d in _divisors(shape.M) if d <= most_filters]
    if not fitting or strip.m % fitting[-1]:
        return None
    p = fitting[-1]
    sets = [(d, _beside(d, high // r)) for d in _divisors(strip.m // p)]
    t = max(d for d, beside in sets if d // beside <= wide)
    return ProcessingPass(strip.m, strip.n, strip.e, strip.f, p, q, r, t)
