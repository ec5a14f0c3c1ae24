"""Matrix products of any rank as canonical layers, for every frontend that meets them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from picojoule.workload import DENSE, NO_SCALES, Extents, Layer, PerOperand

ONE_MORE = "[more]"

FORWARD = ("",)
BACKWARD = ("_reverse",)
BOTH_WAYS = FORWARD + BACKWARD
"""The directions of a recurrence, as what their layers' names end in."""


class ProblemError(Exception):
    """An operator that cannot be a layer; the message says why. The frontend adds where."""


class NoProductsError(ProblemError):
    """An operator that could be a layer and has nothing to multiply: an empty operand."""


class NotABatchError(Exception):
    """The work of an operator does not divide by what was taken for the batch."""


def product(
    name: str,
    left: tuple[int, ...],
    right: tuple[int, ...],
    *,
    stored: str | None,
    batch: int,
    bits: PerOperand[int],
    density: PerOperand[float] = DENSE,
) -> Layer:
    """``left @ right`` with numpy's broadcasting, as one layer.

    A leading dimension that both operands have becomes heads (G); one that only the input has
    becomes more rows over the same second operand; one that only the second operand has becomes
    more columns over the same input. So each operand has its true size.

    Args:
        left, right: shapes; one dimension stands for a row or a column.
        stored: ``"left"`` or ``"right"`` is stored with the network, or None.
        batch: inferences at once; the rows of a stored weight split into them.

    Raises:
        ProblemError: the shapes do not fit.
        NotABatchError: the rows, or the heads of two activations, do not divide by *batch*.
        WorkloadError: the layer cannot exist.
    """
    problem = f"shapes {list(left)} and {list(right)} cannot be multiplied"
    if not left or not right:
        raise ProblemError(problem)
    left = left if len(left) > 1 else (1, *left)
    right = right if len(right) > 1 else (*right, 1)
    if left[-1] != right[-2]:
        raise ProblemError(problem)
    if stored == "left":  # W x = (x' W')'
        left, right = (*right[:-2], right[-1], right[-2]), (*left[:-2], left[-1], left[-2])
    rows, inner, columns, groups = left[-2], left[-1], right[-1], 1
    rank = max(len(left), len(right)) - 2
    for ours, theirs in zip(_led(left, rank), _led(right, rank), strict=True):
        if ours == theirs:
            groups *= ours
        elif theirs == 1:
            rows *= ours
        elif ours == 1:
            columns *= theirs
        else:
            raise ProblemError(problem)
    return layer_of(
        name,
        groups=groups,
        rows=rows,
        inner=inner,
        columns=columns,
        stored=stored is not None,
        batch=batch,
        bits=bits,
        density=density,
    )


