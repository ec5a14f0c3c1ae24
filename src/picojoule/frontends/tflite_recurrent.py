"""TFLite's recurrent operators as layers.

What a step multiplies with its input does not wait for the step before and is one product over all
steps; what it multiplies with its own earlier output is one product after the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from picojoule.frontends.products import ProblemError, layer_of
from picojoule.frontends.tflite_file import Operator
from picojoule.frontends.tflite_layers import Scope, steps_of
from picojoule.workload import DENSE, Extents, Layer, PerOperand


@dataclass(frozen=True, slots=True)
class _Direction:
    """Where one direction's weights are among an operator's inputs, by gate; -1 is no input."""

    suffix: str
    forward: tuple[int, ...]
    recurrent: tuple[int, ...]
    projection: int = -1
    auxiliary: tuple[int, ...] = ()


_LSTM = _Direction("", (1, 2, 3, 4), (5, 6, 7, 8), 16)
_BOTH_LSTM = (
    _Direction(".forward", (1, 2, 3, 4), (5, 6, 7, 8), 16, (40, 41, 42, 43)),
    _Direction(".backward", (18, 19, 20, 21), (22, 23, 24, 25), 33, (44, 45, 46, 47)),
)
_RNN = _Direction("", (1,), (2,))
_BOTH_RNN = (
    _Direction(".forward", (1,), (2,), -1, (10,)),
    _Direction(".backward", (5,), (6,), -1, (11,)),
)


def lstm(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """UNIDIRECTIONAL_SEQUENCE_LSTM; a coupled input gate is one gate less."""
    major = operator.option("TimeMajor", "UnidirectionalSequenceLSTMOptions", False)
    return _directed(scope, name, operator, _LSTM, *_sequence(scope, operator, major))


def lstm_both_ways(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """BIDIRECTIONAL_SEQUENCE_LSTM."""
    major = operator.option("TimeMajor", "BidirectionalSequenceLSTMOptions", True)
    steps, rows = _sequence(scope, operator, major)
    return [
        layer
        for direction in _BOTH_LSTM
        for layer in _directed(scope, name, operator, direction, steps, rows)
    ]


def lstm_step(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """LSTM: one step, in the full form or with all weights in one matrix (basic)."""
    rows = _matrix(scope, operator.input(0))[0]
    if len(operator.inputs) == 5:
        return [_gates(scope, name, operator, operator.input(0), (2,), rows)]
    return _directed(scope, name, operator, _LSTM, 1, rows)


def rnn(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """UNIDIRECTIONAL_SEQUENCE_RNN."""
    major = operator.option("TimeMajor", "SequenceRNNOptions", False)
    return _directed(scope, name, operator, _RNN, *_sequence(scope, operator, major))


def rnn_both_ways(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """BIDIRECTIONAL_SEQUENCE_RNN."""
    major = operator.option("TimeMajor", "BidirectionalSequenceRNNOptions", False)
    steps, rows = _sequence(scope, operator, major)
    return [
        layer
        for direction in _BOTH_RNN
        for layer in _directed(scope, name, operator, direction, steps, rows)
    ]


def rnn_step(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """RNN: one step."""
    return _directed(scope, name, operator, _RNN, 1, _matrix(scope, operator.input(0))[0])


def svdf(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """SVDF: a filter over the features, then each filter's over its own memory of the past."""
    rows, _ = _matrix(scope, operator.input(0))
    filters, memory = _matrix(scope, operator.input(2))
    feature = _gates(scope, f"{name}.feature", operator, operator.input(0), (1,), rows)
    weight = scope.constant(operator.input(2))
    # Every filter has weights and a state of its own: one row for each inference.
    time = Layer(
        f"{name}.time",
        Extents(N=rows, G=filters, C=memory),
        bits=scope.widths(operator, operator.input(4), operator.input(2)),
        density=scope.density(weight),
        weight_is_activation=weight is None,
    )
    return [feature, time]


def _sequence(scope: Scope, operator: Operator, time_major: bool) -> tuple[int, int]:
    """Steps, and sequences at once."""
    data = scope.shapes.of(operator.input(0))
    if len(data) != 3 or min(data) < 1:
        raise ProblemError(f"a sequence of shape {list(data)}")
    return (data[0], data[1]) if time_major else (data[1], data[0])


def _matrix(scope: Scope, index: int) -> tuple[int, int]:
    shape = scope.shapes.of(index)
    if len(shape) != 2 or min(shape) < 1:
        raise ProblemError(f"a tensor of shape {list(shape)} is not a matrix")
    return shape[0], shape[1]


def _directed(
    scope: Scope, name: str, operator: Operator, way: _Direction, steps: int, rows: int
) -> list[Layer]:
    """One direction: the input's product over all steps, then step after step."""
    name += way.suffix
    data = operator.input(0)
    layers = [_gates(scope, f"{name}.input", operator, data, way.forward, steps * rows)]
    auxiliary = [place for place in way.auxiliary if operator.input(place) >= 0]
    if auxiliary:
        where = operator.input(39 if way.projection >= 0 else 9)
        layers.append(
            _gates(scope, f"{name}.auxiliary", operator, where, tuple(auxiliary), steps * rows)
        )
    state = operator.outputs[0]
    layers += steps_of(
        _gates(scope, f"{name}.recurrent", operator, state, way.recurrent, rows), steps
    )
    if way.projection >= 0 and operator.input(way.projection) >= 0:
        layers += steps_of(
            _gates(scope, f"{name}.projection", operator, state, (way.projection,), rows), steps
        )
    return layers


def _gates(
    scope: Scope, name: str, operator: Operator, data: int, places: tuple[int, ...], rows: int
) -> Layer:
    """The product of *rows* with the weights of several gates, side by side in one matrix."""
    present = [operator.input(place) for place in places if operator.input(place) >= 0]
    if not present:
        raise ProblemError("its weights are missing")
    matrices = [_matrix(scope, index) for index in present]
    if len({inner for _, inner in matrices}) != 1:
        raise ProblemError(f"weights of shapes {matrices} for one input")
    columns, inner = sum(outer for outer, _ in matrices), matrices[0][1]
    found = [scope.constant(index) for index in present]
    density = DENSE
    if all(constant is not None for constant in found):
        parts = [scope.density(constant).weight for constant in found]
        spread = zip(parts, matrices, strict=True)
        density = DENSE._replace(weight=sum(p * outer for p, (outer, _) in spread) / columns)
    bits: PerOperand[int] = scope.widths(operator, data, present[0])
    return layer_of(
        name,
        groups=1,
        rows=rows,
        inner=inner,
        columns=columns,
        stored=all(constant is not None for constant in found),
        batch=scope.batch,
        bits=bits,
        density=density,
    )
