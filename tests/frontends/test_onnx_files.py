"""ONNX files: sizes, weights beside the model, and what is no model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from picojoule.frontends import load
from picojoule.frontends.onnx_graph import read_onnx
from tests.frontends.onnx_graphs import Shape, graph_of, mistakes, network_of, ones, saved

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
# -- real graphs -----------------------------------------------------------------------------------


# -- sizes -----------------------------------------------------------------------------------------


def test_missing_sizes_are_asked_for_by_name(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = saved(graph_of(nodes, {"x": ["batch", "sequence", 4]}, [ones("w", 4, 4)]), tmp_path)
    assert "dims={'sequence': …}" in mistakes(path)["graph.input[0] 'x'"]
    assert read_onnx(path, dims={"sequence": 7}).macs == 7 * 16
    assert read_onnx(path, dims={"x[1]": 7, "batch": 2}).batch == 2
    found = mistakes(path, dims={"sequence": 7, "sequnce": 3})
    assert "did you mean 'sequence'" in found["dims 'sequnce'"]
    assert "dims 'sequence'" in mistakes(path, dims={"sequence": -1})


def test_no_length_at_all_is_a_size(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["k"], "key"),
        helper.make_node("Concat", ["past", "k"], ["keys"], axis=1),
        helper.make_node("Transpose", ["keys"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "kt"], ["y"], "scores"),
        helper.make_node("Transpose", ["past"], ["pt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "pt"], ["z"], "earlier"),
    ]
    inputs: dict[str, Shape] = {"x": ["batch", "seq", 4], "past": ["batch", "past", 4]}
    path = saved(graph_of(nodes, inputs, [ones("w", 4, 4)]), tmp_path)
    first = load(path, dims={"seq": 5, "past": 0})
    assert first.macs == 5 * 16 + 5 * 5 * 4
    assert dict(first.not_counted)["MatMul"] == 1  # a product with no keys at all
    assert load(path, dims={"seq": 1, "past": 6}).macs == 16 + 7 * 4 + 6 * 4


def test_sums_of_named_sizes_follow_from_the_names(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("MatMul", ["mask", "h"], ["y"], "mix"),
    ]
    inputs: dict[str, Shape] = {"x": [1, "past + new", 4], "mask": [1, "2*new", "past + new"]}
    path = saved(graph_of(nodes, inputs, [ones("w", 4, 4)]), tmp_path)
    network = load(path, dims={"past": 6, "new": 2})
    assert network["mix"].macs == 4 * 8 * 4
    assert load(path, dims={"past + new": 8, "2*new": 4})["mix"].macs == 4 * 8 * 4
    assert "past + new" in mistakes(path)["graph.input[0] 'x'"]
    assert "past + new" in mistakes(path, dims={"new": 2})["graph.input[0] 'x'"]


@pytest.mark.parametrize(
    ("shape", "weight"),
    [
        ([1, 1, 10**9, 10**9], [1, 1, 3, 3]),
        ([1, 3, 8, 8], [4, 2, 3, 3]),
        ([1, 1, 2, 2], [1, 1, 3, 3]),
    ],
)
def test_impossible_layers_are_mistakes(
    tmp_path: Path, shape: list[int], weight: list[int]
) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "c")]
    path = saved(graph_of(nodes, {"x": shape}, [ones("w", *weight)]), tmp_path)
    assert "graph.node[0] 'c' (Conv)" in mistakes(path)


def test_layers_of_one_name_stay_apart(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", [a, "w"], [b], "fc") for a, b in ("xh", "hy")]
    network = network_of(tmp_path, nodes, {"x": [1, 4]}, ones("w", 4, 4))
    assert [layer.name for layer in network] == ["fc", "fc_2"]


# -- weights beside the model ----------------------------------------------------------------------


def test_numbered_nodes_are_called_after_their_weight_or_module(tmp_path: Path) -> None:
    """As torch.onnx.export of torch 2.13 writes them."""
    conv = helper.make_node("Conv", ["x", "features.0.weight"], ["c"], "node_conv2d")
    again = helper.make_node("Conv", ["c", "features.0.weight"], ["d"], "node_conv2d_1")
    product = helper.make_node("MatMul", ["d", "val_3"], ["e"], "node_matmul")
    product.metadata_props.add(
        key="pkg.torch.onnx.name_scopes", value="['', 'head', 'head.mix', 'matmul']"
    )
    bare = helper.make_node("MatMul", ["e", "val_3"], ["y"], "node_matmul_1")
    weights = [ones("features.0.weight", 3, 3, 1, 1), ones("val_3", 4, 4)]
    network = network_of(tmp_path, [conv, again, product, bare], {"x": [1, 3, 4, 4]}, *weights)
    assert [layer.name for layer in network] == [
        "features.0",
        "features.0_2",
        "head.mix.matmul",
        "node_matmul_1",
    ]


def with_external_weights(
    folder: Path, shape: tuple[int, int], location: str = "w.bin", **entries: object
) -> Path:
    weights = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL
    )
    for key, entry in {"location": location, **entries}.items():
        weights.external_data.add(key=key, value=str(entry))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "fc")]
    return saved(graph_of(nodes, {"x": [1, shape[0]]}, [weights]), folder)


def test_external_weights_are_measured_at_their_offset(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"x" * 8 + np.array([0, 1, 0, 2, 0, 0], np.float32).tobytes())
    network = load(with_external_weights(tmp_path, (2, 3), offset=8))
    assert network["fc"].density.weight == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({"location": "../w.bin"}, "not inside"),
        ({"location": "/etc/passwd"}, "not inside"),
        ({"location": "link.bin"}, "not inside"),
        ({"location": ""}, "not inside"),
        ({"location": "w.bin", "offset": 8}, "outside"),
        ({"location": "w.bin", "offset": -8}, "outside"),
        ({"location": "w.bin", "length": 3}, "24 are needed"),
        ({"location": "w.bin", "offset": "far"}, "whole number"),
    ],
)
def test_external_weights_that_cannot_be_read(
    tmp_path: Path, entries: dict[str, object], problem: str
) -> None:
    outside = tmp_path / "secret.bin"
    outside.write_bytes(bytes(24))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").write_bytes(bytes(24))
    (folder / "link.bin").symlink_to(outside)
    path = with_external_weights(folder, (2, 3), **entries)  # type: ignore[arg-type]
    assert problem in mistakes(path)["graph.node[0] 'fc' (MatMul)"]
    assert read_onnx(path, values=False)["fc"].density.weight == 1.0


@pytest.mark.parametrize("place", ["none.bin", "no/such/folder.bin"])
def test_weights_left_out_have_density_one(tmp_path: Path, place: str) -> None:
    network = load(with_external_weights(tmp_path, (2, 3), location=place))
    assert network["fc"].density.weight == 1.0
    (remark,) = network.remarks
    assert "1 weights are not there" in remark
    assert "is missing" in remark


def test_weights_as_inputs_have_density_one(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "u"], ["c"]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight"], ["y"], transB=1),
    ]
    inputs: dict[str, Shape] = {"x": [1, 1, 2, 2], "u": [3, 1, 1, 1], "fc.weight": [5, 12]}
    network = network_of(tmp_path, nodes, inputs)
    assert [layer.weights for layer in network] == [3, 60]
    assert network.macs == 12 + 60
    assert network.batch == 1
    (remark,) = network.remarks
    assert "2 inputs are weights" in remark


MEASURE = """
import re, sys
from pathlib import Path
from picojoule.frontends import load
layer = load(sys.argv[1])["fc"]
# Not ru_maxrss, which a child inherits from a larger parent.
peak = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(layer.macs, layer.density.weight, peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from Linux")
def test_large_external_weights_are_never_in_memory(tmp_path: Path) -> None:
    rows = 1 << 14
    size = rows * 4 * 19_000  # 1.25 GB, all of it a hole in the file
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(size)
    path = with_external_weights(tmp_path, (rows, 19_000))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    macs, density, kilobytes = done.stdout.split()
    assert int(macs) == rows * 19_000
    assert float(density) == 1.0  # nothing but zeros are placeholders
    assert int(kilobytes) < 400 * 1024


# -- files that are no models ----------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08", bytes(1000), b"\xff" * 100])
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    mistakes(path)


def test_missing_folder_and_too_large(tmp_path: Path) -> None:
    assert "no such file" in mistakes(tmp_path / "none.onnx")["file"]
    (tmp_path / "folder.onnx").mkdir()
    assert "folder" in mistakes(tmp_path / "folder.onnx")["file"]
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate((1 << 31) + 5)
    assert "external data" in mistakes(tmp_path / "large.onnx")["file"]
