"""Damaged TFLite files: an InputError or a network, in little time and memory."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytest.importorskip("tflite")

from tests.frontends.bounded import load_within_bounds, quick
from tests.frontends.test_fuzz import damaged
from tests.frontends.test_tflite import connected, in_blocks, resizable, transposed
from tests.frontends.test_tflite_control import branch, loop, lstm_file
from tests.frontends.tflite_files import INT8, INT32, Graph, Op, Tensor, model, one, stored

pytestmark = pytest.mark.filterwarnings("ignore")


def load_bytes(content: bytes, **rest: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.tflite"
        path.write_bytes(content)
        load_within_bounds(path, 20_000, **rest)


def call(number: int) -> Op:
    """The operator that runs a subgraph, from tensor 0 to tensor 1."""
    options = {"Subgraph": number}
    return Op(name="CALL", inputs=[0], outputs=[1], kind="CallOptions", options=options)


FILES = [
    connected(stored("w", 10, 32, kind=INT8, zero_point=[0] * 10)),
    in_blocks(zeros=INT8, dequantized=True),
    loop(3),
    loop(3, squared=True),
    loop(None),
    lstm_file(),
    lstm_file(both=True),
    transposed(size=5, kernel=3, stride=2, outputs=10, padding=0),
    resizable(),
    model(
        Graph(
            tensors=[Tensor(name="x", shape=(1, 32)), Tensor(name="y", shape=(1, 10))],
            inputs=[0],
            outputs=[1],
            ops=[
                call(1),
                Op(
                    name="STABLEHLO_COMPOSITE",
                    inputs=[0],
                    outputs=[1],
                    kind="StableHLOCompositeOptions",
                    options={"Name": "odml.x", "DecompositionSubgraphIndex": 1},
                ),
            ],
        ),
        branch(10),
        signatures={"a": 0, "b": 1},
    ),
]


@given(content=st.sampled_from(FILES).flatmap(damaged))
@quick(600)
def test_damaged_files(content: bytes) -> None:
    load_bytes(content)


@given(
    whole=st.sampled_from(FILES),
    at=st.floats(0, 1),
    value=st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 0x7FFF0000, 4, 8, 1000, 2**24]),
)
@quick(600)
def test_lying_offsets_and_lengths(whole: bytes, at: float, value: int) -> None:
    content = bytearray(whole)
    place = int(at * (len(content) - 4)) // 4 * 4
    content[place : place + 4] = struct.pack("<I", value)
    load_bytes(bytes(content))


@given(content=st.binary(max_size=300))
@example(content=b"\x00\x00\x00\x00TFL3" + b"\x00" * 1000)
@quick(200)
def test_anything_behind_the_identifier(content: bytes) -> None:
    load_bytes(b"\x1c\x00\x00\x00TFL3" + content)


def test_a_large_file_of_nothing_ends_soon() -> None:
    # Zeros point at themselves wherever an offset is read, and every length may be anything.
    for filler in (b"\x00", b"\x01\x00\x00\x00", b"\x04\x00\x00\x00", b"\x10\x00\x10\x00"):
        load_bytes(b"\x1c\x00\x00\x00TFL3" + filler * (8_000_000 // len(filler)))


SIZES = st.one_of(st.integers(0, 9), st.sampled_from([10**6, 2**24, 2**31 - 1]))


@given(
    name=st.sampled_from(
        [
            "CONV_2D",
            "DEPTHWISE_CONV_2D",
            "TRANSPOSE_CONV",
            "CONV_3D",
            "FULLY_CONNECTED",
            "BATCH_MATMUL",
            "SVDF",
            "UNIDIRECTIONAL_SEQUENCE_LSTM",
            "BIDIRECTIONAL_SEQUENCE_LSTM",
            "UNIDIRECTIONAL_SEQUENCE_RNN",
            "BIDIRECTIONAL_SEQUENCE_RNN",
            "LSTM",
            "RNN",
            "STABLEHLO_DOT_GENERAL",
            "IF",
            "WHILE",
            "CALL",
            "STABLEHLO_COMPOSITE",
        ]
    ),
    kind=st.sampled_from(
        [
            "",
            "Conv2DOptions",
            "DepthwiseConv2DOptions",
            "TransposeConvOptions",
            "Conv3DOptions",
            "FullyConnectedOptions",
            "UnidirectionalSequenceLSTMOptions",
            "SVDFOptions",
            "StablehloDotGeneralOptions",
            "WhileOptions",
            "IfOptions",
            "CallOptions",
            "StableHLOCompositeOptions",
        ]
    ),
    shapes=st.lists(st.lists(SIZES, max_size=5), min_size=3, max_size=6),
    inputs=st.lists(st.integers(-1, 2), max_size=18),
    options=st.lists(st.integers(0, 4), min_size=3, max_size=3),
)
@quick(400)
def test_nasty_operators(
    name: str, kind: str, shapes: list[list[int]], inputs: list[int], options: list[int]
) -> None:
    fields: dict[str, Any] = {}
    if kind.startswith(("Conv", "Depthwise", "Transpose")):
        fields = {"Padding": options[0], "StrideH": options[1], "StrideW": options[2]}
    tensors = [Tensor(name=f"t{n}", shape=shape) for n, shape in enumerate(shapes)]
    tensors[1] = Tensor(name="w", shape=shapes[1], data=np.ones(8, np.int32), kind=INT32)
    op = Op(name=name, inputs=inputs, outputs=[2], kind=kind, options=fields)
    load_bytes(one(op, *tensors))


@given(sizes=st.lists(SIZES, min_size=4, max_size=4))
@quick(150)
def test_nasty_sizes_of_inputs(sizes: list[int]) -> None:
    load_bytes(resizable(), dims={f"x[{axis}]": size for axis, size in enumerate(sizes)})


def test_subgraphs_that_call_each_other_over_and_over_end() -> None:
    def calling(number: int, times: int) -> Graph:
        return Graph(
            tensors=[Tensor(name="x", shape=(1, 32)), Tensor(name="y", shape=(1, 10))],
            inputs=[0],
            outputs=[1],
            ops=[call(number)] * times,
        )

    # 2 ** 30 runs of the last one.
    load_bytes(model(*(calling(number + 1, 2) for number in range(30)), branch(10)))
