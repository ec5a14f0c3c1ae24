"""TFLite (LiteRT) files as workloads.

Operators of :data:`~picojoule.frontends.tflite_operators.COUNTED` become layers; those that run
other subgraphs are followed into them: both branches of an IF are looked at and the dearer one is
counted, the body of a WHILE runs as often as its counter or the caller says, one trip after the
other, and of a composite its decomposition is counted, or its two products if it is attention.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path

from picojoule.errors import InputError, Mistake, WorkloadError, did_you_mean
from picojoule.frontends import tflite_layers, tflite_operators, tflite_recurrent
from picojoule.frontends.products import NotABatchError, ProblemError, repeated
from picojoule.frontends.source_file import Findings, shortened
from picojoule.frontends.tflite_file import Model, Operator, Signature, Subgraph, opened
from picojoule.frontends.tflite_layers import Converter, Scope
from picojoule.frontends.tflite_loops import trip_count, unchanged
from picojoule.frontends.tflite_shapes import Shape, Shapes
from picojoule.frontends.tflite_tensors import Constant
from picojoule.frontends.tflite_wiring import Ran, graph_of
from picojoule.graph import Graph
from picojoule.workload import Layer, Workload

DEEPEST = 32
MOST_RUNS = 10_000
"""Runs of subgraphs, those that are called twice counted twice."""

_TIME_MAJOR: Mapping[str, tuple[str, bool]] = {
    "BIDIRECTIONAL_SEQUENCE_LSTM": ("BidirectionalSequenceLSTMOptions", True),
    "BIDIRECTIONAL_SEQUENCE_RNN": ("BidirectionalSequenceRNNOptions", False),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ("UnidirectionalSequenceLSTMOptions", False),
    "UNIDIRECTIONAL_SEQUENCE_RNN": ("SequenceRNNOptions", False),
}

CONVERTERS: Mapping[str, Converter] = {
    **tflite_layers.CONVERTERS,
    "BIDIRECTIONAL_SEQUENCE_LSTM": tflite_recurrent.lstm_both_ways,
    "BIDIRECTIONAL_SEQUENCE_RNN": tflite_recurrent.rnn_both_ways,
    "LSTM": tflite_recurrent.lstm_step,
    "RNN": tflite_recurrent.rnn_step,
    "SVDF": tflite_recurrent.svdf,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tflite_recurrent.lstm,
    "UNIDIRECTIONAL_SEQUENCE_RNN": tflite_recurrent.rnn,
}


def read_tflite(
    path: str | PathLike[str],
    *,
    name: str | None = None,
    dims: Mapping[str, int] | None = None,
    phase: str | None = None,
    trips: Mapping[str, int] | None = None,
    values: bool = True,
) -> Workload:
    """Read a network from a TFLite file.

    Args:
        name: of the network; by default that of the file.
        dims: sizes of the inputs' dimensions by their place (``{"input_1[0]": 4}``). An unknown
            first dimension is 1; any other must be given.
        phase: which of several signatures is read: the one of that name, or the first that begins
            with it (``prefill_128``); by default the first subgraph.
        trips: how often loops run that do not tell, by the name of their first output.
        values: look at the weights for their density; without, it is 1.

    Raises:
        InputError: the file is no TFLite model, it is damaged, a size is missing, or a layer
            cannot exist.
    """
    source = fspath(path)
    findings = Findings(source)
    with opened(Path(path)) as model:
        entry, remarks = _entry(model, phase, findings)
        subgraph = model.subgraphs[entry.subgraph]
        shapes = _input_shapes(subgraph, entry, dims or {}, findings)
        findings.raise_if_any()
        batch, which = _batch(subgraph, shapes)
        remark = f"the {which} dimension of the inputs, {batch}, is taken for the batch"
        said = batch > 1
        try:
            walk = _Walk(model, findings, batch, values, trips or {})
            tally = walk.run(subgraph, shapes, {})
        except NotABatchError:
            remark = (
                f"the {which} dimension of the inputs, {batch}, is no batch: not all of the work "
                "divides by it; one inference is all of the inputs"
            )
            batch, findings = 1, Findings(source)
            walk = _Walk(model, findings, batch, values, trips or {})
            tally = walk.run(subgraph, shapes, {})
        findings.raise_if_any()
        walk.check_trips()
    if said:
        remarks[remark] = None
    remarks.update(walk.remarks)
    if not tally.layers and not tally.unmodelled and not tally.not_counted:
        raise InputError(source, [Mistake("subgraphs[0]", "there are no operators")])
    return Workload(
        name or Path(source).stem,
        tuple(tally.layers),
        batch=batch,
        not_counted=dict(sorted(tally.not_counted.items())),
        source=source,
        unmodelled=dict(sorted(tally.unmodelled.items())),
        remarks=tuple(remarks),
        graph=tally.graph,
    )


def _entry(
    model: Model, wanted: str | None, findings: Findings
) -> tuple[Signature, dict[str, None]]:
    """The entry to read, and what is to be said of the choice."""
    keys = [signature.key for signature in model.signatures]
    for signature in model.signatures:
        if not 0 <= signature.subgraph < len(model.subgraphs):
            findings.add("signature_defs", f"subgraph {signature.subgraph} is not there")
    findings.raise_if_any()
    if wanted is not None:
        # A language model has decode, and prefill_128, prefill_256, ...: the first of a name.
        for signature in model.signatures:
            if signature.key == wanted or signature.key.startswith(f"{wanted}_"):
                return signature, {}
        findings.add(
            "phase",
            f"there is no signature {shortened(wanted)}{did_you_mean(wanted, keys)}; "
            f"there are {', '.join(keys[:20]) or 'none'}",
        )
        raise findings.error()
    first = next((s for s in model.signatures if s.subgraph == 0), None)
    entry = first or Signature(key="", subgraph=0)
    remarks: dict[str, None] = {}
    if len(keys) > 1:
        others = ", ".join(keys[:20])
        remarks[f"of the signatures {others} the first subgraph is counted"] = None
    return entry, remarks


def _input_shapes(
    subgraph: Subgraph, entry: Signature, dims: Mapping[str, int], findings: Findings
) -> dict[int, Shape]:
    """The shape of every input, with the caller's sizes in it."""
    names = {subgraph.tensors[index].name: index for index in subgraph.inputs if index >= 0}
    names |= {name: index for name, index in entry.inputs.items() if index in subgraph.inputs}
    shapes = {index: list(subgraph.tensors[index].shape) for index in names.values()}
    sized_axes: set[tuple[int, int]] = set()
    for place, size in dims.items():
        name, bracket, rest = place.rpartition("[")
        axis = rest.removesuffix("]")
        if not isinstance(size, int) or size < 1:
            findings.add(f"dims {place!r}", f"{size!r} is not a size")
        elif not bracket or name not in names or not axis.isdecimal():
            places = [f"{each}[0]" for each in names]
            findings.add(
                f"dims {place!r}",
                f"a size is given by its place, as in {', '.join(places[:8]) or 'x[0]'}"
                f"{did_you_mean(place[:80], places)}",
            )
        elif int(axis) >= len(shapes[names[name]]):
            findings.add(f"dims {place!r}", f"{name} has {len(shapes[names[name]])} dimensions")
        else:
            shapes[names[name]][int(axis)] = size
            sized_axes.add((names[name], int(axis)))
    for name, index in names.items():
        for at, fixed in enumerate(subgraph.tensors[index].signature):
            if fixed == -1 and at > 0 and (index, at) not in sized_axes:
                findings.add(
                    f"inputs {shortened(name)}",
                    f"its dimension {at} is not fixed: give its size, as {name}[{at}]",
                )
                sized_axes.add((index, at))
    return {index: tuple(shape) for index, shape in shapes.items()}


