"""Which TFLite operator reads what another made: the graph between the layers of a subgraph."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from picojoule.frontends.products import ProblemError
from picojoule.frontends.tflite_file import Operator
from picojoule.frontends.tflite_layers import Scope
from picojoule.frontends.tflite_operators import CONTROL, names
from picojoule.frontends.tflite_tensors import FLOAT_BITS
from picojoule.frontends.wiring import Effects, WiredOperator, connect
from picojoule.graph import Graph, Tensor
from picojoule.workload import Layer

VIEWS = names(
    """
    BITCAST BROADCAST_TO DEQUANTIZE EXPAND_DIMS RESHAPE SQUEEZE STABLEHLO_BROADCAST_IN_DIM
    STABLEHLO_RESHAPE STABLEHLO_TRANSPOSE TILE TRANSPOSE
    """
)
"""Operators after which the same words lie in memory: levels are stored, not what they mean, and
of what repeats itself one of each, as layers count it."""

OF_SHAPES = names("RANK SHAPE ZEROS_LIKE")
"""Operators that look at the shape of their input only."""

BY_VALUE = names(
    """
    ABS ADD ADD_N ATAN2 BITWISE_XOR CAST CEIL COS DIV ELU EQUAL EXP FAKE_QUANT FLOOR FLOOR_DIV
    FLOOR_MOD GELU GREATER GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND
    LOGICAL_NOT LOGICAL_OR LOGISTIC MAXIMUM MINIMUM MUL NEG NOT_EQUAL POW PRELU QUANTIZE RELU
    RELU6 RELU_0_TO_1 RELU_N1_TO_1 RIGHT_SHIFT ROUND RSQRT SELECT SELECT_V2 SIGN SIN SQRT SQUARE
    SQUARED_DIFFERENCE STABLEHLO_ABS STABLEHLO_ADD STABLEHLO_AND STABLEHLO_CBRT STABLEHLO_CLAMP
    STABLEHLO_COMPARE STABLEHLO_CONVERT STABLEHLO_COSINE STABLEHLO_DIVIDE STABLEHLO_EXPONENTIAL
    STABLEHLO_FLOOR STABLEHLO_LOG STABLEHLO_LOGISTIC STABLEHLO_MAXIMUM STABLEHLO_MINIMUM
    STABLEHLO_MULTIPLY STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER
    STABLEHLO_RSQRT STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH SUB TANH
    """
)
"""Operators that change each value by itself, those of two computed tensors pair by pair."""

IN_PLACE = names(
    "CONCATENATION PACK SLICE SPLIT SPLIT_V STABLEHLO_CONCATENATE STABLEHLO_SLICE STRIDED_SLICE "
    "UNPACK"
)
"""Operators whose outputs are parts of their input, or the other way round."""

EFFECTS = Effects(VIEWS, BY_VALUE, IN_PLACE)

Ran = tuple[Operator, str, tuple[Layer, ...]]
"""An operator, what it is called, and the layers it consists of."""


def graph_of(scope: Scope, ran: Sequence[Ran]) -> Graph | None:
    """The graph between the layers of a subgraph; None where the file does not tell all of it.

    What other subgraphs hold that an operator runs is one node.
    """
    wiring = _Wiring(scope)
    subgraph = scope.subgraph
    return connect(
        wiring.operations(ran),
        wiring.tensor,
        wiring.keys(subgraph.inputs),
        wiring.keys(subgraph.outputs),
    )


class _Wiring:
    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def keys(self, indices: Sequence[int]) -> tuple[str, ...]:
        """Keys of the tensors that are computed; what a network keeps between inferences is not
        between its layers."""
        tensors = self._scope.subgraph.tensors
        return tuple(
            str(index)
            for index in indices
            if index >= 0 and not tensors[index].variable and self._scope.constant(index) is None
        )

    def tensor(self, key: str) -> Tensor:
        """Words and width of a tensor."""
        index = int(key)
        shape = self._scope.shapes.known(index)
        try:
            bits = self._scope.bits(index)
        except ProblemError:
            bits = FLOAT_BITS
        name = self._scope.subgraph.tensors[index].name.split(";")[0].strip()
        words = None if shape is None else math.prod(shape)
        return Tensor(name=name or f"tensor_{index}", words=words, bits=bits)

    def operations(self, ran: Sequence[Ran]) -> Iterator[WiredOperator]:
        """What ran, in order."""
        for operator, name, layers in ran:
            kind = operator.name
            yield WiredOperator(
                name=name,
                operator=operator.custom or kind,
                effect=EFFECTS.of(kind),
                reads=() if kind in OF_SHAPES else self.keys(operator.inputs),
                makes=self.keys(operator.outputs),
                layers=layers,
                partial=kind in CONTROL,
            )
