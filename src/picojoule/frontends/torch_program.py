"""Walks an exported program: which of its operators are layers, and what becomes of the others."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import fx

from picojoule.errors import WorkloadError
from picojoule.frontends.aten_operators import (
    HIGHER_ORDER_WITHOUT_PRODUCTS,
    SPECTRAL_NORMS,
    Products,
    family,
    products_of,
)
from picojoule.frontends.products import (
    NoProductsError,
    NotABatchError,
    ProblemError,
    repeated,
)
from picojoule.frontends.source_file import Findings
from picojoule.frontends.torch_calls import Call, arguments_of
from picojoule.frontends.torch_export import layer_name
from picojoule.frontends.torch_layers import COMPOSED, CONVERTERS
from picojoule.frontends.torch_regions import (
    Branches,
    Region,
    control_of,
    inner_graphs,
)
from picojoule.frontends.torch_tensors import ProgramTensors
from picojoule.frontends.torch_wiring import graph_of
from picojoule.workload import Layer, Workload


@dataclass(slots=True)
class Reading:
    """What was read so far.

    Args:
        layers: in order; ``nodes`` has, for each, the node of the program it stands for.
        not_counted, unmodelled, remarks: as of a workload.
        lengths: steps of the recurrences met.
    """

    layers: list[Layer] = field(default_factory=list)
    nodes: list[fx.Node] = field(default_factory=list)
    not_counted: Counter[str] = field(default_factory=Counter)
    unmodelled: Counter[str] = field(default_factory=Counter)
    remarks: dict[str, None] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)

    @property
    def macs(self) -> int:
        """Of all layers, for all inferences of the program."""
        return sum(layer.macs for layer in self.layers)

    def add(self, other: Reading) -> None:
        """Take up what was read elsewhere."""
        self.layers += other.layers
        self.nodes += other.nodes
        self.not_counted += other.not_counted
        self.unmodelled += other.unmodelled
        self.remarks |= other.remarks
        self.lengths += other.lengths


class ProgramReader:
    """Reads a program for *batch* inferences.

    Args:
        tensors: of the program.
        findings: for layers that cannot exist.
        trips: runs of loops that depend on data, by the name of their node.
    """

    def __init__(
        self, tensors: ProgramTensors, findings: Findings, batch: int, trips: Mapping[str, int]
    ) -> None:
        self.reading = Reading()
        self._tensors = tensors
        self._findings = findings
        self._batch = batch
        self._steps = 1  # of the times, those whose runs need the one before
        self._trips = trips
        self._names: set[str] = set()

    def read(self, graph: fx.Graph, times: int = 1) -> None:
        """Collect layers, and count the operators that are none.

        Args:
            times: how often the graph runs in an inference.
        """
        for node in graph.nodes:
            self._tensors.learn(node)
            if node.op != "call_function" or self._tensors.is_stored(node):
                continue  # computed from parameters only: done before inference
            if node.target is not operator.getitem:
                self._read_node(node, times)

    def _read_node(self, node: fx.Node, times: int) -> None:
        op = operator_name(node)
        if op is None:
            return
        control = control_of(node, self._tensors, self._trips)
        if control is not None:
            self.reading.remarks |= dict.fromkeys(control.remarks)
            self.reading.lengths += control.lengths
            self.reading.unmodelled.update(control.unmodelled)
            self._read_branches(node, control, times)
            return
        convert = CONVERTERS.get(op if "." in op else family(op))
        kind = Products.UNMODELLED if _decomposes(node, op) else products_of(op)
        if convert is not None:
            kind = self._convert(node, op, times)
        elif op in HIGHER_ORDER_WITHOUT_PRODUCTS:
            kind = Products.NONE_AT_ALL
        elif kind is Products.COUNTED:
            kind = Products.UNMODELLED
        if kind is Products.NONE:
            self.reading.not_counted[op] += times
        elif kind in (Products.UNMODELLED, Products.UNKNOWN):
            self.reading.unmodelled[op] += times
            for region in inner_graphs(node):
                self._read_region(region, times)

    def _convert(self, node: fx.Node, op: str, times: int) -> Products:
        """Add the layers of an operator; what is left to say of it."""
        name = self._free_name(self._name_of(node, op))
        lengths: list[int] = []
        call = Call(name, family(op), node, self._tensors, self._batch, lengths)
        try:
            layers = CONVERTERS[op if "." in op else family(op)](call)
        except NoProductsError:
            return Products.NONE
        except ProblemError as error:
            self.reading.remarks[f"{name} ({op}): {error}"] = None
            return Products.UNMODELLED
        except WorkloadError as error:
            self._findings.add(f"{name} ({op})", str(error))
            return Products.COUNTED
        self.reading.lengths += lengths
        sliced = any(self._tensors.is_sliced(source) for source in node.all_input_nodes)
        for each in layers:
            layer = call.with_scales(each, alone=len(layers) == 1)
            if sliced and not layer.weight_is_activation:  # each run has weights of its own
                runs = layer.bounds._replace(G=layer.bounds.G * times)
                self.reading.layers.append(replace(layer, bounds=runs))
            else:
                self.reading.layers.append(repeated(layer, times, in_turn=self._steps))
            self.reading.nodes.append(node)
        self._names.update(layer.name for layer in layers)
        self._names.add(name)
        return Products.COUNTED if layers else Products.NONE

    def _read_branches(self, node: fx.Node, control: Branches, times: int) -> None:
        """Read the graphs of a control operator; of those that exclude each other the dearest."""
        if not control.exclusive:
            for region in control.regions:
                self._read_region(region, times)
            return
        before, readings = self.reading, []
        for region in control.regions:
            self.reading = Reading()
            self._read_region(region, times)
            readings.append(self.reading)
        self.reading = before
        dearest = max(readings, key=lambda reading: reading.macs)
        self.reading.add(dearest)
        for other in readings:
            if other is not dearest:
                self.reading.unmodelled |= other.unmodelled
                self.reading.remarks |= other.remarks
        if len({reading.macs for reading in readings}) > 1:
            work = ", ".join(f"{reading.macs:,}" for reading in readings)
            self.reading.remarks[
                f"which branch of {node.name} runs depends on data: the dearest is priced "
                f"({work} MACs)"
            ] = None

    def _read_region(self, region: Region, times: int) -> None:
        for placeholder, outer in region.inputs:
            self._tensors.bind(placeholder, outer, sliced=outer in region.sliced)
        batch, steps = self._batch, self._steps
        if region.mapped and region.times % batch == 0:
            self._batch = 1  # the batch are the runs
        self._steps = steps if region.mapped else steps * region.times
        self.read(region.graph, times * region.times)
        self._batch, self._steps = batch, steps

    # -- names ---------------------------------------------------------------------------------

    def _name_of(self, node: fx.Node, op: str) -> str:
        if family(op) in COMPOSED:
            return _module_path(node) or node.name
        return self._weight_path(node) or _module_path(node) or node.name

    def _weight_path(self, node: fx.Node) -> str:
        """``layer1.0.conv1`` for an operator on the parameter ``layer1.0.conv1.weight``."""
        for argument in node.all_input_nodes:
            value = argument.meta.get("val")
            if self._tensors.is_stored(argument) and getattr(value, "ndim", 0) > 1:
                path = self._tensors.path(argument)
                if path:
                    return layer_name(path)
        return ""

    def _free_name(self, name: str) -> str:
        number, free = 1, name
        while free in self._names:
            number += 1
            free = f"{name}_{number}"
        return free


@dataclass(frozen=True, slots=True)
class ReadProgram:
    """A program's workload, and what else of it may be asked.

    Args:
        nodes: for each layer, the name of the program's node that it stands for.
        lengths: steps of its recurrences and loops.
        outputs: shapes of its outputs.
        sizes: by symbol, of what the program leaves open or depends on data.
    """

    workload: Workload
    nodes: tuple[str, ...]
    lengths: tuple[int, ...] = ()
    outputs: tuple[tuple[int, ...], ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)


def read_nodes(
    program: torch.export.ExportedProgram,
    *,
    name: str,
    source: str,
    batch: int = 1,
    names: Mapping[str, str] | None = None,
    dims: Mapping[str, int] | None = None,
    values: bool = True,
    is_trusted: bool = True,
) -> ReadProgram:
    """The workload of an exported program and, by layer, its nodes.

    Args:
        name, source: of the network.
        batch: inferences that the program computes at once; one if its work does not divide.
        names: name of a parameter -> the name to call it by.
        dims: sizes that depend on data, and trips of loops.
        values: look at the values of weights; without them all are dense.
        is_trusted: the program was made here, so what it computes from weights may be run.

    Raises:
        InputError: a layer cannot exist.
    """

    def walk(batch: int) -> tuple[Reading, ProgramTensors, Findings]:
        tensors = ProgramTensors(
            program, names or {}, dims or {}, values=values, is_trusted=is_trusted
        )
        findings = Findings(source)
        reader = ProgramReader(tensors, findings, batch, dims or {})
        reader.read(program.graph)
        return reader.reading, tensors, findings

    try:
        reading, tensors, findings = walk(batch)
    except NotABatchError:
        batch = 1
        reading, tensors, findings = walk(batch)
    findings.raise_if_any()
    workload = Workload(
        name,
        tuple(reading.layers),
        batch=batch,
        not_counted=dict(sorted(reading.not_counted.items())),
        unmodelled=dict(sorted(reading.unmodelled.items())),
        remarks=(*reading.remarks, *(x for x in tensors.remarks if x not in reading.remarks)),
        source=source,
        graph=graph_of(program, tensors, reading.layers, reading.nodes),
    )
    outputs = program.graph.output_node().all_input_nodes
    shapes = [node.meta.get("val") for node in outputs]
    return ReadProgram(
        workload,
        tuple(node.name for node in reading.nodes),
        tuple(reading.lengths),
        tuple(
            tuple(tensors.size(size) for size in x.shape)
            for x in shapes
            if isinstance(x, torch.Tensor)
        ),
        tensors.sizes,
    )


def operator_name(node: fx.Node) -> str | None:
    """``conv2d`` for ``torch.ops.aten.conv2d.default``; the namespace too if it is not ATen.

    None for Python's own functions, which compute sizes.
    """
    schema = getattr(node.target, "_schema", None)
    if schema is not None:
        return str(schema.name).removeprefix("aten::").replace("::", ".")
    module = str(getattr(node.target, "__module__", ""))
    if module in ("_operator", "math", "builtins") or module.startswith("torch.utils._sympy"):
        return None
    name = getattr(node.target, "__name__", None)
    if name is None:
        name = getattr(node.target, "_name", str(node.target))
    if module == "torch" and str(name).startswith("sym_"):
        return None
    return str(name)


def _decomposes(node: fx.Node, op: str) -> bool:
    """Whether an operator is a norm by singular values."""
    if op not in SPECTRAL_NORMS:
        return False
    arguments = arguments_of(node)
    axes = arguments.get("dim") or (-2, -1)
    rank = getattr(node.all_input_nodes[0].meta.get("val"), "ndim", 0)
    return arguments.get("ord") in (2, -2, "nuc") and rank > 1 and len(axes) == 2


def _module_path(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack")
    return str(list(stack.values())[-1][0]) if stack else ""
