"""Matrix products of any rank as canonical layers, for every frontend that meets them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from picojoule.workload import DENSE, Extents, Layer, PerOperand


class ProblemError(Exception):
    """An operator that cannot be a layer; the message says why. The frontend adds where."""


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
    """The product of ``groups`` pairs of matrices, *rows* being those of all inferences."""
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
