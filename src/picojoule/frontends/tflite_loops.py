"""How often a TFLite WHILE runs, where its counter says so before inference."""

from __future__ import annotations

from picojoule.frontends.tflite_file import Operator, Subgraph
from picojoule.frontends.tflite_layers import Scope
from picojoule.frontends.tflite_shapes import whole_values

_COMPARED = {"LESS": 0, "LESS_EQUAL": 1}
_DEEPEST = 8


def trip_count(scope: Scope, loop: Operator, cond: Subgraph, body: Subgraph) -> int | None:
    """The trips of a loop that counts from a constant to a constant by a constant, or None.

    Its condition is such a comparison, or several that must all hold: the first to fail ends it.
    """
    if not cond.outputs:
        return None
    counts = _comparisons(scope, loop, cond, body, cond.outputs[0], 0)
    return min(counts) if counts else None


def _comparisons(
    scope: Scope, loop: Operator, cond: Subgraph, body: Subgraph, index: int, depth: int
) -> list[int]:
    """The trips that each comparison behind a tensor of the condition allows."""
    maker = _maker(cond, index)
    if maker is None or depth > _DEEPEST:
        return []
    if maker.name == "LOGICAL_AND":
        parts = [_comparisons(scope, loop, cond, body, part, depth + 1) for part in maker.inputs]
        return [count for part in parts for count in part] if all(parts) else []
    if maker.name not in _COMPARED or len(maker.inputs) != 2:
        return []
    place = _place(cond, maker.inputs[0])
    start = None if place is None else _outer(scope, loop, place)
    step = None if place is None else _step(body, place)
    limit = _number(cond, maker.inputs[1])
    if limit is None:
        # A limit that is handed in and comes out of the body as it went in.
        handed = _place(cond, maker.inputs[1])
        if handed is not None and handed in unchanged(body):
            limit = _outer(scope, loop, handed)
    if start is None or limit is None or step is None:
        return []
    return [max(0, -(-(limit + _COMPARED[maker.name] - start) // step))]


def _maker(subgraph: Subgraph, index: int) -> Operator | None:
    return next((op for op in subgraph.operators if index >= 0 and index in op.outputs), None)


def _place(subgraph: Subgraph, index: int) -> int | None:
    """Which input of a subgraph a tensor is."""
    return subgraph.inputs.index(index) if index in subgraph.inputs else None


def _number(subgraph: Subgraph, index: int) -> int | None:
    values = None if index < 0 else whole_values(subgraph.tensors[index])
    return int(values.reshape(-1)[0]) if values is not None and values.size == 1 else None


def _outer(scope: Scope, loop: Operator, place: int) -> int | None:
    """The value that a loop's input has before the first trip."""
    values = scope.shapes.value(loop.input(place))
    return int(values.reshape(-1)[0]) if values is not None and values.size == 1 else None


def unchanged(body: Subgraph) -> frozenset[int]:
    """The places of the inputs that a loop's body hands on as they are."""
    pairs = zip(body.inputs, body.outputs, strict=False)
    return frozenset(place for place, (before, after) in enumerate(pairs) if before == after)


def _step(body: Subgraph, place: int) -> int | None:
    """What the body adds to an input, if that is a positive constant."""
    if place >= min(len(body.inputs), len(body.outputs)):
        return None
    maker = _maker(body, body.outputs[place])
    if maker is None or maker.name != "ADD" or len(maker.inputs) != 2:
        return None
    own = body.inputs[place]
    others = [index for index in maker.inputs if index != own]
    step = _number(body, others[0]) if len(others) == 1 else None
    return step if step is not None and step > 0 else None
