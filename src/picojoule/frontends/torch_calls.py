"""One operator of an exported program that multiplies, with all a layer needs to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from picojoule.frontends.contractions import Factor
from picojoule.frontends.products import ProblemError, product
from picojoule.frontends.torch_tensors import ProgramTensors
from picojoule.workload import DENSE, Layer, PerOperand


@dataclass(frozen=True, slots=True)
class Call:
    """An operator to be read into layers.

    Args:
        name: what to call its layers.
        op: the operator, by its name in :mod:`picojoule.frontends.aten_operators`.
        node: of the program.
        tensors: what is known of its operands.
        batch: inferences that the program computes at once.
        lengths: to note the steps of recurrences in: they are no batch.
    """

    name: str
    op: str
    node: fx.Node
    tensors: ProgramTensors
    batch: int
    lengths: list[int]

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by their names."""
        return arguments_of(self.node)

    def shape(self, argument: object) -> tuple[int, ...]:
        """The dimensions of an operand."""
        return self.tensors.shape(argument)

    def factor(self, argument: object) -> Factor:
        """An operand of a contraction."""
        return Factor(
            self.shape(argument),
            self.tensors.is_stored(argument),
            self.tensors.bits(argument),
            self.tensors.density(argument),
        )

    def bits(self, left: object, right: object) -> PerOperand[int]:
        """Widths of two operands and of the result."""
        return PerOperand(
            self.tensors.bits(left), self.tensors.bits(right), self.tensors.output_bits(self.node)
        )

    def density(self, weight: object) -> PerOperand[float]:
        """Density of a stored weight."""
        return DENSE._replace(weight=self.tensors.density(weight))

    def with_scales(self, layer: Layer, *, alone: bool) -> Layer:
        """A layer with the scales of blocks of its operands, unless it has them already.

        Args:
            alone: it is all of the operator, so that the inputs are its own.
        """
        operands = self.node.all_input_nodes
        if any(layer.scale_bits) or not any(map(self.tensors.scale_bits, operands)):
            return layer
        stored = [x for x in operands if self.tensors.is_stored(x)]
        data = [self.tensors.scale_bits(x) for x in operands if x not in stored]
        weight = max(map(self.tensors.scale_bits, stored), default=0.0)
        if layer.weight_is_activation:
            weight = data[1] if alone and len(data) > 1 else 0.0
        first = data[0] if alone and data else 0.0
        return replace(layer, scale_bits=PerOperand(first, weight, 0.0))

    def product(
        self,
        left: object,
        right: object,
        left_shape: Sequence[int] | None = None,
        right_shape: Sequence[int] | None = None,
        *,
        name: str | None = None,
    ) -> Layer:
        """``left @ right``, their shapes given where they are not used as they are."""
        weight, stored = right, "right"
        bits = self.bits(left, right)
        ours = tuple(self.shape(left) if left_shape is None else left_shape)
        theirs = tuple(self.shape(right) if right_shape is None else right_shape)
        times = self.tensors.repeats(right) if len(ours) == len(theirs) > 2 else 1
        if times > 1:  # the queries of a group are rows over the same keys
            ours = (*ours[:-3], ours[-3] // times, ours[-2] * times, ours[-1])
            theirs = (*theirs[:-3], theirs[-3] // times, *theirs[-2:])
        if not self.tensors.is_stored(right) and self.tensors.is_stored(left):
            weight, stored = left, "left"
            bits = PerOperand(bits.weight, bits.input, bits.output)
        return product(
            self.name if name is None else name,
            ours,
            theirs,
            stored=stored if self.tensors.is_stored(weight) else None,
            batch=self.batch,
            bits=bits,
            density=self.density(weight),
        )


def arguments_of(node: fx.Node) -> dict[str, Any]:
    """The arguments of an operator by the names of its schema."""
    target: Any = node.target  # an OpOverload
    names = [argument.name for argument in target._schema.arguments]
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def whole_numbers(value: object, length: int) -> list[int]:
    """One whole number for each of *length* axes; one alone is for all."""
    entries = list(value) if isinstance(value, Sequence) else [value]
    numbers = [number for number in entries if isinstance(number, int)]
    if len(numbers) != len(entries) or len(numbers) not in (1, length):
        raise ProblemError(f"{value!r} are not {length} whole numbers")
    return numbers if len(numbers) == length else numbers * length
