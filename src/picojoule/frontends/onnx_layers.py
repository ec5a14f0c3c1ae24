"""The steps of a traced ONNX graph -> the canonical layers it consists of, and what is in none.

How one operator is read stands with its family: :mod:`onnx_convolutions`, :mod:`onnx_products`,
:mod:`onnx_attention`, :mod:`onnx_recurrent`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from onnx import NodeProto

from picojoule.errors import WorkloadError
from picojoule.frontends import (
    onnx_attention,
    onnx_convolutions,
    onnx_products,
    onnx_recurrent,
)
from picojoule.frontends.onnx_calls import Call, NotModelledError, UnknownShapeError
from picojoule.frontends.onnx_shapes import (
    Choice,
    Origin,
    Ran,
    Step,
    Traced,
    flat,
    label_of,
    local_name,
    names_in,
    subgraphs,
)
from picojoule.frontends.onnx_tensors import TensorError, TensorValues
from picojoule.frontends.operators import OperatorKind, kind_of
from picojoule.frontends.products import NoProductsError, ProblemError, repeated
from picojoule.frontends.source_file import Findings, shortened
from picojoule.workload import Layer

CONVERTERS = MappingProxyType(
    {
        **onnx_convolutions.CONVERTERS,
        **onnx_products.CONVERTERS,
        **onnx_attention.CONVERTERS,
        **onnx_recurrent.CONVERTERS,
    }
)
"""Operator, with its domain -> how its layers are read."""

BOOKKEEPING = names_in(
    """
    Constant ConstantOfShape Dropout Flatten Identity Reshape Shape Size Squeeze Unsqueeze
    """
)
"""Operators of ONNX without arithmetic or data movement at inference: not even listed."""

NUMBERED, WEIGHT, SCOPES = "node_", ".weight", "pkg.torch.onnx.name_scopes"
"""How torch.onnx.export (torch 2.13) names nodes and weights, and where it notes their modules."""
LONGEST_SCOPES = 10_000


@dataclass(slots=True)
class Part:
    """What some steps consist of."""

    layers: list[Layer] = field(default_factory=list)
    not_counted: Counter[str] = field(default_factory=Counter)
    unmodelled: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)
    ran: list[Ran] = field(default_factory=list)

    @property
    def macs(self) -> int:
        """MACs of all inferences."""
        return sum(layer.macs for layer in self.layers)

    def add(self, other: Part) -> None:
        """Take in what other steps consist of."""
        self.layers += other.layers
        self.not_counted += other.not_counted
        self.unmodelled += other.unmodelled
        self.remarks += other.remarks
        self.ran += other.ran


class LayerBuilder:
    """Makes the layers of a traced graph, for *batch* inferences.

    Args:
        tensors: where to look for the values of weights; None: their density is 1.
        findings: takes the mistakes, each with the path of its operator.
    """

    def __init__(
        self, traced: Traced, tensors: TensorValues | None, findings: Findings, batch: int
    ) -> None:
        self._traced = traced
        self._tensors = tensors
        self._findings = findings
        self._batch = batch
        self._names: set[str] = set()
        self._blamed: dict[Origin, list[str]] = {}
        self._consumers: dict[str, list[NodeProto]] = defaultdict(list)
        self._producers: dict[str, NodeProto] = {}
        for step in flat(traced.steps):
            self._producers.update(dict.fromkeys(step.node.output, step.node))
            for name in step.node.input:
                self._consumers[name].append(step.node)

    def build(self) -> Part:
        """The layers of the whole graph in order.

        Raises:
            NotABatchError: the work of one does not divide by the batch.
        """
        part = self._build(self._traced.steps)
        part.unmodelled.update(self._traced.unmodelled)
        for origin, names in self._blamed.items():
            part.remarks.append(
                f"{origin.path} ({origin.label}): the shape of its output "
                f"{shortened(origin.tensor)} is not known, so {len(names)} operators that "
                f"multiply are not counted ({', '.join(names[:3])}"
                f"{', …' if len(names) > 3 else ''}): say it with "
                f"shapes={{{origin.tensor!r}: (…)}} or --shape {origin.tensor}=…"
            )
        return part

    def _build(self, steps: Sequence[Step | Choice]) -> Part:
        part = Part()
        for step in steps:
            if isinstance(step, Choice):
                part.add(self._choose(step))
            else:
                one = self._one(step)
                one.ran.append(Ran(step, tuple(one.layers)))
                part.add(one)
        return part

    def _choose(self, choice: Choice) -> Part:
        """Of branches that depend on an input, the one with the most MACs."""
        before, parts, names = set(self._names), [], []
        for branch in choice.branches:
            self._names = set(before)
            parts.append(self._build(branch))
            names.append(self._names)
        best = max(range(len(parts)), key=lambda place: parts[place].macs)
        self._names = names[best]
        # Another branch that holds what nobody can count may be dearer than it looks.
        for place, part in enumerate(parts):
            if place != best:
                parts[best].unmodelled |= part.unmodelled
        if len({part.macs for part in parts}) > 1 or parts[best].layers:
            costs = ", ".join(f"{part.macs:,}" for part in parts)
            parts[best].remarks.append(
                f"which branch of {shortened(choice.name)} runs depends on an input: the dearer "
                f"is counted ({costs} MACs)"
            )
        return parts[best]

    def _one(self, step: Step) -> Part:
        """The layers of one operator, or its label where it has none."""
        node, part = step.node, Part()
        label = label_of(node)
        convert = CONVERTERS.get(label)
        self._count_inside(node, part)
        if convert is None:
            kind = kind_of(node.domain, node.op_type)
            if kind in (OperatorKind.MULTIPLIES, OperatorKind.UNKNOWN):
                part.unmodelled[label] += 1
            elif not _is_bookkeeping(node):
                part.not_counted[label] += 1
            return part
        name = self._free_name(_own_name(node) or _first_output(node) or label)
        call = Call(
            name,
            node,
            self._traced,
            self._batch,
            self._tensors,
            self._consumers,
            self._producers,
        )
        try:
            layers = convert(call)
            for layer in layers:
                scaled = call.with_scales(layer, alone=len(layers) == 1)
                part.layers.append(repeated(scaled, step.times, in_turn=step.in_turn))
        except NoProductsError:
            pass
        except NotModelledError as reason:
            part.unmodelled[str(reason)] += 1
            return part
        except UnknownShapeError as missing:
            part.unmodelled[label] += 1
            origin = self._traced.origins.get(missing.tensor)
            if origin is None:
                origin = Origin(step.path, label, local_name(missing.tensor))
            self._blamed.setdefault(origin, []).append(name)
            return part
        except (ProblemError, WorkloadError, TensorError) as error:
            self._findings.add(f"{step.path} {shortened(name)} ({label})", str(error))
            return part
        if not part.layers:  # nothing to sum, or a bias is all that is left
            part.not_counted[label] += 1
        self._names.update([name, *(layer.name for layer in part.layers)])
        return part

    def _count_inside(self, node: NodeProto, part: Part) -> None:
        """List what is in graphs that nobody follows, as those of BeamSearch."""
        for _, graph in subgraphs(node):
            for inner in graph.node:
                label = label_of(inner)
                kind = kind_of(inner.domain, inner.op_type)
                if kind in (OperatorKind.NO_PRODUCTS, OperatorKind.CONTROL):
                    if not _is_bookkeeping(inner):
                        part.not_counted[label] += 1
                else:
                    part.unmodelled[label] += 1
                self._count_inside(inner, part)

    def _free_name(self, name: str) -> str:
        if name not in self._names:
            return name
        number = 2
        while f"{name}_{number}" in self._names:
            number += 1
        return f"{name}_{number}"


def _own_name(node: NodeProto) -> str:
    """What to call the layer of *node*: where it stands in the model, rather than a mere number.

    torch.onnx.export calls its nodes ``node_conv2d_1``: the weight has the module's name, and what
    has no weight of its own notes in which module it ran.
    """
    if not node.name.startswith(NUMBERED):
        return node.name
    for tensor in map(local_name, node.input[1:]):
        if tensor.endswith(WEIGHT):
            return tensor.removesuffix(WEIGHT)
    noted = [entry.value for entry in node.metadata_props if entry.key == SCOPES]
    names = re.findall(r"'([^'\\]*)'", noted[0][:LONGEST_SCOPES]) if noted else []
    return ".".join(filter(None, names[-2:])) or node.name


def _first_output(node: NodeProto) -> str:
    return local_name(next(filter(None, node.output), ""))


def _is_bookkeeping(node: NodeProto) -> bool:
    return not node.domain and node.op_type in BOOKKEEPING
