"""What is computed: one canonical loop nest for every layer that multiplies and accumulates.

A :class:`Layer` is the eight-dimensional nest of a grouped convolution::

    for n, g, m, c, p, q, r, s:
        output[n, g, m, p, q] += (
            weight[g, m, c, r, s] * input[n, g, c, p*U + r*D - pad, q*V + s*E - pad]
        )

Convolutions, fully connected layers and (batched) matrix products are constructors of it, and
nothing downstream asks which it was. ``M`` and ``C`` count channels *per group*.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from picojoule.errors import WorkloadError, did_you_mean
from picojoule.graph import End, Ends, Graph
from picojoule.windows import WindowAxis as WindowAxis  # one of a layer's nouns: named here too
from picojoule.windows import outputs_over, window_reach


class Operand(Enum):
    """The three operands of a MAC. In attention, WEIGHT is the second activation."""

    INPUT = "input"
    WEIGHT = "weight"
    OUTPUT = "output"

    __hash__ = object.__hash__  # quicker than Enum.s; no answer hangs on the order of a set

    def __repr__(self) -> str:
        return self.name


class Dim(Enum):
    """The eight loop dimensions, in the order of :class:`Extents`."""

    N = "N"  # batch
    G = "G"  # groups (depthwise channels, attention heads)
    M = "M"  # output channels per group
    C = "C"  # input channels per group
    P = "P"  # output rows
    Q = "Q"  # output columns
    R = "R"  # filter rows
    S = "S"  # filter columns

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return self.name


class Extents(NamedTuple):
    """One whole number per dimension: the bounds of a layer, or the size of a tile."""

    N: int = 1
    G: int = 1
    M: int = 1
    C: int = 1
    P: int = 1
    Q: int = 1
    R: int = 1
    S: int = 1

    def __str__(self) -> str:
        return " ".join(f"{d}{v}" for d, v in zip(self._fields, self, strict=True) if v != 1) or "1"


T = TypeVar("T")


class PerOperand(NamedTuple, Generic[T]):
    """One value for each operand, in the order input, weight, output."""

    input: T
    weight: T
    output: T

    def of(self, operand: Operand) -> T:
        """Return the value that belongs to *operand*."""
        return self[OPERANDS.index(operand)]


DIMS = tuple(Dim)
OPERANDS = tuple(Operand)
ROWS = ("rows", "columns")  # what is counted along each axis of a window

RELEVANT: Mapping[Operand, frozenset[Dim]] = MappingProxyType(
    {
        Operand.INPUT: frozenset({Dim.N, Dim.G, Dim.C, Dim.P, Dim.Q, Dim.R, Dim.S}),
        Operand.WEIGHT: frozenset({Dim.G, Dim.M, Dim.C, Dim.R, Dim.S}),
        Operand.OUTPUT: frozenset({Dim.N, Dim.G, Dim.M, Dim.P, Dim.Q}),
    }
)
"""The dimensions that index each operand. A loop over any other dimension reuses it."""

# A dimension this large is a mistake in a file, not a network; it also keeps every product of
# eight bounds and an energy exactly representable or at least finite.
LARGEST_BOUND = 1 << 24

# The field's word: Eyeriss and the estimators of its authors compute in 16-bit fixed point.
DEFAULT_BITS: PerOperand[int] = PerOperand(16, 16, 16)
DENSE: PerOperand[float] = PerOperand(1.0, 1.0, 1.0)
NO_SCALES: PerOperand[float] = PerOperand(0.0, 0.0, 0.0)


@dataclass(frozen=True)  # no slots: the axes are kept in the instance
class Layer:
    """One canonical layer.

    Args:
        name: as the network calls it.
        bounds: loop bounds; ``M`` and ``C`` per group.
        stride, dilation: along rows and columns.
        padding: zeros added at the top, bottom, left, right of the input.
        input_size: rows and columns of the unpadded input; by default just what the windows need.
        bits: width of each operand in bits.
        density: fraction of non-zero values of each operand, 0 to 1; of the input, padding apart.
            A machine that stores the padding is taken to see zeros there as often as elsewhere, as
            the published analytical estimator does (Asilomar'17 §IV: MACs = dense MACs x
            densities): every price follows from this density, and nothing may scale it.
        weight_is_activation: the second operand is computed, not stored with the network
            (attention): it grows with the batch and its density comes from data.
        scale_bits: bits per value of the scales and zero points that are stored and moved with
            each operand (block formats: 4-bit values with a 16-bit scale for 32 of them have 0.5);
            the multiplier does not see them.
        time_steps: how often the nest runs, each time on the output of the time before (recurrent
            networks). ``bounds`` are of one step. Steps run one after another, outside all
            loops: inputs and outputs are other ones at each, weights the same.
    """

    name: str
    bounds: Extents
    _: KW_ONLY
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    input_size: tuple[int, int] = (0, 0)
    bits: PerOperand[int] = DEFAULT_BITS
    density: PerOperand[float] = DENSE
    weight_is_activation: bool = False
    scale_bits: PerOperand[float] = NO_SCALES
    time_steps: int = 1

    def __post_init__(self) -> None:
        for dim, bound in zip(DIMS, self.bounds, strict=True):
            if not 1 <= bound <= LARGEST_BOUND:
                raise WorkloadError(
                    f"layer {self.name!r}: {dim.value} = {bound} is not within 1 to {LARGEST_BOUND}"
                )
        if not 1 <= self.time_steps <= LARGEST_BOUND:
            raise WorkloadError(
                f"layer {self.name!r}: {self.time_steps} steps; 1 to {LARGEST_BOUND} are possible"
            )
        if self.time_steps > 1 and self.weight_is_activation:
            raise WorkloadError(
                f"layer {self.name!r}: a second operand that is computed is another one at each of "
                "its steps, so they are groups (G), not steps"
            )
        if min(self.stride) < 1 or min(self.dilation) < 1 or min(self.padding) < 0:
            raise WorkloadError(
                f"layer {self.name!r}: stride {self.stride} and dilation {self.dilation} "
                f"must be at least 1, padding {self.padding} at least 0"
            )
        if self.input_size == (0, 0):
            object.__setattr__(self, "input_size", self._needed_size())
        for rows, size, axis in zip(ROWS, self.input_size, self._axes[True], strict=True):
            if not 1 <= size <= LARGEST_BOUND:
                raise WorkloadError(
                    f"layer {self.name!r}: an input of {size} {rows} is not "
                    f"within 1 to {LARGEST_BOUND}"
                )
            outputs = outputs_over(len(axis.stored), axis.taps, axis.stride, axis.dilation)
            if outputs != axis.outputs:
                raise WorkloadError(
                    f"layer {self.name!r}: an input of {size} {rows} gives "
                    f"{outputs} outputs, not {axis.outputs}"
                )
        for operand, width, density, scales in zip(
            OPERANDS, self.bits, self.density, self.scale_bits, strict=True
        ):
            if not 1 <= width <= 64:
                raise WorkloadError(
                    f"layer {self.name!r}: {operand.value} of {width} bits; 1 to 64 are possible"
                )
            if not 0.0 <= density <= 1.0:
                raise WorkloadError(
                    f"layer {self.name!r}: {operand.value} density {density} is not within 0 to 1"
                )
            if not 0.0 <= scales <= 64.0:
                raise WorkloadError(
                    f"layer {self.name!r}: {operand.value} scales of {scales} bits per value; "
                    "0 to 64 are possible"
                )

    def _needed_size(self) -> tuple[int, int]:
        rows, columns = ((p - 1) * u + window_reach(r, d) for p, r, u, d in self._windows())
        top, bottom, left, right = self.padding
        return max(1, rows - top - bottom), max(1, columns - left - right)

    def _windows(self) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
        """Outputs, taps, stride and dilation along rows, and along columns."""
        b, (u, v), (d, e) = self.bounds, self.stride, self.dilation
        return (b.P, b.R, u, d), (b.Q, b.S, v, e)

    @cached_property
    def _axes(self) -> tuple[tuple[WindowAxis, WindowAxis], tuple[WindowAxis, WindowAxis]]:
        """Rows and columns; then the same with the padding stored."""
        (h, w), (top, bottom, left, right) = self.input_size, self.padding
        data = (range(top, top + h), range(left, left + w))
        padded = (range(top + h + bottom), range(left + w + right))
        rows, columns = self._windows()
        return (
            (WindowAxis(*rows, data[0]), WindowAxis(*columns, data[1])),
            (WindowAxis(*rows, padded[0]), WindowAxis(*columns, padded[1])),
        )

    def axis(self, axis: int, *, padded: bool = False) -> WindowAxis:
        """The window along *axis* (0 rows, 1 columns).

        Args:
            padded: the zeros of the padding are stored as well, as ISCA'16 does.
        """
        return self._axes[padded][axis]

    @property
    def macs(self) -> int:
        """Multiply-accumulates, those with padding zeros included, as the field counts them."""
        return self.time_steps * math.prod(self.bounds)

    @property
    def effectual_macs(self) -> float:
        """Expected MACs with both factors non-zero (CVPR'17 §2: dense MACs x both densities)."""
        return self.macs * self.density.input * self.density.weight

    @property
    def weights(self) -> int:
        """Stored weights (biases not counted); 0 if the second operand is an activation."""
        return 0 if self.weight_is_activation else self.size(Operand.WEIGHT)

    def size(self, operand: Operand) -> int:
        """Words of a whole operand; of the input only real values, never padding."""
        b = self.bounds
        if operand is Operand.INPUT:
            return self.time_steps * b.N * b.G * b.C * self.input_size[0] * self.input_size[1]
        words = math.prod(b[DIMS.index(d)] for d in RELEVANT[operand])
        return words if operand is Operand.WEIGHT else self.time_steps * words

    def stored_bits(self, operand: Operand) -> float:
        """Bits that one value of an operand takes in a memory, its share of the scales included."""
        index = OPERANDS.index(operand)
        scales = self.scale_bits[index]
        # Whole numbers stay whole: sums of them are exact at any size.
        return self.bits[index] + scales if scales else self.bits[index]

    def ends(self) -> Ends:
        """Its operands that other layers may make or read, for a :class:`Graph` to compare."""
        first, second, output = (
            End(self.size(o), self.bits.of(o), self.density.of(o), self.scale_bits.of(o))
            for o in OPERANDS
        )
        return Ends(first, second if self.weight_is_activation else None, output)

    def with_widths(self, **bits: int) -> Layer:
        """The same layer with other widths, by operand name; scales belong to the old ones."""
        return replace(
            self,
            bits=self.bits._replace(**bits),
            scale_bits=self.scale_bits._replace(**dict.fromkeys(bits, 0.0)),
        )

    def with_batch(self, batch: int) -> Layer:
        """The same layer for *batch* times as many inferences at once."""
        return self._with_images(batch, 1)

    def with_batch_share(self, images: int, batch: int) -> Layer:
        """The layer for *images* of the *batch* inferences it stands for."""
        return self if images == batch else self._with_images(images, batch)

    def _with_images(self, images: int, batch: int) -> Layer:
        grown = "G" if self.weight_is_activation else "N"
        share = getattr(self.bounds, grown) * images // batch
        return replace(self, bounds=self.bounds._replace(**{grown: share}))

    def signature(self) -> tuple[object, ...]:
        """All that decides the energy, so everything but the name."""
        shape = (self.bounds, self.stride, self.dilation, self.padding, self.input_size)
        # Only where there are scales: what was found for a layer without them stays found.
        scales = (self.scale_bits,) if any(self.scale_bits) else ()
        times = (self.time_steps,) if self.time_steps > 1 else ()
        return (*shape, self.bits, self.density, *scales, *times)


@dataclass(frozen=True, slots=True)
class Workload:
    """A named network: its layers in order, and what it contains that is not modelled.

    ``layers`` are for *batch* inferences; energies are reported per inference.
    ``not_counted`` maps operators without products (pooling, activations) to how often they occur.
    ``unmodelled`` does so for operators that multiply, or may, and of which no layer tells: where
    there are any, a price of the layers is not a price of the network. ``remarks`` are sentences
    on what its reader had to assume. ``graph`` says which layer's output is which layer's input,
    where somebody does: its widths and densities are those of the layers, and a network with other
    layers than those it was told of, or of other sizes, has none.
    """

    name: str
    layers: tuple[Layer, ...]
    _: KW_ONLY
    batch: int = 1
    not_counted: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    source: str = ""
    unmodelled: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    remarks: tuple[str, ...] = ()
    graph: Graph | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise WorkloadError(f"network {self.name!r}: a batch of {self.batch} is not possible")
        seen: set[str] = set()
        for layer in self.layers:
            if layer.name in seen:
                raise WorkloadError(f"network {self.name!r}: two layers are named {layer.name!r}")
            seen.add(layer.name)
        if self.graph is not None:
            object.__setattr__(self, "graph", self.graph.fitted(self.ends()))

    def ends(self) -> dict[str, Ends]:
        """What each layer says of its operands, by its name."""
        return {layer.name: layer.ends() for layer in self.layers}

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in self.layers]
        raise WorkloadError(
            f"network {self.name!r} has no layer {name!r}{did_you_mean(name, names)}; "
            f"it has {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
        )

    @property
    def complete(self) -> bool:
        """Whether every product of the network is in its layers."""
        return not self.unmodelled

    @property
    def macs(self) -> int:
        """MACs of one inference."""
        return sum(layer.macs for layer in self.layers) // self.batch

    @property
    def weights(self) -> int:
        """Stored weights of all layers (biases not counted)."""
        return sum(layer.weights for layer in self.layers)

    def with_batch(self, batch: int) -> Workload:
        """The same network for *batch* inferences at once, whatever it was before."""
        if batch < 1:
            raise WorkloadError(f"batch {batch}: at least one inference is needed")
        if self.batch == batch:
            return self
        grown = ["G" if layer.weight_is_activation else "N" for layer in self.layers]
        for layer, dim in zip(self.layers, grown, strict=True):
            if getattr(layer.bounds, dim) % self.batch:
                raise WorkloadError(
                    f"network {self.name!r} is for a batch of {self.batch}, and {dim} of its "
                    f"layer {layer.name!r} does not divide by that; start from one of batch 1"
                )
        single = [layer.with_batch_share(1, self.batch) for layer in self.layers]
        return replace(
            self,
            layers=tuple(x.with_batch(batch) for x in single),
            batch=batch,
            graph=self.graph and self.graph.with_batch(batch, self.batch),
        )

    def with_layers(self, **changes: object) -> Workload:
        """The same network with fields of every layer replaced (``bits=…``, ``density=…``)."""
        return replace(self, layers=tuple(replace(x, **changes) for x in self.layers))  # type: ignore[arg-type]