def _batch(subgraph: Subgraph, shapes: Mapping[int, Shape]) -> tuple[int, str]:
    """The batch, and which dimension of the inputs it is: all of two or more must agree.

    It is the first, unless a recurrence runs along that one: then the second of [steps, batch, …].
    """
    axis = int(any(_is_time_major(operator) for operator in subgraph.operators))
    sizes = {shape[axis] for shape in shapes.values() if len(shape) > 1 + axis}
    return max(1, sizes.pop()) if len(sizes) == 1 else 1, ("first", "second")[axis]


def _is_time_major(operator: Operator) -> bool:
    if operator.name not in _TIME_MAJOR:
        return False
    kind, default = _TIME_MAJOR[operator.name]
    try:
        return bool(operator.option("TimeMajor", kind, default))
    except ProblemError:
        return False  # the operator's own turn will say so


@dataclass(slots=True)
class _Tally:
    """What a run of a subgraph comes to; *graph* is what lies between its own operators."""

    layers: list[Layer] = field(default_factory=list)
    graph: Graph | None = None
    not_counted: Counter[str] = field(default_factory=Counter)
    unmodelled: Counter[str] = field(default_factory=Counter)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    def add(self, other: _Tally, times: int = 1) -> None:
        """Take in what a called subgraph comes to, run *times*, each run after the one before.

        Raises:
            WorkloadError: no layer can run as often.
        """
        if not times:
            return
        self.layers += [repeated(layer, times, in_turn=times) for layer in other.layers]
        for mine, theirs in (
            (self.not_counted, other.not_counted),
            (self.unmodelled, other.unmodelled),
        ):
            mine.update({name: count * times for name, count in theirs.items()})


