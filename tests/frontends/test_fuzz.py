"""Damaged files of every kind: an InputError, or a network, and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import GraphProto, TensorProto, helper, numpy_helper

from picojoule.errors import InputError
from picojoule.frontends import load
from picojoule.frontends.energy_site import parse_energy_site
from picojoule.frontends.scale_sim import parse_scale_sim
from picojoule.frontends.table import COLUMNS, parse_table
from picojoule.reports.network_table import format_table
from picojoule.workload import Workload, conv, matmul
from tests.frontends.bounded import quick

pytestmark = pytest.mark.filterwarnings("ignore")


TABLE = format_table(
    Workload(
        "net",
        (
            conv("c1", input_size=(9, 9), in_channels=4, out_channels=4, kernel=(3, 3), groups=2),
            matmul("m1", rows=3, inner=4, columns=5, heads=2),
        ),
        batch=2,
        not_counted={"Relu": 3},
        source="somewhere",
    )
).encode()
SITE = b"1,9,9,4,1,0,16,3,3,4,8,5,16,7,7,8,1,0,16,1,1,0,0,0,0\n"
CONV = b"Layer name,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,\
Strides,\na,9,9,3,3,4,4,1,\nb,9,9,3,3,4,4,2,1:4,\n"
GEMM = b"Layer,M,N,K,\na,2,3,4,\nb,2,3,4,1:2,5\n"


def _body(name: str) -> GraphProto:
    """s = relu(s), as the body of a loop or of a scan."""
    value = helper.make_tensor_value_info
    loop = [value(f"{name}i", 7, []), value(f"{name}c", 9, []), value(f"{name}s", 1, [1, 3])]
    scan = [value(f"{name}s", 1, [1, 3]), value(f"{name}r", 1, [1])]
    nodes = [helper.make_node("Relu", [f"{name}s"], [f"{name}s2"])]
    outputs = [value(f"{name}s2", 1, [1, 3])]
    if name == "l":
        nodes.append(helper.make_node("Identity", [f"{name}c"], [f"{name}c2"]))
        outputs.insert(0, value(f"{name}c2", 9, []))
    else:
        nodes.append(helper.make_node("Identity", [f"{name}r"], [f"{name}r2"]))
        outputs.append(value(f"{name}r2", 1, [1]))
    return helper.make_graph(nodes, name, loop if name == "l" else scan, outputs)


def _onnx() -> bytes:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "i"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "i"], ["u"]),
        helper.make_node("Conv", ["x", "w"], ["h"], "c", pads=[1, 1, 1, 1], auto_pad="NOTSET"),
        helper.make_node("ConvTranspose", ["h", "v"], ["g"], "t", strides=[2, 2], group=1),
        helper.make_node("Relu", ["g"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("DequantizeLinear", ["q", "sc", "z"], ["d"], axis=1),
        helper.make_node("Gemm", ["f", "d"], ["y"], "fc"),
        helper.make_node("Einsum", ["y", "y"], ["e"], equation="bi,bi->b"),
        helper.make_node(
            "If",
            ["b"],
            ["o"],
            then_branch=helper.make_graph(
                [helper.make_node("Relu", ["y"], ["p"])],
                "p",
                [],
                [helper.make_tensor_value_info("p", 1, ["k"])],
            ),
        ),
    ]
    stored = [
        numpy_helper.from_array(np.ones((2, 1, 3, 3), dtype=np.float32), "w"),
        helper.make_tensor("v", TensorProto.FLOAT, [2, 1, 2, 2], [1.0] * 8),
        numpy_helper.from_array(np.ones((64, 3), dtype=np.int8), "q"),
        numpy_helper.from_array(np.ones(3, dtype=np.float32), "sc"),
        numpy_helper.from_array(np.array([1, 0, 1], dtype=np.int8), "z"),
        numpy_helper.from_array(np.array([0], dtype=np.int64), "i"),
        numpy_helper.from_array(np.array(3, dtype=np.int64), "n1"),
        numpy_helper.from_array(np.array([2, 1, 3], dtype=np.int64), "n2"),
        numpy_helper.from_array(np.ones((5, 1), dtype=np.float32), "sc2"),
        numpy_helper.from_array(np.ones((1, 4, 3), dtype=np.float32), "W"),
        numpy_helper.from_array(np.ones((1, 4, 1), dtype=np.float32), "R"),
    ]
    external = TensorProto(name="x2", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
    external.external_data.add(key="location", value="w.bin")
    function = helper.make_function(
        "local",
        "F",
        ["a"],
        ["b"],
        [helper.make_node("Relu", ["a"], ["b"])],
        [helper.make_opsetid("", 21)],
    )
    nodes += [
        helper.make_node("F", ["y"], ["y2"], domain="local"),
        helper.make_node("MatMul", ["y2", "x2"], ["y3"]),
        helper.make_node("Loop", ["n1", "", "y"], ["l"], "loop", body=_body("l")),
        helper.make_node("Scan", ["y", "sc2"], ["t", "u"], body=_body("t"), num_scan_inputs=1),
        helper.make_node("Expand", ["y", "n2"], ["ex"]),
        helper.make_node("LSTM", ["ex", "W", "R"], ["lo"], hidden_size=1),
        helper.make_node("Attention", ["ex", "q"], ["at"], domain="com.microsoft", num_heads=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 1, 4, 4])],
        [helper.make_tensor_value_info("y3", 1, ["n"])],
        [*stored, external],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    opsets.append(helper.make_opsetid("com.microsoft", 1))
    return helper.make_model(graph, opset_imports=opsets, functions=[function]).SerializeToString()


ONNX = _onnx()


def load_bytes(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"net{suffix}"
        path.write_bytes(content)
        refused = None
        try:
            assert load(path).macs >= 0
        except InputError as error:
            refused = error
        assert refused is None or 0 < len(str(refused)) < 20_000


@st.composite
def damaged(draw: Callable[..., int], whole: bytes) -> bytes:
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        change = draw(st.integers(0, 4))
        if change == 0:
            content[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif change == 1:
            del content[at : at + draw(st.integers(1, 9))]
        elif change == 2:
            content[at:at] = content[at : at + draw(st.integers(1, 40))]
        elif change == 3:
            content[at:at] = bytes([draw(st.integers(0, 255))]) * draw(st.integers(1, 9))
        else:
            del content[at:]
    return bytes(content)


@given(content=damaged(ONNX))
@quick(400)
def test_damaged_onnx(content: bytes) -> None:
    load_bytes(content, ".onnx")


@given(content=st.one_of(damaged(TABLE), damaged(CONV), damaged(GEMM)))
@quick(300)
def test_damaged_csv(content: bytes) -> None:
    load_bytes(content, ".csv")


@given(content=damaged(SITE))
@quick(150)
def test_damaged_energy_site(content: bytes) -> None:
    load_bytes(content, ".txt")


@given(content=st.binary(max_size=200), suffix=st.sampled_from([".onnx", ".csv", ".txt"]))
@quick(150)
def test_any_bytes(content: bytes, suffix: str) -> None:
    load_bytes(content, suffix)


NASTY = st.one_of(
    st.sampled_from(
        [
            "0",
            "-1",
            "1",
            "2",
            "3",
            "1.5",
            "1e9",
            "1e99",
            "1e400",
            "-0",
            "+3",
            "nan",
            "inf",
            "-inf",
            "1_0",
            "0x10",
            "\u0661",
            "\u00bd",
            "1000000000",
            "16777216",
            "16777217",
            "999999999999999999",
            "99999999999999999999999999",
            "1:",
            "1:0",
            "2:1",
            "weight",
            "activation",
            "#",
            '"',
            "'",
            ";",
        ]
    ),
    st.integers(-5, 70).map(str),
    st.text(max_size=5),
)


def rows(width: int) -> st.SearchStrategy[str]:
    row = st.lists(NASTY, min_size=width - 1, max_size=width + 1).map(",".join)
    return st.lists(row, max_size=3).map("\n".join)


@given(text=rows(len(COLUMNS)))
@quick(150)
def test_nasty_cells_of_a_table(text: str) -> None:
    refused_or_read(parse_table, f"{','.join(COLUMNS)}\n{text}")


@given(text=rows(8))
@quick(100)
def test_nasty_cells_of_a_topology(text: str) -> None:
    refused_or_read(parse_scale_sim, CONV.decode().splitlines()[0] + "\n" + text)


@given(text=rows(25))
@quick(100)
def test_nasty_cells_of_an_energy_site_file(text: str) -> None:
    refused_or_read(parse_energy_site, text)


@given(text=st.text(max_size=200))
@quick(100)
def test_any_text(text: str) -> None:
    for parse in (parse_table, parse_scale_sim, parse_energy_site):
        refused_or_read(parse, text)


def refused_or_read(parse: Callable[..., Workload], text: str) -> None:
    refused = None
    try:
        assert len(parse(text, source="x")) > 0
    except InputError as error:
        refused = error
    assert refused is None or refused.mistakes


LISTS = ("strides", "pads", "dilations", "kernel_shape", "output_padding", "output_shape", "axes")
SIZES = st.one_of(st.integers(-2, 9), st.sampled_from([10**9, 2**31, 2**62, -(2**62)]))


@given(
    op=st.sampled_from(
        [
            "Conv",
            "ConvTranspose",
            "MatMul",
            "Gemm",
            "Einsum",
            "Attention",
            "QLinearConv",
            "ConvInteger",
            "LSTM",
            "GRU",
            "DeformConv",
            "AffineGrid",
            "com.microsoft.FusedConv",
            "com.microsoft.NhwcFusedConv",
            "com.microsoft.FusedMatMul",
            "com.microsoft.MatMulNBits",
            "com.microsoft.MatMulBnb4",
            "com.microsoft.MatMulFpQ4",
            "com.microsoft.MatMulBlockQuantizedFp8Weight",
            "com.microsoft.MatMulNBitsQLoRA",
            "com.microsoft.GatherBlockQuantized",
            "DequantizeLinear",
            "com.microsoft.Attention",
            "com.microsoft.MultiHeadAttention",
            "com.microsoft.GroupQueryAttention",
            "com.microsoft.MoE",
            "com.microsoft.QMoE",
            "com.microsoft.DynamicQuantizeLSTM",
            "com.microsoft.CDist",
            "com.microsoft.QLinearConcat",
            "com.microsoft.QLinearReduceMean",
            "com.microsoft.nchwc.Conv",
            "com.microsoft.nchwc.ReorderOutput",
            "com.ms.internal.nhwc.Conv",
        ]
    ),
    left=st.lists(SIZES, max_size=5),
    right=st.lists(SIZES, max_size=5),
    numbers=st.lists(SIZES, max_size=4),
    attribute=st.sampled_from(
        [
            "strides",
            "pads",
            "dilations",
            "group",
            "kernel_shape",
            "output_padding",
            "output_shape",
            "transA",
            "equation",
            "auto_pad",
            "q_num_heads",
            "num_heads",
            "kv_num_heads",
            "hidden_size",
            "bits",
            "block_size",
            "K",
            "N",
            "k",
            "axis",
            "axes",
            "channels",
            "transBatchA",
        ]
    ),
)
@quick(500)
def test_nasty_operators(
    op: str, left: list[int], right: list[int], numbers: list[int], attribute: str
) -> None:
    given_value = {"equation": "ij,jk->ik", "auto_pad": "SAME_LOWER"}.get(attribute, numbers)
    if attribute not in LISTS and attribute not in ("equation", "auto_pad"):
        given_value = numbers[0] if numbers else 0  # type: ignore[assignment]
    domain, _, name = op.rpartition(".")
    node = helper.make_node(name, ["x", "w", "b", "w"], ["y"], domain=domain)
    node.attribute.append(
        helper.make_attribute(attribute, given_value)
        if given_value != []
        else helper.make_attribute(attribute, "")
    )
    tensor = TensorProto(name="w", data_type=1, dims=right)
    graph = helper.make_graph(
        [
            node,
            helper.make_node("ConstantOfShape", ["s"], ["z"]),
            helper.make_node("Relu", ["y"], ["o"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", 1, left), helper.make_tensor_value_info("b", 1, left)],
        [],
        [tensor, numpy_helper.from_array(np.array([2**40], dtype=np.int64), "s")],
    )
    domains = [helper.make_opsetid(word, 1) for word in ("com.microsoft", "com.ms.internal.nhwc")]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23), *domains])
    load_bytes(model.SerializeToString(), ".onnx")
