"""Widths of networks in onnxruntime's blocked layout, whose blocks are filled up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, helper, numpy_helper

from picojoule.frontends import load
from tools.counts import runtime

RANDOM = np.random.default_rng(1)


def inverted(ins: int, width: int) -> ModelProto:
    """A convolution, and two inverted residuals: wider, each channel alone, narrower."""
    weights: dict[str, np.ndarray] = {}

    def conv(
        data: str, made: str, *shape: int, groups: int = 1, act: bool = True
    ) -> list[NodeProto]:
        weights[f"{made}w"] = RANDOM.standard_normal(shape).astype(np.float32)
        pads = [shape[-1] // 2] * 4
        names, out = [data, f"{made}w"], f"{made}c" if act else made
        nodes = [helper.make_node("Conv", names, [out], group=groups, pads=pads)]
        return [*nodes, helper.make_node("Relu", [out], [made])] if act else nodes

    nodes = conv("x", "h0", ins, 3, 3, 3)
    for n in (0, 1):
        nodes += conv(f"h{n}", f"a{n}", width, ins, 1, 1)
        nodes += conv(f"a{n}", f"b{n}", width, 1, 3, 3, groups=width)
        nodes += conv(f"b{n}", f"d{n}", ins, width, 1, 1, act=False)
        nodes.append(helper.make_node("Add", [f"h{n}", f"d{n}"], [f"h{n + 1}"]))
    nodes += conv("h2", "e", 2 * width, ins, 1, 1)
    nodes.append(helper.make_node("GlobalAveragePool", ["e"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def blocked(model: ModelProto, path: Path) -> ModelProto:
    """The model as onnxruntime's optimiser writes it."""
    runtime.session_of(
        model.SerializeToString(), "ORT_ENABLE_ALL", optimized_model_filepath=str(path)
    )
    return onnx.load(path)


@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize(("ins", "width"), [(24, 72), (20, 40), (12, 36), (16, 64), (5, 33)])
def test_filled_channels_are_not_handed_on(
    ins: int, width: int, values: bool, tmp_path: Path
) -> None:
    written = blocked(inverted(ins, width), tmp_path / "net.onnx")
    macs = 64 * (27 * ins + 2 * (2 * ins * width + 9 * width) + 2 * width * ins)
    network = load(tmp_path / "net.onnx", values=values)
    assert any(node.domain == "com.microsoft.nchwc" for node in written.graph.node)
    assert network.macs == macs
    assert network.complete
    assert all(layer.density.weight == 1.0 for layer in network)


def test_without_the_weights_widths_that_nobody_says_are_those_of_blocks(tmp_path: Path) -> None:
    written = blocked(inverted(20, 44), tmp_path / "net.onnx")
    onnx.save(written, tmp_path / "away.onnx", save_as_external_data=True, size_threshold=0)
    network = load(tmp_path / "away.onnx", values=False)
    assert network.macs > load(tmp_path / "net.onnx").macs
    assert any("blocked layout" in remark for remark in network.remarks)
