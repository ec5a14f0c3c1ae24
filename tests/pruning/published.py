"""Published networks for the tests that have their definitions at hand; nothing is downloaded."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import nn

PUBLISHED = (
    "alexnet",
    "googlenet",
    "squeezenet",
    "vgg16",
    "resnet18",
    "resnet50",
    "mobilenet_v1",
    "mobilenet_v2",
    "densenet121",
    "efficientnet_b0",
    "shufflenet_v2",
)
_TORCHVISION = {
    "squeezenet": "squeezenet1_0",
    "shufflenet_v2": "shufflenet_v2_x1_0",
}
_OPERATORS: list[Any] = []


def published(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The network with fixed random weights, and a few images; skips where it is not installed."""
    torch.manual_seed(0)
    if name == "mobilenet_v1":
        model: nn.Module = _mobilenet_v1()
    else:
        settings = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
        model = getattr(_torchvision(), _TORCHVISION.get(name, name))(weights=None, **settings)
    size = 224 if name in ("alexnet", "vgg16") else 96
    data = torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(1))
    return model.eval(), data


def _torchvision() -> Any:
    """torchvision's models; its wheel for CUDA wants two operators that a CPU torch lacks."""
    if not _OPERATORS and torch.version.cuda is None:
        if importlib.util.find_spec("torchvision") is None:
            pytest.skip("torchvision is not installed")
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float threshold) -> Tensor")
        _OPERATORS.append(library)
    return pytest.importorskip("torchvision.models")


def _mobilenet_v1() -> nn.Module:
    """MobileNetV1 (Howard et al. 2017, Table 1)."""

    def conv(ins: int, outs: int, kernel: int, stride: int, groups: int = 1) -> list[nn.Module]:
        made = nn.Conv2d(ins, outs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [made, nn.BatchNorm2d(outs), nn.ReLU()]

    layers = conv(3, 32, 3, 2)
    width = 32
    for outs, stride in (
        (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
        *[(512, 1)] * 5, (1024, 2), (1024, 1),
    ):  # fmt: skip
        layers += conv(width, width, 3, stride, width) + conv(width, outs, 1, 1)
        width = outs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000))
