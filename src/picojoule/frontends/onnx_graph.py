"""ONNX graphs as workloads.

A layer is an operator that multiplies and accumulates, of ONNX itself or of onnxruntime; which
those are stands in :mod:`operators`. A product with a constant is a layer with stored weights, a
product of two computed tensors one whose second operand is an activation. Branches, loops and
functions are followed, at any depth.

Every other operator is listed: without products in ``not_counted``; with products that no layer
stands for, or unknown, in ``unmodelled``. Not listed is what neither computes nor moves data, and
what depends on constants and shapes only and is therefore done before inference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path

from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx import ModelProto, NodeProto, TensorProto

from picojoule.errors import InputError, Mistake
from picojoule.frontends.onnx_batch import batch_of
from picojoule.frontends.onnx_control import CONTROL
from picojoule.frontends.onnx_layers import LayerBuilder
from picojoule.frontends.onnx_shapes import LARGEST_DIMENSION, subgraphs
from picojoule.frontends.onnx_tensors import TensorValues
from picojoule.frontends.onnx_trace import Sizes, trace
from picojoule.frontends.onnx_wiring import graph_of
from picojoule.frontends.products import NotABatchError
from picojoule.frontends.source_file import Findings, check_file, shortened
from picojoule.workload import Workload

# protobuf cannot hold a message of 2 GiB or more; weights of larger models are in other files.
LARGEST_MESSAGE = (1 << 31) - 1


def read_onnx(
    path: str | PathLike[str],
    *,
    name: str | None = None,
    dims: Mapping[str, int] | None = None,
    trips: Mapping[str, int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    values: bool = True,
) -> Workload:
    """Read a network from an ONNX file.

    Args:
        name: of the network; by default that of the file.
        dims: sizes of dimensions without one: by their name in the file (``{"sequence": 128}``)
            or their place (``{"input_ids[1]": 128}``). An unknown first dimension is the batch, 1.
        trips: of loops whose number is not in the file, by their name or that of their first
            output.
        shapes: of tensors that no rule tells, by their name.
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
    sizes = Sizes(dims or {}, trips or {}, shapes or {})
    return convert(model, tensors, source=fspath(path), name=name or file.stem, sizes=sizes)


def convert(
    model: ModelProto,
    tensors: TensorValues | None,
    *,
    source: str,
    name: str,
    sizes: Sizes | None = None,
) -> Workload:
    """The workload of an ONNX model in memory, which is changed on the way.

    Args:
        tensors: where to look for the values of weights; None: their density is 1.
        source: names the model in errors.

    Raises:
        InputError: as :func:`read_onnx`, or nothing in it is counted.
    """
    findings = Findings(source)
    for field in _undecoded(model, ""):
        findings.add(field, "this is not UTF-8 text")
    findings.raise_if_any()
    if not model.HasField("graph") or not model.graph.node:
        findings.add("graph", "there are no operators: this is not an ONNX model")
        raise findings.error()
    sizes = sizes or Sizes()
    _check_sizes(sizes, findings)
    findings.raise_if_any()
    for graph in [model.graph, *model.functions]:
        _name_default_domain(graph.node)
    traced = trace(model, CONTROL, sizes, findings)
    findings.raise_if_any()

    batch, remark = batch_of(model.graph, traced)
    try:
        part = LayerBuilder(traced, tensors, findings, batch).build()
    except NotABatchError:
        batch, findings = 1, Findings(source)
        remark = "one run of the graph is taken for one inference: not all of its work divides"
        part = LayerBuilder(traced, tensors, findings, batch).build()
    if not part.layers and not findings:
        findings.add("graph", _nothing(part.unmodelled, part.remarks))
    findings.raise_if_any()
    said = [remark, *traced.remarks, *part.remarks, *(tensors.remarks() if tensors else ())]
    return Workload(
        name,
        tuple(part.layers),
        batch=batch,
        not_counted=dict(sorted(part.not_counted.items())),
        source=source,
        unmodelled=dict(sorted(part.unmodelled.items())),
        remarks=tuple(dict.fromkeys(sentence for sentence in said if sentence)),
        graph=graph_of(model, traced, part.ran),
    )


def _is_size(size: object) -> bool:
    return isinstance(size, int) and 0 <= size <= LARGEST_DIMENSION


def _check_sizes(sizes: Sizes, findings: Findings) -> None:
    for what, numbers in (("dims", sizes.dims), ("trips", sizes.trips)):
        for word, size in numbers.items():
            if not _is_size(size):
                findings.add(f"{what} {shortened(word)}", f"{size!r} is not a size")
    for word, shape in sizes.shapes.items():
        if not all(map(_is_size, shape)):
            findings.add(f"shapes {shortened(word)}", f"{shape!r} is not a shape")


def _nothing(unmodelled: Mapping[str, int], remarks: Sequence[str]) -> str:
    """Why a network without layers is none."""
    if not unmodelled:
        return "no operator of it multiplies: there is nothing to estimate"
    names = ", ".join(f"{count} {label}" for label, count in sorted(unmodelled.items())[:8])
    return "; ".join([f"nothing of it is counted, though it has {names}", *remarks[:8]])


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


def _name_default_domain(nodes: Sequence[NodeProto]) -> None:
    for node in nodes:
        node.domain = _domain(node.domain)
        for _, inner in subgraphs(node):
            _name_default_domain(inner.node)