def _led(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (1,) * (rank - len(shape) + 2) + shape[:-2]


def layer_of(
    name: str,
    *,
    groups: int,
    rows: int,
    inner: int,
    columns: int,
    stored: bool,
    batch: int,
    bits: PerOperand[int],
    density: PerOperand[float] = DENSE,
) -> Layer:
    """The product of ``groups`` pairs of matrices, *rows* being those of all inferences.

    Raises:
        NoProductsError: one of the sizes is 0.
        NotABatchError: the rows, or the groups of two activations, do not divide by *batch*.
    """
    if min(groups, rows, inner, columns) == 0:
        raise NoProductsError("one of its operands is empty")
    if (rows if stored else groups) % batch:
        raise NotABatchError
    bounds = Extents(G=groups, M=columns, C=inner, P=rows)
    if stored:
        bounds = bounds._replace(N=batch, P=rows // batch)
    return Layer(name, bounds, bits=bits, density=density, weight_is_activation=not stored)


def contraction(
    name: str,
    equation: str,
    left: tuple[int, ...],
    right: tuple[int, ...],
    *,
    stored: bool,
    batch: int,
    bits: PerOperand[int],
    density: PerOperand[float] = DENSE,
) -> Layer | None:
    """An einsum of two operands as one layer; None if it is not simply a batched product.

    An index of both operands and the output is a head, of both operands only the inner dimension,
    of one operand and the output rows or columns.

    Raises:
        ProblemError: the equation and the shapes contradict each other.
    """
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != 2 or not all(term.isalpha() or not term for term in terms):
        return None
    if not arrow:  # numpy's rule: the indices that occur once, in alphabetical order
        output = "".join(sorted(c for c in set(inputs) - {","} if inputs.count(c) == 1))
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, (left, right), strict=True):
        if len(term) != len(shape):
            raise ProblemError(f"equation {equation[:80]!r} for shapes {left} and {right}")
        if len(set(term)) != len(term):
            return None  # a diagonal
        for index, size in zip(term, shape, strict=True):
            if sizes.setdefault(index, size) != size:
                raise ProblemError(f"index {index} is {sizes[index]} and {size}")
    ours, theirs, kept = set(terms[0]), set(terms[1]), set(output)
    if (ours ^ theirs) - kept or kept - (ours | theirs) or not (ours & theirs) - kept:
        return None  # sums over one operand alone, or no sum at all

    def size_of(indices: set[str]) -> int:
        return math.prod(sizes[index] for index in indices)

    return layer_of(
        name,
        groups=size_of(ours & theirs & kept),
        rows=size_of(ours - theirs),
        inner=size_of((ours & theirs) - kept),
        columns=size_of(theirs - ours),
        stored=stored,
        batch=batch,
        bits=bits,
        density=density,
    )


def attention_layers(
    name: str,
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    *,
    batch: int,
    bits: PerOperand[int],
) -> list[Layer]:
    """Scaled dot-product attention as its two products, ``name.scores`` and ``name.context``.

    Shapes are ``[..., heads, positions, width]``. Where fewer heads have keys than queries
    (grouped-query attention), the queries of a group are rows over the same keys. A causal mask
    saves nothing here: all scores are counted.

    Raises:
        ProblemError: the shapes do not fit.
    """
    lead, key_lead = math.prod(query[:-2]), math.prod(key[:-2])
    fits = (
        query[-1] == key[-1]
        and key[-2] == value[-2]
        and key_lead == math.prod(value[:-2]) >= 1
        and lead % key_lead == 0
    )
    if not fits:
        raise ProblemError(f"attention of shapes {list(query)}, {list(key)}, {list(value)}")
    rows = query[-2] * (lead // key_lead)
    return [
        layer_of(
            f"{name}.{what}",
            groups=key_lead,
            rows=rows,
            inner=inner,
            columns=columns,
            stored=False,
            batch=batch,
            bits=bits,
        )
        for what, inner, columns in (
            ("scores", query[-1], key[-2]),
            ("context", key[-2], value[-1]),
        )
    ]


def repeated(layer: Layer, times: int, *, in_turn: int = 1) -> Layer:
    """A layer that runs *times* times, as the body of a loop does, as one.

    Runs that need the one before are time steps, over which only a memory keeps the weights; other
    runs are more of its batch. Each run of two activations has another second operand, and so
    heads of its own.

    Args:
        in_turn: of the *times*, how many need the one before.
    """
    if times == 1:
        return layer
    if layer.weight_is_activation:
        return replace(layer, bounds=layer.bounds._replace(G=layer.bounds.G * times))
    return replace(
        layer,
        bounds=layer.bounds._replace(N=layer.bounds.N * (times // in_turn)),
        time_steps=layer.time_steps * in_turn,
    )


def recurrent(
    name: str,
    *,
    steps: int,
    input_size: int,
    hidden_size: int,
    gates: int,
    ways: Sequence[str] = FORWARD,
    projection: int | None = None,
    peepholes: int = 0,
    batch: int = 1,
    bits: PerOperand[int],
    densities: Sequence[float] = (1.0, 1.0, 1.0),
    stored: bool = True,
) -> list[Layer]:
    """An RNN (``gates=1``), GRU (3) or LSTM (4) as the products with its weights.

    ``name.input`` is the product with the inputs of all steps at once, ``name.recurrent`` the one
    with the state of the step before, ``name.peephole`` and ``name.projection`` those of an LSTM
    that has them; those of the second direction end in ``_reverse``. The product with the inputs
    is one for both directions, which read the same. All their MACs are counted; element-by-element
    gating, as everywhere, is not.

    The products with the state run once for each time step, each on what the step before gave.

    Args:
        steps: of one inference.
        input_size, hidden_size: features of one step's input, and of one direction's state.
        ways: the directions: :data:`FORWARD`, :data:`BACKWARD` or :data:`BOTH_WAYS`.
        projection: features of the state after an LSTM's projection, or None.
        peepholes: products of one step with the cell's state, element by element (3 for each of
            its elements).
        densities: of the weights of the input, the recurrent and the projecting product.
        stored: the weights come with the network.

    Raises:
        NoProductsError: there are no steps.
    """
    if min(steps, batch, hidden_size, len(ways)) == 0:
        raise NoProductsError("there are no steps, or no state")
    bounds = Extents(N=batch, P=steps) if stored else Extents(P=steps * batch)
    step, time_steps = (Extents(N=batch), steps) if stored else (bounds, 1)
    state = hidden_size if projection is None else projection
    parts = [("recurrent", step._replace(M=gates * hidden_size, C=state), densities[1])]
    if peepholes:
        parts.append(("peephole", step._replace(G=peepholes), 1.0))
    if projection is not None:
        parts.append(("projection", step._replace(M=projection, C=hidden_size), densities[2]))

    def layer(what: str, extents: Extents, density: float, time_steps: int) -> Layer:
        return Layer(
            f"{name}.{what}",
            extents,
            bits=bits,
            density=DENSE._replace(weight=density),
            weight_is_activation=not stored,
            time_steps=time_steps,
        )

    layers = []
    if input_size:
        extents = bounds._replace(M=len(ways) * gates * hidden_size, C=input_size)
        layers.append(layer(f"input{ways[0]}", extents, densities[0], 1))
    # One direction after the other: so each has the memories for its own weights.
    for way in ways:
        layers += [
            layer(f"{what}{way}", extents, density, time_steps) for what, extents, density in parts
        ]
    return layers


def expert_layers(
    name: str,
    *,
    rows: int,
    experts: int,
    inner: int,
    columns: int,
    batch: int,
    bits: PerOperand[int],
    density: PerOperand[float] = DENSE,
    scale_bits: PerOperand[float] = NO_SCALES,
    stored: bool = True,
) -> list[Layer]:
    """One product of a mixture of experts, of which each token visits a few.

    The *rows* of an inference (tokens times experts for each) are shared evenly among as many
    experts as they can be: side by side as groups. Those that get one row more are a layer of
    their own, whose name ends in :data:`ONE_MORE`.

    Raises:
        NotABatchError: the rows do not divide by *batch*, or several inferences together visit
            more experts than one does, so that their weights are no one's alone.
        NoProductsError: one of the sizes is 0.
    """
    if rows % batch or (batch > 1 and rows // batch < experts):
        raise NotABatchError
    each = rows // batch
    if min(each, experts, inner, columns) < 1:
        raise NoProductsError("one of its operands is empty")
    active = min(each, experts)
    share, more = divmod(each, active)
    return [
        Layer(
            name + suffix,
            Extents(N=batch, G=count, M=columns, C=inner, P=height),
            bits=bits,
            density=density,
            scale_bits=scale_bits,
            weight_is_activation=not stored,
        )
        for suffix, count, height in (("", active - more, share), (ONE_MORE, more, share + 1))
        if count
    ]
