"""Control flow of ONNX: which branch runs, and how often a body does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, TypeProto

from picojoule.frontends.onnx_inputs import names_of_trips
from picojoule.frontends.onnx_shapes import (
    Choice,
    Origin,
    Region,
    Step,
    Traced,
    attributes,
    flat,
    label_of,
    local_name,
    shape_of,
    subgraphs,
    tensor_type,
)
from picojoule.frontends.onnx_trace import Follower, Scope, Tracer
from picojoule.frontends.onnx_values import know
from picojoule.frontends.operators import OperatorKind, kind_of

# Bodies whose sizes change from trip to trip are followed for each trip, up to this many.
MOST_UNROLLED = 2048


def follow_if(tracer: Tracer, node: NodeProto, bound: NodeProto, scope: Scope, path: str) -> None:
    """The branch of a known condition, or both: which is dearer shows when they are layers."""
    graphs = dict(sorted(subgraphs(node), key=lambda item: item[0], reverse=True))
    condition = tracer.traced.values.get(bound.input[0]) if bound.input else None
    if condition is not None and condition.size == 1:
        wanted = "then_branch" if bool(condition.reshape(())) else "else_branch"
        graphs = {name: graph for name, graph in graphs.items() if name == wanted}
    branches, results = [], []
    for name, graph in graphs.items():
        inner = scope.inner(f"{path}.{name}")
        with tracer.collected() as steps:
            tracer.enter(graph, inner)
            tracer.follow(graph.node, inner, f"{path}.{name}")
        branches.append(tuple(steps))
        results.append([inner.resolve(output.name) for output in graph.output])
    if len(branches) == 1:
        tracer.emit(branches[0])
    elif branches:
        name = node.name or local_name(next(iter(bound.output), "")) or "If"
        tracer.emit([Choice(path, name, tuple(branches))])
        tracer.traced.regions[path] = Region("If", name, (), tuple(bound.output))
    for place, outside in enumerate(bound.output):
        names = [names[place] for names in results if place < len(names)]
        if not names or not outside:
            continue
        # Of different sizes the larger is what the dearer branch makes.
        chosen = max(names, key=lambda name: prod(tracer.traced.shape(name) or (0,)))
        tracer.traced.alias(outside, chosen)
        if len(branches) > 1:
            tracer.traced.values.pop(outside, None)


def follow_loop(tracer: Tracer, node: NodeProto, bound: NodeProto, scope: Scope, path: str) -> None:
    """Loop: as many trips as its input, or the user, says."""
    graph = next((graph for name, graph in subgraphs(node) if name == "body"), None)
    inputs = [*bound.input, "", ""]
    if graph is None or len(graph.input) < 2 or not graph.output:
        tracer.traced.unmodelled.append(label_of(node))
        return
    values = tracer.traced.values
    condition = values.get(inputs[1])
    trips = _given_trips(tracer, node)
    if condition is not None and condition.size == 1 and not bool(condition.reshape(())):
        trips = 0
    limit = values.get(inputs[0])
    if trips is None and limit is not None and limit.size == 1:
        trips = max(0, int(limit.reshape(())))
        if not _goes_on(graph, tracer, scope):
            tracer.traced.remark(
                f"loop {shortened_name(bound)} may end before its {trips} trips, which are counted"
            )
    states = list(bound.input[2:])
    loop = _Loop(
        graph,
        path,
        trips,
        states=states,
        heads=len(graph.input) - len(states),
        shift=1,
        scanned=[],
        axes=[],
    )
    loop.run(tracer, bound, scope)


def follow_scan(tracer: Tracer, node: NodeProto, bound: NodeProto, scope: Scope, path: str) -> None:
    """Scan: as many trips as its scanned inputs are long."""
    graph = next((graph for name, graph in subgraphs(node) if name == "body"), None)
    settings = attributes(node)
    count = settings.get("num_scan_inputs", 0)
    old = tracer.opsets.get("", 9) < 9  # opset 8: sequence_lens first, and a batch before the steps
    inputs = list(bound.input[1:] if old else bound.input)
    if graph is None or not isinstance(count, int) or not 0 < count <= len(inputs):
        tracer.traced.unmodelled.append(label_of(node))
        return
    scanned = inputs[len(inputs) - count :]
    axes = settings.get("scan_input_axes") or [0] * count
    numbers = [axis for axis in axes if isinstance(axis, int)] if isinstance(axes, list) else []
    if old or len(numbers) != count:
        numbers = [1 if old else 0] * count
    trips = _given_trips(tracer, node)
    for name, axis in zip(scanned, numbers, strict=True):
        shape = tracer.traced.shape(name)
        if trips is None and shape is not None and -len(shape) <= axis < len(shape):
            trips = shape[axis]
    output_axes = settings.get("scan_output_axes")
    loop = _Loop(
        graph,
        path,
        trips,
        states=inputs[: len(inputs) - count],
        heads=0,
        shift=0,
        scanned=scanned,
        axes=numbers,
        output_axes=output_axes if isinstance(output_axes, list) else [],
    )
    loop.run(tracer, bound, scope)


def shortened_name(node: NodeProto) -> str:
    """What a loop is called in a sentence."""
    return repr(local_name(next(iter(names_of_trips(node)), node.op_type))[:60])


def _given_trips(tracer: Tracer, node: NodeProto) -> int | None:
    words = names_of_trips(node)
    tracer.loops += words
    for word in words:
        if word in tracer.sizes.trips:
            tracer.used_trips.add(word)
            return tracer.sizes.trips[word]
    return None


def _goes_on(graph: GraphProto, tracer: Tracer, scope: Scope) -> bool:
    """Whether the body never ends its loop: it hands its condition on, or says a known yes."""
    name = graph.output[0].name
    if name == graph.input[1].name:
        return True
    for node in graph.node:
        if name in node.output:
            if node.op_type in ("Identity", "Cast") and node.input:
                if node.input[0] == graph.input[1].name:
                    return True
                condition = tracer.traced.values.get(scope.resolve(node.input[0]))
                return condition is not None and bool(condition.all())
            if node.op_type == "Constant":
                return True  # a constant no would be no loop
    return False


@dataclass(slots=True)
class _Loop:
    """A body and what goes into it.

    Args:
        trips: None if nobody knows.
        states: tensors that each trip hands to the next.
        heads: inputs of the body before the states (a Loop's number of the trip and condition).
        shift: outputs of the body before the states.
        scanned: tensors of which each trip sees one slice, along *axes*.
    """

    graph: GraphProto
    path: str
    trips: int | None
    states: list[str]
    heads: int
    shift: int
    scanned: list[str]
    axes: list[int]
    output_axes: Sequence[object] = ()

    def run(self, tracer: Tracer, bound: NodeProto, scope: Scope) -> None:
        """Follow the body once for all trips if they are alike, else trip by trip."""
        traced = tracer.traced
        trips = 1 if self.trips is None else self.trips
        outer = tracer.times, tracer.in_turn
        tracer.times *= max(trips, 1)
        if self._hands_on():
            tracer.in_turn *= max(trips, 1)
        with tracer.collected() as steps:
            results = self._trip(tracer, scope, self.states, "", None)
        tracer.times, tracer.in_turn = outer
        if self.trips is None and _multiplies(steps):
            traced.unmodelled.append(f"{label_of(bound)} of unknown trips")
            word = next(iter(names_of_trips(bound)), bound.op_type)
            traced.remark(
                f"how often loop {shortened_name(bound)} runs is not in the file: one trip is "
                f"counted; say it with trips={{{local_name(word)!r}: …}} or "
                f"--trips {local_name(word)}=…"
            )
        alike = self._alike(tracer, results)
        if alike or trips <= 1 or trips > MOST_UNROLLED:
            if not alike and trips > MOST_UNROLLED:
                traced.unmodelled.append(f"{label_of(bound)} of changing sizes")
            if trips:
                self._note(traced, bound)
                tracer.emit(steps)
            finals = results if trips else [*[""] * self.shift, *self.states]
            self._finish(tracer, bound, finals, results, trips)
            return
        self._note(traced, bound)
        states = self.states
        for number in range(trips):
            results = self._trip(tracer, scope, states, f"#{number}", number)
            states = results[self.shift : self.shift + len(self.states)]
        self._finish(tracer, bound, results, results, trips)

    def _trip(
        self, tracer: Tracer, scope: Scope, states: Sequence[str], mark: str, number: int | None
    ) -> list[str]:
        """Follow the body from *states*; return the names of its outputs."""
        traced, graph = tracer.traced, self.graph
        inner = scope.inner(f"{self.path}.body{mark}")
        tracer.enter(graph, inner)
        names = [inner.define(info.name) for info in graph.input]
        for place, name in enumerate(names[: self.heads]):
            kind = (TensorProto.INT64, TensorProto.BOOL)[min(place, 1)]
            traced.types[name] = tensor_type(kind, ())
        if number is not None and self.heads:
            know(traced, names[0], np.asarray(number, dtype=np.int64))
        for name, state in zip(names[self.heads :], states, strict=False):
            traced.alias(name, state)
            traced.constants.pop(name, None)  # the next trip has another
            if number is None:
                traced.values.pop(name, None)
            elif name in traced.values:
                know(traced, name, traced.values[name])
        for name, whole, axis in zip(
            names[self.heads + len(states) :], self.scanned, self.axes, strict=False
        ):
            shape = traced.shape(whole)
            if shape is None or not -len(shape) <= axis < len(shape):
                traced.origins[name] = traced.origins.get(
                    whole, Origin(self.path, "Scan", local_name(whole))
                )
                continue
            traced.same[name] = whole
            rest = tuple(size for place, size in enumerate(shape) if place != axis % len(shape))
            traced.types[name] = tensor_type(traced.element_type(whole), rest)
            if whole in traced.widths:
                traced.widths[name] = traced.widths[whole]
            if whole in traced.scales:
                traced.scales[name] = traced.scales[whole]
        tracer.follow(graph.node, inner, f"{self.path}.body{mark}")
        return [inner.resolve(output.name) for output in graph.output]

    def _note(self, traced: Traced, bound: NodeProto) -> None:
        """Say what is around the loop, of which all trips are one."""
        name = bound.name or local_name(next(filter(None, bound.output), bound.op_type))
        inputs = (*self.states, *self.scanned)
        traced.regions[self.path] = Region(bound.op_type, name, inputs, tuple(bound.output))

    def _hands_on(self) -> bool:
        """Whether a trip needs the one before: of a state it gets what that one made."""
        same = {node.output[0]: node.input[0] for node in self.graph.node if _is_identity(node)}
        ours = [info.name for info in self.graph.input[self.heads :]][: len(self.states)]
        theirs = [info.name for info in self.graph.output[self.shift :]][: len(self.states)]
        return any(
            before != after and same.get(after) != before
            for before, after in zip(ours, theirs, strict=False)
        )

    def _alike(self, tracer: Tracer, results: Sequence[str]) -> bool:
        """Whether each trip hands on what it got, so that all trips have the same sizes."""
        after = results[self.shift : self.shift + len(self.states)]
        shape = tracer.traced.shape
        return all(
            shape(old) == shape(new) and shape(new) is not None
            for old, new in zip(self.states, after, strict=False)
            if shape(old) is not None
        ) and all(shape(name) is not None for name in results[self.shift :])

    def _finish(
        self,
        tracer: Tracer,
        bound: NodeProto,
        finals: Sequence[str],
        results: Sequence[str],
        trips: int,
    ) -> None:
        """Name what the loop delivers: its last states, and its outputs of all trips."""
        traced, count = tracer.traced, len(self.states)
        for outside, name in zip(
            bound.output, finals[self.shift : self.shift + count], strict=False
        ):
            if outside:
                traced.alias(outside, name)
                for table in (traced.values, traced.constants):
                    table.pop(outside, None)
        slices = results[self.shift + count :]
        for place, (outside, name) in enumerate(zip(bound.output[count:], slices, strict=False)):
            kind = self._stacked(traced.types.get(name), trips, place)
            if outside and kind is not None:
                traced.types[outside] = kind
            elif outside:
                traced.origins[outside] = traced.origins.get(
                    name, Origin(self.path, label_of(bound), local_name(outside))
                )

    def _stacked(self, kind: TypeProto | None, trips: int, place: int) -> TypeProto | None:
        shape = shape_of(kind)
        if kind is None or shape is None:
            return None
        axis = self.output_axes[place] if place < len(self.output_axes) else 0
        axis = axis % (len(shape) + 1) if isinstance(axis, int) else 0
        return tensor_type(kind.tensor_type.elem_type, (*shape[:axis], trips, *shape[axis:]))


def _is_identity(node: NodeProto) -> bool:
    return node.op_type == "Identity" and bool(node.input) and bool(node.output)


def _multiplies(steps: Sequence[Step | Choice]) -> bool:
    """Whether something in them has, or may have, products."""
    nodes = [step.node for step in flat(steps)]
    return any(kind_of(node.domain, node.op_type) is not OperatorKind.NO_PRODUCTS for node in nodes)


CONTROL: Mapping[str, Follower] = {"If": follow_if, "Loop": follow_loop, "Scan": follow_scan}
"""How operators with graphs inside are followed."""
