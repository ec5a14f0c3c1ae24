"""TFLite's recurrent operators as layers: where each has its weights among its inputs.

What a step multiplies with its input does not wait for the step before and is one product over all
steps; what it multiplies with its own earlier output runs once for each step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from picojoule.frontends.products import (
    BACKWARD,
    BOTH_WAYS,
    FORWARD,
    NotABatchError,
    ProblemError,
    layer_of,
    recurrent,
)
from picojoule.frontends.tflite_file import Operator
from picojoule.frontends.tflite_layers import Scope
from picojoule.workload import Extents, Layer, PerOperand


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where one direction's weights are among an operator's inputs, by gate; -1 is no input.

    Args:
        auxiliary: a second input, and the weights that it is multiplied with.
    """

    data: int = 0
    inward: tuple[int, ...]
    state: tuple[int, ...]
    peephole: tuple[int, ...] = ()
    projection: int = -1
    auxiliary: tuple[int, tuple[int, ...]]


_NONE: tuple[int, tuple[int, ...]] = (-1, ())


def _lstm(first: int = 1, *, auxiliary: tuple[int, tuple[int, ...]] = _NONE) -> _Places:
    """An LSTM whose weights begin at an input; projected if it has weights for that."""
    return _Places(
        inward=tuple(range(first, first + 4)),
        state=tuple(range(first + 4, first + 8)),
        peephole=tuple(range(first + 8, first + 11)),
        projection=first + 15,
        auxiliary=auxiliary,
    )


def _rnn(first: int = 1, *, auxiliary: tuple[int, tuple[int, ...]] = _NONE) -> _Places:
    return _Places(inward=(first,), state=(first + 1,), auxiliary=auxiliary)


_BOTH_LSTM = (
    _lstm(auxiliary=(39, (40, 41, 42, 43))),
    _lstm(18, auxiliary=(39, (44, 45, 46, 47))),
)
_BOTH_RNN = (_rnn(auxiliary=(9, (10,))), _rnn(5, auxiliary=(9, (11,))))


