"""Small ONNX files for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from picojoule.errors import InputError
from picojoule.frontends import load
from picojoule.frontends.onnx_graph import read_onnx
from picojoule.workload import Workload

MICROSOFT = "com.microsoft"
QONNX = "qonnx.custom_op.general"
DOMAINS = (MICROSOFT, "com.microsoft.nchwc", "com.ms.internal.nhwc", QONNX, "ai.onnx.ml")
Shape = Sequence[int | str | None]


def value(name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def ones(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, dtype=np.float32), name)


def graph_of(
    nodes: list[NodeProto],
    inputs: dict[str, Shape],
    weights: Sequence[TensorProto] = (),
    output: str = "y",
) -> GraphProto:
    return helper.make_graph(
        nodes,
        "g",
        [value(name, shape) for name, shape in inputs.items()],
        [value(output, None)],
        list(weights),
    )


def saved(graph: GraphProto, folder: Path, *, opset: int = 21, **rest: object) -> Path:
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(domain, 1) for domain in ("local", *DOMAINS)]
    model = helper.make_model(graph, opset_imports=opsets, **rest)
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def network_of(
    folder: Path,
    nodes: list[NodeProto],
    inputs: dict[str, Shape],
    *weights: TensorProto,
    opset: int = 21,
    **rest: object,
) -> Workload:
    path = saved(graph_of(nodes, inputs, weights), folder, opset=opset)
    return load(path, **rest)  # type: ignore[arg-type]


def mistakes(path: Path, **rest: object) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        read_onnx(path, **rest)  # type: ignore[arg-type]
    return {mistake.path: mistake.message for mistake in caught.value.mistakes}


def constant(name: str, values: object, kind: type = np.int64) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=kind), name)