class _Walk:
    """Follows the operators of a model."""

    def __init__(
        self,
        model: Model,
        findings: Findings,
        batch: int,
        values: bool,
        trips: Mapping[str, int],
    ) -> None:
        self.remarks: dict[str, None] = {}
        self._model = model
        self._findings = findings
        self._batch = batch
        self._densities: dict[int, float | None] | None = {} if values else None
        self._trips = trips
        self._asked: set[str] = set()
        self._names: set[str] = set()
        self._numbers: Counter[str] = Counter()
        self._left = MOST_RUNS
        self._running: list[int] = []

    def check_trips(self) -> None:
        """A trip count that no loop asked for is a mistake.

        Raises:
            InputError: there is one.
        """
        for name in set(self._trips) - self._asked:
            loops = sorted(self._asked)
            self._findings.add(
                f"trips {name!r}",
                f"no loop of unknown length is called so{did_you_mean(name, loops)}; "
                f"there are {', '.join(loops[:8]) or 'none'}",
            )
        self._findings.raise_if_any()

    def run(
        self, subgraph: Subgraph, shapes: Mapping[int, Shape], constants: Mapping[int, Constant]
    ) -> _Tally:
        """The layers of a subgraph for inputs of these *shapes*, some of them constants."""
        if subgraph.index in self._running or len(self._running) >= DEEPEST:
            raise ProblemError(f"subgraph {subgraph.index} runs itself, or too deep")
        self._left -= 1
        if self._left < 0:
            # Not a mistake of one operator, behind which the others would be tried.
            self._findings.add("subgraphs", f"they call each other more than {MOST_RUNS} times")
            raise self._findings.error()
        makers = {
            index: operator
            for operator in subgraph.operators
            for index in operator.outputs
            if index >= 0
        }
        scope = Scope(
            subgraph=subgraph,
            shapes=Shapes(subgraph, shapes),
            constants=constants,
            inputs=frozenset(subgraph.inputs),
            makers=makers,
            batch=self._batch,
            densities=self._densities,
            remarks=self.remarks,
        )
        tally = _Tally()
        ran: list[Ran] = []
        self._running.append(subgraph.index)
        for operator in subgraph.operators:
            where = f"subgraphs[{subgraph.index}].operators[{operator.index}]"
            name = self._name(scope, operator)
            before = len(tally.layers)
            try:
                self._add(scope, name, operator, tally)
            except (ProblemError, WorkloadError) as error:
                self._findings.add(f"{where} {shortened(name)} ({operator.name})", str(error))
            ran.append((operator, name, tuple(tally.layers[before:])))
        self._running.pop()
        if not self._running:
            tally.graph = graph_of(scope, ran)
        return tally

    def _add(self, scope: Scope, name: str, operator: Operator, tally: _Tally) -> None:
        converter = CONVERTERS.get(operator.name)
        if converter is not None:
            layers = converter(scope, name, operator)
            for layer in layers:
                scaled = scope.with_scales(layer, operator)
                tally.layers.append(replace(scaled, name=self._free(layer.name)))
            if not layers:
                tally.not_counted[operator.name] += 1
        elif operator.name in _CONTROL:
            _CONTROL[operator.name](self, scope, operator, tally)
        elif operator.name in tflite_operators.NO_PRODUCTS:
            if operator.name not in tflite_operators.BOOKKEEPING:
                tally.not_counted[operator.name] += 1
        elif operator.custom in tflite_operators.CUSTOM_WITHOUT_PRODUCTS:
            tally.not_counted[operator.custom] += 1
        else:
            tally.unmodelled[operator.custom or operator.name] += 1

    def _name(self, scope: Scope, operator: Operator) -> str:
        """What an operator's first output is called, of fused operators the first of them."""
        outputs = [scope.subgraph.tensors[index].name for index in operator.outputs if index >= 0]
        name = outputs[0].split(";")[0].strip() if outputs else ""
        return name or f"{operator.name.lower()}_{operator.index}"

    def _free(self, name: str) -> str:
        free = name
        while free in self._names:
            self._numbers[name] += 1
            free = f"{name}_{self._numbers[name] + 1}"
        self._names.add(free)
        return free

    # -- other subgraphs -------------------------------------------------------------------------

    def _called(
        self,
        scope: Scope,
        operator: Operator,
        number: int,
        skip: int = 0,
        changing: frozenset[int] = frozenset(),
    ) -> _Tally:
        """What subgraph *number* comes to with the operator's inputs.

        Args:
            skip: how many of the operator's inputs come first that are none of the subgraph's.
            changing: inputs of the subgraph that are other ones in the next run.
        """
        subgraph = self._subgraph(number)
        constants: dict[int, Constant] = {}
        pairs = zip(subgraph.inputs, operator.inputs[skip:], strict=False)
        for place, (inner, outer) in enumerate(pairs):
            constant = scope.constant(outer)
            if inner >= 0 and constant is not None and place not in changing:
                constants[inner] = constant
        return self.run(subgraph, _handed(scope, operator, subgraph, skip), constants)

    def _subgraph(self, number: int) -> Subgraph:
        if not 0 <= number < len(self._model.subgraphs):
            raise ProblemError(f"subgraph {number} is not there")
        return self._model.subgraphs[number]

    def _call(self, scope: Scope, operator: Operator, tally: _Tally) -> None:
        tally.add(self._called(scope, operator, operator.option("Subgraph", "CallOptions")))

    def _call_once(self, scope: Scope, operator: Operator, tally: _Tally) -> None:
        """It sets the model up, before any inference."""

    def _if(self, scope: Scope, operator: Operator, tally: _Tally) -> None:
        branches = [
            self._called(scope, operator, operator.option(f"{which}SubgraphIndex", "IfOptions"), 1)
            for which in ("Then", "Else")
        ]
        dearer = max(branches, key=lambda branch: branch.macs)
        other = branches[1 - branches.index(dearer)]
        # What is not known may be in either branch.
        tally.unmodelled.update(other.unmodelled - dearer.unmodelled)
        tally.add(dearer)
        if dearer.macs != other.macs:
            self.remarks[
                f"of an IF the branch of more MACs is counted ({dearer.macs:,}; the other has "
                f"{other.macs:,})"
            ] = None

    def _while(self, scope: Scope, operator: Operator, tally: _Tally) -> None:
        cond, body = (
            self._subgraph(operator.option(f"{which}SubgraphIndex", "WhileOptions"))
            for which in ("Cond", "Body")
        )
        changing = frozenset(range(len(body.inputs))) - unchanged(body)
        asked, once = (
            self._called(scope, operator, each.index, changing=changing) for each in (cond, body)
        )
        name = self._name(scope, operator)
        trips = trip_count(scope, operator, cond, body)
        products = any(each.layers or each.unmodelled for each in (asked, once))
        if trips is None and products:
            self._asked.add(name)
            trips = self._trips.get(name)
            if trips is None:
                tally.unmodelled[f"{operator.name} of unknown trips"] += 1
                self.remarks[
                    f"how often the loop {shortened(name, 80)} runs is not known before inference: "
                    "one trip is counted; give its trips by that name"
                ] = None
        times = 1 if trips is None else trips
        if times > 1 and products and not _keeps_sizes(scope, operator, body):
            tally.unmodelled[f"{operator.name} of changing sizes"] += 1
        tally.add(once, times)
        tally.add(asked, times + 1)  # the last look ends the loop

    def _composite(self, scope: Scope, operator: Operator, tally: _Tally) -> None:
        kind = "StableHLOCompositeOptions"
        title = operator.option("Name", kind) or b""
        if b"scaled_dot_product_attention" in title:
            try:
                layers = tflite_layers.attention(scope, self._name(scope, operator), operator)
            except ProblemError:
                layers = []  # of another layout: its decomposition tells
            for layer in layers:
                tally.layers.append(replace(layer, name=self._free(layer.name)))
            if layers:
                tally.not_counted["SOFTMAX"] += 1
                return
        number = operator.option("DecompositionSubgraphIndex", kind)
        tally.add(self._called(scope, operator, number))