def lstm(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """UNIDIRECTIONAL_SEQUENCE_LSTM; a coupled input gate is one gate less."""
    major = operator.option("TimeMajor", "UnidirectionalSequenceLSTMOptions", False)
    return _sequence(scope, name, operator, [_lstm()], major)


def lstm_both_ways(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """BIDIRECTIONAL_SEQUENCE_LSTM."""
    major = operator.option("TimeMajor", "BidirectionalSequenceLSTMOptions", True)
    return _sequence(scope, name, operator, _BOTH_LSTM, major)


def lstm_step(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """LSTM: one step, in the full form or with all weights in one matrix (basic)."""
    rows, inputs = _matrix(scope, operator.input(0))
    if len(operator.inputs) != 5:
        return _layers(scope, name, operator, [_lstm()], steps=1, rows=rows)
    # The input and the state, side by side, are multiplied with the weights of four gates.
    gates, inner = _matrix(scope, operator.input(2))
    weight = scope.constant(operator.input(2))
    density = scope.density(weight).weight
    if gates != 4 * (inner - inputs):
        raise ProblemError(f"weights of {gates} x {inner} for an input of {inputs} features")
    cell = _Cell(
        inputs=inputs,
        hidden=inner - inputs,
        gates=4,
        bits=scope.widths(operator, operator.input(0), operator.input(2)),
        densities=(density, density, 1.0),
        stored=weight is not None,
    )
    return _read(scope, name, cell, FORWARD, steps=1, rows=rows)


def rnn(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """UNIDIRECTIONAL_SEQUENCE_RNN."""
    major = operator.option("TimeMajor", "SequenceRNNOptions", False)
    return _sequence(scope, name, operator, [_rnn()], major)


def rnn_both_ways(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """BIDIRECTIONAL_SEQUENCE_RNN."""
    major = operator.option("TimeMajor", "BidirectionalSequenceRNNOptions", False)
    return _sequence(scope, name, operator, _BOTH_RNN, major)


def rnn_step(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """RNN: one step."""
    rows, _ = _matrix(scope, operator.input(0))
    return _layers(scope, name, operator, [_rnn()], steps=1, rows=rows)


def svdf(scope: Scope, name: str, operator: Operator) -> list[Layer]:
    """SVDF: a filter over the features, then each filter's over its own memory of the past."""
    rows, inputs = _matrix(scope, operator.input(0))
    filters, inner = _matrix(scope, operator.input(1))
    if inner != inputs:
        raise ProblemError(f"weights of {filters} x {inner} for an input of {inputs} features")
    steps, memory = _matrix(scope, operator.input(2))
    if steps != filters:
        raise ProblemError(f"{filters} filters over features, {steps} over time")
    if rows % scope.batch:
        raise NotABatchError
    weights = [scope.constant(operator.input(place)) for place in (1, 2)]
    feature = layer_of(
        f"{name}.feature",
        groups=1,
        rows=rows,
        inner=inputs,
        columns=filters,
        stored=weights[0] is not None,
        batch=scope.batch,
        bits=scope.widths(operator, operator.input(0), operator.input(1)),
        density=scope.density(weights[0]),
    )
    # Every filter has weights and a state of its own: one row for each inference.
    time = Layer(
        f"{name}.time",
        Extents(N=rows, G=filters, C=memory),
        bits=scope.widths(operator, operator.input(4), operator.input(2)),
        density=scope.density(weights[1]),
        weight_is_activation=weights[1] is None,
    )
    return [feature, time]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """What is known of one direction's weights: arguments of :func:`products.recurrent`."""

    inputs: int
    hidden: int
    gates: int
    bits: PerOperand[int]
    densities: tuple[float, float, float]
    stored: bool
    projection: int | None = None
    peepholes: int = 0


def _sequence(
    scope: Scope, name: str, operator: Operator, ways: Sequence[_Places], time_major: bool
) -> list[Layer]:
    data = scope.shapes.of(operator.input(0))
    if len(data) != 3 or min(data) < 1:
        raise ProblemError(f"a sequence of shape {list(data)}")
    steps, rows = (data[0], data[1]) if time_major else (data[1], data[0])
    return _layers(scope, name, operator, ways, steps=steps, rows=rows)


def _layers(
    scope: Scope,
    name: str,
    operator: Operator,
    ways: Sequence[_Places],
    *,
    steps: int,
    rows: int,
) -> list[Layer]:
    """All directions of an operator: as one recurrence if they are alike and read the same."""
    places = [_with_auxiliary(way, operator, first=number == 0) for number, way in enumerate(ways)]
    cells = [_cell(scope, operator, way) for way in places]
    if len(cells) == 1:
        return _read(scope, name, cells[0], FORWARD, steps=steps, rows=rows)
    first, second = cells
    if places[0].data == places[1].data and replace(first, densities=second.densities) == second:
        mean = [sum(pair) / 2 for pair in zip(first.densities, second.densities, strict=True)]
        both = replace(first, densities=(mean[0], mean[1], mean[2]))
        return _read(scope, name, both, BOTH_WAYS, steps=steps, rows=rows)
    return [
        *_read(scope, name, first, FORWARD, steps=steps, rows=rows),
        *_read(scope, name, second, BACKWARD, steps=steps, rows=rows),
    ]


def _with_auxiliary(way: _Places, operator: Operator, *, first: bool) -> _Places:
    """The places of a direction, the second input either beside the first or instead of it.

    Without weights of its own a second input is what the second direction reads (the layer before
    has kept its directions apart).
    """
    data, weights = way.auxiliary
    if operator.input(data) < 0:
        return replace(way, auxiliary=_NONE)
    if any(operator.input(place) >= 0 for place in weights):
        return way
    return replace(way, data=way.data if first else data, auxiliary=_NONE)


def _read(
    scope: Scope, name: str, cell: _Cell, ways: Sequence[str], *, steps: int, rows: int
) -> list[Layer]:
    if rows % scope.batch:
        raise NotABatchError
    return recurrent(
        name,
        steps=steps,
        batch=rows,
        input_size=cell.inputs,
        hidden_size=cell.hidden,
        gates=cell.gates,
        ways=ways,
        projection=cell.projection,
        peepholes=cell.peepholes,
        bits=cell.bits,
        densities=cell.densities,
        stored=cell.stored,
    )


def _cell(scope: Scope, operator: Operator, way: _Places) -> _Cell:
    """One direction's weights, whose sizes must fit each other."""
    inward, state = (_present(operator, places) for places in (way.inward, way.state))
    if not inward or len(inward) != len(state):
        raise ProblemError(f"weights of {len(inward)} gates for its input, of {len(state)} more")
    hidden, inputs = _alike(scope, inward)
    rows, width = _alike(scope, state)
    places = [(operator.input(way.data), inward, inputs)]
    data, weights = way.auxiliary
    beside = _present(operator, weights)
    if beside:
        shape = _alike(scope, beside)
        if shape[0] != hidden or len(beside) != len(inward):
            raise ProblemError(f"weights of {hidden} cells, and of {shape[0]} for a second input")
        places.append((operator.input(data), beside, shape[1]))
    for index, _, features in places:
        if scope.shapes.of(index)[-1:] != (features,):
            raise ProblemError(
                f"weights for {features} features, an input of {list(scope.shapes.of(index))}"
            )
    projection = operator.input(way.projection)
    outputs = None
    if projection >= 0:
        outputs, cells = _matrix(scope, projection)
        if cells != hidden:
            raise ProblemError(f"a projection of {cells} cells, of which there are {hidden}")
    if rows != hidden or width != (hidden if outputs is None else outputs):
        raise ProblemError(f"weights of {rows} x {width} for a state of {outputs or hidden}")
    peepholes = _present(operator, way.peephole)
    all_inward = [index for _, indices, _ in places for index in indices]
    groups = (all_inward, state, [projection] if projection >= 0 else [])
    every = [index for group in groups for index in group]
    bits = scope.widths(operator, operator.input(way.data), inward[0])
    return _Cell(
        inputs=sum(features for _, _, features in places),
        hidden=hidden,
        gates=len(inward),
        projection=outputs,
        peepholes=len(peepholes) * hidden,
        bits=bits._replace(weight=max(scope.bits(index) for index in every)),
        densities=(
            _density(scope, groups[0]),
            _density(scope, groups[1]),
            _density(scope, groups[2]),
        ),
        stored=all(scope.constant(index) is not None for index in every),
    )


def _present(operator: Operator, places: Sequence[int]) -> list[int]:
    """The tensors that are there at some places."""
    return [operator.input(place) for place in places if operator.input(place) >= 0]


def _density(scope: Scope, indices: Sequence[int]) -> float:
    """Of several matrices together."""
    sizes = [math.prod(scope.shapes.of(index)) for index in indices]
    densities = [scope.density(scope.constant(index)).weight for index in indices]
    whole = sum(sizes)
    return sum(map(math.prod, zip(sizes, densities, strict=True))) / whole if whole else 1.0


def _alike(scope: Scope, indices: Sequence[int]) -> tuple[int, int]:
    """The shape that the matrices of all gates have."""
    shapes = [_matrix(scope, index) for index in indices]
    if len(set(shapes)) != 1:
        raise ProblemError(f"weights of the shapes {shapes} for gates of one cell")
    return shapes[0]


def _matrix(scope: Scope, index: int) -> tuple[int, int]:
    shape = scope.shapes.of(index)
    if len(shape) != 2 or min(shape) < 1:
        raise ProblemError(f"a tensor of shape {list(shape)} is not a matrix")
    return shape[0], shape[1]
