"""ONNX graphs as workloads.

A layer is an operator that multiplies and accumulates: Conv, ConvTranspose, Gemm, MatMul, Einsum
(of two operands), Attention, and their integer forms. A product with a constant is a layer with
stored weights, a product of two computed tensors one whose second operand is an activation.

Every other operator is listed in ``not_counted``, those inside If, Loop and Scan too, except

- what neither computes nor moves data: :data:`BOOKKEEPING`;
- what depends on constants and shapes only and is therefore done before inference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path

import onnx.checker
import onnx.inliner
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from picojoule.errors import InputError, Mistake
from picojoule.frontends.onnx_layers import LayerBuilder, NotABatchError, label_of
from picojoule.frontends.onnx_shapes import Traced, subgraphs, trace
from picojoule.frontends.onnx_tensors import TensorValues
from picojoule.frontends.source_file import Findings, check_file
from picojoule.workload import Workload

BOOKKEEPING = frozenset(
    [
        "Cast",
        "Constant",
        "ConstantOfShape",
        "Dropout",
        "Flatten",
        "Identity",
        "Reshape",
        "Shape",
        "Size",
        "Squeeze",
        "Unsqueeze",
    ]
)
"""Operators without arithmetic or data movement at inference. Cast is one of constants only."""

# protobuf cannot hold a message of 2 GiB or more; weights of larger models are in other files.
LARGEST_MESSAGE = (1 << 31) - 1


def read_onnx(
    path: str | PathLike[str],
    *,
    name: str | None = None,
    dims: Mapping[str, int] | None = None,
    values: bool = True,
) -> Workload:
    """Read a network from an ONNX file.

    Args:
        name: of the network; by default that of the file.
        dims: sizes of dimensions without one: by their name in the file (``{"sequence": 128}``)
            or their place (``{"input_ids[1]": 128}``). An unknown first dimension is the batch, 1.
        values: look at the weights for their density; without, it is 1.

    Raises:
        InputError: the file is no ONNX model, a size is missing, or a layer cannot exist.
    """
    file = Path(path)
    check_file(file)
    try:
        size = file.stat().st_size
        if size > LARGEST_MESSAGE:
            raise InputError(
                fspath(path),
                [
                    Mistake(
                        "file",
                        f"{size} bytes are more than protobuf can read (2 GiB): save the model "
                        "with its weights as external data",
                    )
                ],
            )
        data = file.read_bytes()
    except OSError as error:
        raise InputError(
            fspath(path), [Mistake("file", f"cannot be read: {error.strerror}")]
        ) from error
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise InputError(
            fspath(path), [Mistake("file", "this is not an ONNX model, or it is cut off")]
        ) from error
    del data
    tensors = TensorValues(file.parent) if values else None
    return convert(model, tensors, source=fspath(path), name=name or file.stem, dims=dims or {})


def convert(
    model: ModelProto,
    tensors: TensorValues | None,
    *,
    source: str,
    name: str,
    dims: Mapping[str, int],
) -> Workload:
    """The workload of an ONNX model in memory, which is changed on the way.

    Args:
        tensors: where to look for the values of weights; None: their density is 1.
        source: names the model in errors.

    Raises:
        InputError: as :func:`read_onnx`.
    """
    findings = Findings(source)
    for field in _undecoded(model, ""):
        findings.add(field, "this is not UTF-8 text")
    findings.raise_if_any()
    if not model.HasField("graph") or not model.graph.node:
        findings.add("graph", "there are no operators: this is not an ONNX model")
        raise findings.error()
    for word, size in dims.items():
        if not isinstance(size, int) or size < 1:
            findings.add(f"dims {word!r}", f"{size!r} is not a size")
    findings.raise_if_any()
    opsets = {_domain(entry.domain): entry.version for entry in model.opset_import}
    opsets.setdefault("", 1)  # models older than IR version 3 do not say
    initializers = list(model.graph.initializer)
    if model.functions:
        model = _inlined(model, findings)
    _name_default_domain(model.graph)
    traced = trace(model.graph, initializers, opsets, dims, findings)
    findings.raise_if_any()

    batch = _batch(traced)
    builder = LayerBuilder(traced, tensors, findings, batch)
    try:
        not_counted = _walk(traced, builder)
    except NotABatchError:
        batch = 1
        findings = Findings(source)
        builder = LayerBuilder(traced, tensors, findings, batch)
        not_counted = _walk(traced, builder)
    findings.raise_if_any()
    return Workload(
        name,
        tuple(builder.layers),
        batch=batch,
        not_counted=dict(sorted(not_counted.items())),
        source=source,
    )


def _undecoded(message: Message, path: str) -> Iterator[str]:
    """Paths of the texts that are not UTF-8: protobuf hands those out as bytes, unasked."""
    if isinstance(message, TensorProto):
        # Not by ListFields, which would copy the values of the weights.
        name: object = message.name  # its type is a promise protobuf does not keep
        if isinstance(name, bytes):
            yield f"{path}.name"
        for index, entry in enumerate(message.external_data):
            yield from _undecoded(entry, f"{path}.external_data[{index}]")
        return
    for field, value in message.ListFields():
        at = f"{path}.{field.name}" if path else field.name
        many = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        for index, item in enumerate(value if many else [value]):
            here = f"{at}[{index}]" if many else at
            if field.type == field.TYPE_MESSAGE:
                yield from _undecoded(item, here)
            elif field.type != field.TYPE_STRING:
                break
            elif isinstance(item, bytes):
                yield here


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _name_default_domain(graph: GraphProto) -> None:
    for node in graph.node:
        node.domain = _domain(node.domain)
        for _, inner in subgraphs(node):
            _name_default_domain(inner)


def _inlined(model: ModelProto, findings: Findings) -> ModelProto:
    """The model with its local functions written out; its weights stay out of the copy."""
    del model.graph.initializer[:]
    try:
        inlined: ModelProto = onnx.inliner.inline_local_functions(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError, DecodeError) as error:
        findings.add("functions", f"cannot be inlined: {str(error).strip()[:300]}")
        raise findings.error() from error
    return inlined


def _batch(traced: Traced) -> int:
    """How many inferences the graph makes at once: the first dimension of all its inputs.

    One, unless all inputs of two or more dimensions agree on it; layers whose work does not
    divide by it overrule it (:class:`NotABatchError`).
    """
    firsts = {shape[0] for shape in traced.graph_inputs.values() if shape and len(shape) > 1}
    return max(1, firsts.pop()) if len(firsts) == 1 else 1


def _walk(traced: Traced, builder: LayerBuilder) -> Counter[str]:
    """Build the layers in order; count the operators that are none."""
    not_counted: Counter[str] = Counter()
    for step in traced.steps:
        label = builder.add(step)
        if label is not None and not _is_bookkeeping(step.node):
            not_counted[label] += 1
        _count_inside(step.node, not_counted)
    return not_counted


def _is_bookkeeping(node: NodeProto) -> bool:
    # A Cast that is still here converts activations.
    return not node.domain and node.op_type in BOOKKEEPING and node.op_type != "Cast"


def _count_inside(node: NodeProto, not_counted: Counter[str]) -> None:
    """Operators inside If, Loop and Scan: how often they run is not known."""
    for _, graph in subgraphs(node):
        for inner in graph.node:
            if not _is_bookkeeping(inner):
                not_counted[label_of(inner)] += 1
            _count_inside(inner, not_counted)