def _handed(scope: Scope, operator: Operator, subgraph: Subgraph, skip: int) -> dict[int, Shape]:
    """The shapes of the inputs of a subgraph that an operator runs."""
    shapes: dict[int, Shape] = {}
    for inner, outer in zip(subgraph.inputs, operator.inputs[skip:], strict=False):
        shape = scope.shapes.known(outer)
        if inner >= 0 and shape is not None and len(shape) == len(subgraph.tensors[inner].shape):
            shapes[inner] = shape
    return shapes


def _keeps_sizes(scope: Scope, loop: Operator, body: Subgraph) -> bool:
    """Whether each trip hands on tensors of the sizes that it got, as far as they are known."""
    shapes = Shapes(body, _handed(scope, loop, body, 0))
    pairs = [
        (shapes.known(before), shapes.known(after))
        for before, after in zip(body.inputs, body.outputs, strict=False)
    ]
    return all(before == after for before, after in pairs if before and after)


_CONTROL: Mapping[str, Callable[[_Walk, Scope, Operator, _Tally], None]] = {
    "CALL": _Walk._call,
    "CALL_ONCE": _Walk._call_once,
    "IF": _Walk._if,
    "STABLEHLO_COMPOSITE": _Walk._composite,
    "WHILE": _Walk._while,
}