def conv(
    name: str,
    *,
    input_size: tuple[int, int],
    in_channels: int,
    out_channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    batch: int = 1,
    **rest: object,
) -> Layer:
    """A convolution; ``in_channels`` and ``out_channels`` are totals over all groups.

    >>> conv("conv1", input_size=(227, 227), in_channels=3, out_channels=96, kernel=(11, 11),
    ...      stride=(4, 4)).bounds
    Extents(N=1, G=1, M=96, C=3, P=55, Q=55, R=11, S=11)
    """
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise WorkloadError(
            f"layer {name!r}: {in_channels} input and {out_channels} output channels "
            f"do not split into {groups} groups"
        )
    if min(stride) < 1 or min(dilation) < 1:
        raise WorkloadError(f"layer {name!r}: stride {stride}, dilation {dilation}: at least 1")
    top, bottom, left, right = padding
    padded_size = (input_size[0] + top + bottom, input_size[1] + left + right)
    for rows, size, taps, apart in zip(ROWS, padded_size, kernel, dilation, strict=True):
        window = window_reach(taps, apart)
        if size < window:
            raise WorkloadError(
                f"layer {name!r}: a window of {window} {rows} does not fit "
                f"into the padded input of {size}"
            )
    return Layer(
        name,
        Extents(
            N=batch,
            G=groups,
            M=out_channels // groups,
            C=in_channels // groups,
            P=outputs_over(padded_size[0], kernel[0], stride[0], dilation[0]),
            Q=outputs_over(padded_size[1], kernel[1], stride[1], dilation[1]),
            R=kernel[0],
            S=kernel[1],
        ),
        stride=stride,
        dilation=dilation,
        padding=padding,
        input_size=input_size,
        **rest,  # type: ignore[arg-type]
    )


