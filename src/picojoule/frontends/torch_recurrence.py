"""LSTM, GRU and plain recurrences of PyTorch, whole or one step at a time, as layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from picojoule.frontends.products import NotABatchError, ProblemError, recurrent
from picojoule.frontends.torch_calls import Call
from picojoule.workload import Layer

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def _sequence(call: Call) -> list[Layer]:
    """lstm, gru, rnn_tanh, rnn_relu: one or more layers, one or two directions each.

    The overload for packed sequences has the rows of all steps in one dimension.
    """
    arguments = call.arguments
    packed = "batch_sizes" in arguments
    data = arguments["data" if packed else "input"]
    shape = call.shape(data)
    if packed:
        steps, batch = shape[0], 1
    elif arguments["batch_first"]:
        batch, steps = shape[0], shape[1]
    else:
        steps, batch = shape[0], shape[1]
    call.lengths.append(steps)
    parameters = list(arguments["params"])
    directions = 2 if arguments["bidirectional"] else 1
    per_direction, rest = divmod(len(parameters), arguments["num_layers"] * directions)
    has_biases = bool(arguments["has_biases"])
    if rest:
        raise ProblemError(f"{len(parameters)} parameters of {arguments['num_layers']} layers")
    projected = per_direction == (5 if has_biases else 3)
    layers: list[Layer] = []
    for number in range(arguments["num_layers"]):
        for direction in range(directions):
            first = (number * directions + direction) * per_direction
            weights = parameters[first : first + per_direction]
            layers += _one(
                call,
                f"l{number}" + ("_reverse" if direction else ""),
                data,
                weights[0],
                weights[1],
                weights[-1] if projected else None,
                steps=steps,
                batch=batch,
            )
    return layers


def _cell(call: Call) -> list[Layer]:
    """lstm_cell, gru_cell, rnn_*_cell: one step."""
    arguments = call.arguments
    data = arguments["input"]
    rows = call.shape(data)[0]
    return _one(call, "", data, arguments["w_ih"], arguments["w_hh"], None, steps=1, batch=rows)


def _onednn(call: Call) -> list[Layer]:
    """mkldnn_rnn_layer: one layer of one direction."""
    arguments = call.arguments
    data, *weights = (arguments[name] for name in ("input", "weight0", "weight1"))
    steps, batch = call.shape(data)[:2]
    call.lengths.append(steps)
    return _one(call, "", data, weights[0], weights[1], None, steps=steps, batch=batch)


def _one(
    call: Call,
    part: str,
    data: object,
    inward: Any,
    hidden: Any,
    projection: Any,
    *,
    steps: int,
    batch: int,
) -> list[Layer]:
    """One layer of one direction: the products with its input, its state and its projection."""
    if batch % call.batch:
        raise NotABatchError
    gates = call.shape(hidden)[0]
    operator = next((name for name in _GATES if call.op.startswith(name)), "lstm")
    width = gates // _GATES[operator]
    name = f"{call.name}.{part}" if part and call.name else part or call.name
    return recurrent(
        name,
        steps=steps,
        batch=batch,
        input_size=call.shape(inward)[1],
        hidden_size=width,
        gates=_GATES[operator],
        projection=None if projection is None else call.shape(projection)[0],
        bits=call.bits(data, inward),
        densities=tuple(call.tensors.density(weight) for weight in (inward, hidden, projection)),
        stored=call.tensors.is_stored(inward),
    )


RECURRENT_CONVERTERS: dict[str, Callable[[Call], list[Layer]]] = {
    **dict.fromkeys(_GATES, _sequence),
    **dict.fromkeys([f"{name}_cell" for name in _GATES], _cell),
    "mkldnn_rnn_layer": _onednn,
}
