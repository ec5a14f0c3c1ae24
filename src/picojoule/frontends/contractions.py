"""Sums of products over named indices (einsum and its kin) as canonical layers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_letters

from picojoule.frontends.products import ProblemError, layer_of
from picojoule.workload import DENSE, Layer, PerOperand


@dataclass(frozen=True, slots=True)
class Factor:
    """One operand of a contraction.

    Args:
        shape: its dimensions.
        stored: it comes with the network, so that it is a weight.
        bits: its width.
        density: fraction of its values that are not zero.
    """

    shape: tuple[int, ...]
    stored: bool
    bits: int
    density: float = 1.0


@dataclass(frozen=True, slots=True)
class _Term:
    """A factor, or what was made of some, with the size of each of its indices."""

    sizes: dict[str, int]
    stored: bool
    bits: int
    density: float


def einsum_layers(
    name: str,
    equation: str,
    factors: Sequence[Factor],
    *,
    output_bits: int,
    batch: int,
    path: Sequence[int] | None = None,
) -> list[Layer]:
    """An einsum as the batched products of its pairs; none where nothing is summed.

    Pairs are contracted from left to right, or along *path* (two positions for each step, the
    result goes to the end). What only one factor of a pair has and nobody needs is summed before.

    Args:
        equation: with ``...`` or without, its output given or not.

    Raises:
        ProblemError: the equation and the shapes contradict each other.
        NotABatchError: the work of a pair does not divide by *batch*.
    """
    indices, output = _parsed(equation, [factor.shape for factor in factors])
    terms = [
        _Term(_sizes(term, factor.shape), factor.stored, factor.bits, factor.density)
        for term, factor in zip(indices, factors, strict=True)
    ]
    layers: list[Layer] = []
    for step in range(len(terms) - 1):
        first, second = (0, 1) if path is None else sorted(path[2 * step : 2 * step + 2])
        right, left = terms.pop(second), terms.pop(first)
        needed = {*output, *(index for term in terms for index in term.sizes)}
        part = name if len(factors) == 2 else f"{name}[{step}]"
        layer, result = _contracted(part, left, right, needed, output_bits, batch)
        layers += [] if layer is None else [layer]
        terms.insert(0 if path is None else len(terms), result)
    return layers


def _contracted(
    name: str, left: _Term, right: _Term, needed: set[str], output_bits: int, batch: int
) -> tuple[Layer | None, _Term]:
    if left.stored and not right.stored:
        left, right = right, left
    sizes = dict(left.sizes)
    for index, size in right.sizes.items():
        extent = sizes.setdefault(index, size)
        if 1 not in (extent, size) and extent != size:
            raise ProblemError(f"index {index} is {extent} and {size}")
        sizes[index] = max(extent, size)

    # An index of size 1 repeats the operand along it, as if the operand had none.
    ours = {index for index, size in left.sizes.items() if size > 1}
    theirs = {index for index, size in right.sizes.items() if size > 1}
    kept = needed & set(sizes)
    summed = {index for index in set(left.sizes) & set(right.sizes) if index not in kept}
    inner = summed & ours & theirs
    result = _Term(
        {index: sizes[index] for index in sizes if index in kept},
        left.stored and right.stored,
        output_bits,
        1.0,
    )
    if not summed:
        return None, result  # element by element, or an outer product

    def size_of(chosen: set[str]) -> int:
        return math.prod(sizes[index] for index in chosen)

    layer = layer_of(
        name,
        groups=size_of(ours & theirs & kept),
        rows=size_of((ours - theirs) & kept),
        inner=size_of(inner),
        columns=size_of((theirs - ours) & kept),
        stored=right.stored,
        batch=batch,
        bits=PerOperand(left.bits, right.bits, output_bits),
        density=DENSE._replace(weight=right.density),
    )
    return layer, result


def _parsed(equation: str, shapes: Sequence[tuple[int, ...]]) -> tuple[list[str], str]:
    """The indices of every operand and of the output, one letter each, without ``...``."""
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    problem = f"equation {equation[:80]!r} for shapes {[list(shape) for shape in shapes]}"
    if len(terms) != len(shapes):
        raise ProblemError(problem)
    # Letters are names, whichever they are: other alphabets would do.
    free = [letter for letter in ascii_letters if letter not in equation]
    spread = [
        len(shape) - len(term.replace("...", "")) if "..." in term else 0
        for term, shape in zip(terms, shapes, strict=True)
    ]
    rank = max(spread)
    if not 0 <= min(spread) <= rank <= len(free):
        raise ProblemError(problem)
    dots = "".join(free[:rank])
    terms = [
        term.replace("...", dots[rank - count :]) for term, count in zip(terms, spread, strict=True)
    ]
    if any(len(term) != len(shape) for term, shape in zip(terms, shapes, strict=True)):
        raise ProblemError(problem)
    if not arrow:  # numpy's rule: ..., then the indices that occur once, in alphabetical order
        count = Counter(inputs.replace("...", "").replace(",", ""))
        return terms, dots + "".join(sorted(c for c, times in count.items() if times == 1))
    return terms, output.replace("...", dots)


def _sizes(term: str, shape: tuple[int, ...]) -> dict[str, int]:
    """The size of each index of one operand; an index that stands twice is a diagonal."""
    sizes: dict[str, int] = {}
    for index, size in zip(term, shape, strict=True):
        if sizes.setdefault(index, size) not in (size, 1) and size != 1:
            raise ProblemError(f"index {index} is {sizes[index]} and {size}")
        sizes[index] = max(sizes[index], size)
    return sizes
