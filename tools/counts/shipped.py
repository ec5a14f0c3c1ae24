"""The networks that picojoule ships, written a second time: as PyTorch modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn
from torch.nn import functional

from tools.counts.classifiers import (
    CLASSIFIERS,
    IMAGE,
    Residual,
    googlenet,
    mobilenet_v1,
    mobilenet_v2,
    squeezenet,
)
from tools.counts.sequences import Ids, bert, gpt2, vit


class _Same(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: of an odd zero, one more at the end."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads: list[int] = []
        for size, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True):
            total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            pads = [total // 2, total - total // 2, *pads]
        return super().forward(functional.pad(x, pads))


def _separable(ins: int, outs: int, stride: int = 1) -> list[nn.Module]:
    """A depthwise convolution of 3 x 3 and a pointwise one."""
    return [_Same(ins, ins, 3, stride, groups=ins), nn.ReLU(), nn.Conv2d(ins, outs, 1), nn.ReLU()]


def bvlc_alexnet() -> nn.Module:
    """Krizhevsky et al. 2012, as Caffe's authors have it: two groups in three layers."""
    pool = nn.MaxPool2d(3, 2)
    return nn.Sequential(
        nn.Conv2d(3, 96, 11, 4), nn.ReLU(), pool, nn.Conv2d(96, 256, 5, 1, 2, groups=2), nn.ReLU(),
        pool, nn.Conv2d(256, 384, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, 1, 1, groups=2), nn.ReLU(),
        nn.Conv2d(384, 256, 3, 1, 1, groups=2), nn.ReLU(), pool, nn.Flatten(),
        nn.Linear(9216, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000),
    )  # fmt: skip


def anomaly_detection() -> nn.Module:
    """MLPerf Tiny (Banbury et al. 2021): an autoencoder."""
    layers: list[nn.Module] = []
    ins = 640
    for outs in (128, 128, 128, 128, 8, 128, 128, 128, 128, 640):
        layers += [nn.Linear(ins, outs), nn.ReLU()]
        ins = outs
    return nn.Sequential(*layers)


def keyword_spotting() -> nn.Module:
    """MLPerf Tiny: DS-CNN."""
    blocks = [layer for _ in range(4) for layer in _separable(64, 64)]
    ends = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 12)]
    return nn.Sequential(_Same(1, 64, (10, 4), 2), nn.ReLU(), *blocks, *ends)


def image_classification() -> nn.Module:
    """MLPerf Tiny: ResNet-8."""
    layers: list[nn.Module] = [_Same(3, 16, 3), nn.ReLU()]
    for ins, outs, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
        body = nn.Sequential(_Same(ins, outs, 3, stride), nn.ReLU(), _Same(outs, outs, 3))
        layers.append(Residual(body, _Same(ins, outs, 1, stride) if stride > 1 else None))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def visual_wake_words() -> nn.Module:
    """MLPerf Tiny: a quarter of MobileNet v1."""
    layers: list[nn.Module] = [_Same(3, 8, 3, 2), nn.ReLU()]
    ins = 8
    for outs, stride in (
        (16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *((128, 1),) * 5, (256, 2), (256, 1),
    ):  # fmt: skip
        layers += _separable(ins, outs, stride)
        ins = outs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 2))


SHIPPED: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = MappingProxyType(
    {
        "bert-base": (lambda: bert(12, 768), Ids((1, 128))),
        "bvlc-alexnet": (bvlc_alexnet, (1, 3, 227, 227)),
        "googlenet": (googlenet, IMAGE),
        "gpt2": (gpt2, Ids((1, 1024))),
        "mlperf-tiny-ad": (anomaly_detection, (1, 640)),
        "mlperf-tiny-ic": (image_classification, (1, 3, 32, 32)),
        "mlperf-tiny-kws": (keyword_spotting, (1, 1, 50, 10)),
        "mlperf-tiny-vww": (visual_wake_words, (1, 3, 96, 96)),
        "mobilenetv1": (mobilenet_v1, IMAGE),
        "mobilenetv2": (mobilenet_v2, IMAGE),
        "resnet18": CLASSIFIERS["ResNet-18"],
        "resnet50": CLASSIFIERS["ResNet-50"],
        "squeezenet1.0": (lambda: squeezenet((4, 8), 96, 7, pad=1), (1, 3, 227, 227)),
        "squeezenet1.1": CLASSIFIERS["SqueezeNet 1.1"],
        "vgg16": CLASSIFIERS["VGG-16"],
        "vit-b16": (lambda: vit(12, 768, 16), IMAGE),
    }
)
"""Name of a shipped network -> what makes the same one, and the shape of its input."""