def depthwise(name: str, *, channels: int, multiplier: int = 1, **rest: object) -> Layer:
    """A depthwise convolution: one group per channel.

    >>> depthwise("dw", channels=32, input_size=(112, 112), kernel=(3, 3),
    ...           padding=(1, 1, 1, 1)).bounds
    Extents(N=1, G=32, M=1, C=1, P=112, Q=112, R=3, S=3)
    """
    return conv(
        name,
        in_channels=channels,
        out_channels=channels * multiplier,
        groups=channels,
        **rest,  # type: ignore[arg-type]
    )


def linear(
    name: str, *, in_features: int, out_features: int, rows: int = 1, batch: int = 1, **rest: object
) -> Layer:
    """A fully connected layer applied to *rows* positions (tokens) of each inference.

    >>> linear("fc8", in_features=4096, out_features=1000).bounds
    Extents(N=1, G=1, M=1000, C=4096, P=1, Q=1, R=1, S=1)
    """
    return Layer(name, Extents(N=batch, M=out_features, C=in_features, P=rows), **rest)  # type: ignore[arg-type]


def recurrent(
    name: str, *, time_steps: int, state: int, outputs: int, batch: int = 1, **rest: object
) -> Layer:
    """The product of a recurrent network with its own state, once in each time step.

    Args:
        state: features of the state, which is the output of the step before.
        outputs: of one step: the state once for each gate.

    >>> lstm = recurrent("lstm.recurrent", time_steps=100, state=256, outputs=4 * 256)
    >>> lstm.macs, lstm.weights
    (26214400, 262144)
    """
    return Layer(
        name,
        Extents(N=batch, M=outputs, C=state),
        time_steps=time_steps,
        **rest,  # type: ignore[arg-type]
    )


def matmul(
    name: str, *, rows: int, inner: int, columns: int, heads: int = 1, **rest: object
) -> Layer:
    """A batched product of two activations, ``[heads, rows, inner] x [heads, inner, columns]``.

    The second factor is indexed by batch and head (through G) and never shared over the batch.

    >>> matmul("scores", rows=128, inner=64, columns=128, heads=12).bounds
    Extents(N=1, G=12, M=128, C=64, P=128, Q=1, R=1, S=1)
    """
    rest.setdefault("weight_is_activation", True)
    return Layer(name, Extents(G=heads, M=columns, C=inner, P=rows), **rest)  # type: ignore[arg-type]
