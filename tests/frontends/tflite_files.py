"""TFLite files written for tests: a few records in, the bytes of a model out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite

from picojoule.errors import InputError

FLOAT32, FLOAT16, INT32, INT8, INT16, INT4 = 0, 1, 2, 9, 7, 17


@dataclass(frozen=True, kw_only=True)
class Tensor:
    name: str
    shape: Sequence[int]
    kind: int = FLOAT32
    data: Any = None
    signature: Sequence[int] | None = None
    zero_point: Sequence[int] | None = None
    axis: int = 0
    sparse: bool = False
    blocks: tuple[int, int, int] | None = None
    variable: bool = False


@dataclass(frozen=True, kw_only=True)
class Op:
    name: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    kind: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    custom: str = ""


@dataclass(frozen=True, kw_only=True)
class Graph:
    tensors: Sequence[Tensor]
    inputs: Sequence[int]
    outputs: Sequence[int]
    ops: Sequence[Op]


def ints(b: flatbuffers.Builder, values: Sequence[int], kind: str = "<i4") -> int:
    return int(b.CreateNumpyVector(np.asarray(values, dtype=kind)))


def tables(b: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def table(b: flatbuffers.Builder, kind: str, **fields: Any) -> int:
    """A table of the schema; texts and lists of a field are written before it."""
    made = {}
    for name, value in fields.items():
        if isinstance(value, (str, bytes)):
            value = b.CreateString(value)
        elif isinstance(value, list):
            value = ints(b, value, "<i8" if kind == "StablehloDotGeneralOptions" else "<i4")
        made[name] = value
    getattr(tflite, f"{kind}Start")(b)
    for name, value in made.items():
        getattr(tflite, f"{kind}Add{name}")(b, value)
    return int(getattr(tflite, f"{kind}End")(b))


def _tensor(b: flatbuffers.Builder, tensor: Tensor, buffer: int) -> int:
    fields: dict[str, Any] = {"Name": tensor.name, "Shape": list(tensor.shape)}
    if tensor.signature is not None:
        fields["ShapeSignature"] = list(tensor.signature)
    if tensor.blocks is not None:
        # Scales, zero points and size: BlockwiseQuantization, which the generated code lacks.
        b.StartObject(4)
        for place, number in enumerate(tensor.blocks):
            b.PrependInt32Slot(place, number, 0)
        details = b.EndObject()
        fields["Quantization"] = table(b, "QuantizationParameters", DetailsType=2, Details=details)
    elif tensor.zero_point is not None:
        points = ints(b, tensor.zero_point, "<i8")
        fields["Quantization"] = table(
            b, "QuantizationParameters", ZeroPoint=points, QuantizedDimension=tensor.axis
        )
    if tensor.sparse:
        fields["Sparsity"] = table(b, "SparsityParameters")
    return table(b, "Tensor", **fields, Type=tensor.kind, Buffer=buffer, IsVariable=tensor.variable)


def _operator(b: flatbuffers.Builder, op: Op, code: int) -> int:
    fields: dict[str, Any] = {"Inputs": list(op.inputs), "Outputs": list(op.outputs)}
    if op.kind:
        second = "2" if hasattr(tflite.BuiltinOptions2, op.kind) else ""
        numbers = tflite.BuiltinOptions2 if second else tflite.BuiltinOptions
        fields[f"BuiltinOptions{second}"] = table(b, op.kind, **op.options)
        fields[f"BuiltinOptions{second}Type"] = getattr(numbers, op.kind)
    return table(b, "Operator", **fields, OpcodeIndex=code)


def model(*graphs: Graph, signatures: dict[str, int] | None = None) -> bytes:
    """The bytes of a model whose first subgraph is the one that runs."""
    b = flatbuffers.Builder(1024)
    codes = list(dict.fromkeys((op.name, op.custom) for graph in graphs for op in graph.ops))
    buffers = [table(b, "Buffer")]
    subgraphs = []
    for graph in graphs:
        tensors = []
        for tensor in graph.tensors:
            number = 0
            if tensor.data is not None:
                raw = np.frombuffer(np.ascontiguousarray(tensor.data).tobytes(), dtype=np.uint8)
                buffers.append(table(b, "Buffer", Data=b.CreateNumpyVector(raw)))
                number = len(buffers) - 1
            tensors.append(_tensor(b, tensor, number))
        ops = [_operator(b, op, codes.index((op.name, op.custom))) for op in graph.ops]
        fields = {"Tensors": tables(b, tensors), "Operators": tables(b, ops)}
        subgraphs.append(
            table(b, "SubGraph", Inputs=list(graph.inputs), Outputs=list(graph.outputs), **fields)
        )
    entries = []
    for name, custom in codes:
        number = getattr(tflite.BuiltinOperator, name)
        texts = {"CustomCode": custom} if custom else {}
        entries.append(
            table(
                b,
                "OperatorCode",
                BuiltinCode=number,
                DeprecatedBuiltinCode=min(number, 127),
                **texts,
            )
        )
    keys = [
        table(b, "SignatureDef", SignatureKey=key, SubgraphIndex=index)
        for key, index in (signatures or {}).items()
    ]
    fields = {
        "OperatorCodes": tables(b, entries),
        "Subgraphs": tables(b, subgraphs),
        "Buffers": tables(b, buffers),
        "SignatureDefs": tables(b, keys),
    }
    b.Finish(table(b, "Model", Version=3, **fields), file_identifier=b"TFL3")
    return bytes(b.Output())


def one(op: Op, *tensors: Tensor, inputs: Sequence[int] = (0,)) -> bytes:
    """A model of one operator."""
    return model(Graph(tensors=tensors, inputs=inputs, outputs=op.outputs, ops=[op]))


def refusal(read: Any, content: bytes, **rest: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(content, **rest)
    return str(caught.value)


def number(value: int) -> np.ndarray[Any, Any]:
    return np.asarray([value], dtype=np.int32)


def stored(name: str, *shape: int, kind: int = FLOAT32, **rest: Any) -> Tensor:
    dtype = {FLOAT32: np.float32, FLOAT16: np.float16, INT8: np.int8, INT16: np.int16}[kind]
    return Tensor(name=name, shape=shape, kind=kind, data=np.ones(shape, dtype=dtype), **rest)
