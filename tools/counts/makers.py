"""Networks that make, segment or detect, of images, video and points, written from their papers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType

import torch
from torch import nn
from torch.nn import functional

from tools.counts.classifiers import IMAGE, Beside, Residual, head, resnet, unit


class UNet(nn.Module):
    """Ronneberger et al. 2015, Figure 1, with padded convolutions."""

    def __init__(self, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        sizes = [width << n for n in range(depth + 1)]
        self.down = nn.ModuleList(
            self._pair(a, b) for a, b in zip([3, *sizes], sizes, strict=False)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * a, a, 2, 2) for a in sizes[-2::-1])
        self.merge = nn.ModuleList(self._pair(2 * a, a) for a in sizes[-2::-1])
        self.last = nn.Conv2d(width, 2, 1)

    @staticmethod
    def _pair(ins: int, outs: int) -> nn.Module:
        return nn.Sequential(unit(ins, outs, 3), unit(outs, outs, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for number, pair in enumerate(self.down):
            x = pair(functional.max_pool2d(x, 2) if number else x)
            kept.append(x)
        for up, merge, skipped in zip(self.up, self.merge, kept[-2::-1], strict=True):
            x = merge(torch.cat([skipped, up(x)], 1))
        return self.last(x)


class _Resized(nn.Module):
    """What a network computes, at the size of its input."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.parts(x)
        return functional.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)


class _Pooled(nn.Module):
    """The image's mean, through a convolution, everywhere (Chen et al. 2017)."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(ins, outs, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.conv(x.mean((2, 3), keepdim=True))).expand(-1, -1, *x.shape[2:])


def _features(*counts: int) -> nn.Module:
    """A ResNet without its head."""
    whole = resnet(counts, bottleneck=False)
    assert isinstance(whole, nn.Sequential)
    return whole[0]


def deeplab() -> nn.Module:
    """Chen et al. 2017: atrous spatial pyramid pooling, on ResNet-18."""
    branches = [nn.Conv2d(512, 128, 1, bias=False), _Pooled(512, 128)]
    branches += [nn.Conv2d(512, 128, 3, padding=r, dilation=r, bias=False) for r in (6, 12, 18)]
    return _Resized(
        _features(2, 2, 2, 2), Beside(*branches), unit(640, 128, 1), nn.Conv2d(128, 21, 1)
    )


class FeaturePyramid(nn.Module):
    """Lin et al. 2017: RetinaNet's head, shared over the levels, on ResNet-18."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        parts = list(_features(2, 2, 2, 2).children())  # two of the stem, two for each block
        cuts = (0, 6, 10, 14, len(parts))
        self.stages = nn.ModuleList(nn.Sequential(*parts[a:b]) for a, b in pairwise(cuts))
        self.lateral = nn.ModuleList(nn.Conv2d(n, width, 1) for n in (128, 256, 512))
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.boxes = nn.Sequential(unit(width, width, 3), nn.Conv2d(width, 36, 3, padding=1))
        self.classes = nn.Sequential(unit(width, width, 3), nn.Conv2d(width, 720, 3, padding=1))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        levels = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number:
                levels.append(self.lateral[number - 1](x))
        for number in (1, 0):
            levels[number] = levels[number] + functional.interpolate(
                levels[number + 1], scale_factor=2.0
            )
        smooth = [conv(level) for conv, level in zip(self.smooth, levels, strict=True)]
        return [part(level) for level in smooth for part in (self.boxes, self.classes)]


def tiny_yolo() -> nn.Module:
    """Redmon and Farhadi 2016: the tiny network of YOLO v2, for the 20 classes of VOC."""
    leaky = lambda: nn.LeakyReLU(0.1)  # noqa: E731
    layers: list[nn.Module] = []
    ins = 3
    for outs in (16, 32, 64, 128, 256):
        layers += [unit(ins, outs, 3, act=leaky), nn.MaxPool2d(2)]
        ins = outs
    return nn.Sequential(
        *layers, unit(256, 512, 3, act=leaky), nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1),
        unit(512, 1024, 3, act=leaky), unit(1024, 1024, 3, act=leaky), nn.Conv2d(1024, 125, 1),
    )  # fmt: skip


def dcgan_generator() -> nn.Module:
    """Radford et al. 2015, Figure 1."""
    layers: list[nn.Module] = [nn.ConvTranspose2d(100, 1024, 4, bias=False)]
    for ins, outs in ((1024, 512), (512, 256), (256, 128)):
        layers += [
            nn.BatchNorm2d(ins),
            nn.ReLU(),
            nn.ConvTranspose2d(ins, outs, 4, 2, 1, bias=False),
        ]
    return nn.Sequential(
        *layers, nn.BatchNorm2d(128), nn.ReLU(), nn.ConvTranspose2d(128, 3, 4, 2, 1), nn.Tanh()
    )


def dcgan_critic() -> nn.Module:
    """Radford et al. 2015: the other half."""
    layers: list[nn.Module] = []
    for ins, outs in ((3, 128), (128, 256), (256, 512), (512, 1024)):
        layers += [nn.Conv2d(ins, outs, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(1024, 1, 4), nn.Sigmoid())


def cyclegan() -> nn.Module:
    """Zhu et al. 2017, with six residual blocks (Johnson et al. 2016)."""

    def block() -> nn.Module:
        pad, norm = nn.ReflectionPad2d(1), nn.InstanceNorm2d(128)
        return Residual(
            nn.Sequential(
                pad, nn.Conv2d(128, 128, 3), norm, nn.ReLU(), pad, nn.Conv2d(128, 128, 3), norm
            )
        )

    return nn.Sequential(
        nn.ReflectionPad2d(3), nn.Conv2d(3, 32, 7), nn.ReLU(),
        nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(64, 128, 3, 2, 1), nn.ReLU(), *(block() for _ in range(6)),
        nn.ConvTranspose2d(128, 64, 3, 2, 1, 1), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 3, 2, 1, 1), nn.ReLU(),
        nn.ReflectionPad2d(3), nn.Conv2d(32, 3, 7),
    )  # fmt: skip


def srcnn() -> nn.Module:
    """Dong et al. 2014."""
    return nn.Sequential(
        nn.Upsample(scale_factor=3.0, mode="bicubic"), nn.Conv2d(1, 64, 9, padding=4), nn.ReLU(),
        nn.Conv2d(64, 32, 1), nn.ReLU(), nn.Conv2d(32, 1, 5, padding=2),
    )  # fmt: skip


def espcn() -> nn.Module:
    """Shi et al. 2016: sub-pixel convolution."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1), nn.Tanh(),
        nn.Conv2d(32, 9, 3, padding=1), nn.PixelShuffle(3),
    )  # fmt: skip


class Autoencoder(nn.Module):
    """Kingma and Welling 2013, with convolutions."""

    def __init__(self, latent: int = 20) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.mean, self.scale = nn.Linear(3136, latent), nn.Linear(3136, latent)
        self.inward = nn.Linear(latent, 3136)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.encoder(x)
        z = self.mean(x) + torch.exp(0.5 * self.scale(x))
        return self.decoder(self.inward(z).view(-1, 64, 7, 7))


def c3d() -> nn.Module:
    """Tran et al. 2014, Figure 3, with a head of one layer."""
    layers: list[nn.Module] = []
    ins = 3
    for outs, count, pool in (
        (64, 1, (1, 2, 2)),
        (128, 1, 2),
        (256, 2, 2),
        (512, 2, 2),
        (512, 2, 2),
    ):
        for _ in range(count):
            layers += [nn.Conv3d(ins, outs, 3, padding=1), nn.ReLU()]
            ins = outs
        layers.append(nn.MaxPool3d(pool))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 9, 101))


def _apart(ins: int, outs: int, stride: int = 1) -> nn.Module:
    """Space first, then time, with as many weights as 3 x 3 x 3 (Tran et al. 2017, eq. 1)."""
    middle = 27 * ins * outs // (9 * ins + 3 * outs)
    return nn.Sequential(
        nn.Conv3d(ins, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False), nn.ReLU(),
        nn.Conv3d(middle, outs, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
    )  # fmt: skip


def r2plus1d() -> nn.Module:
    """Tran et al. 2017: the blocks of R(2+1)D, one of each width."""
    layers: list[nn.Module] = [nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)]
    layers += [nn.ReLU(), nn.Conv3d(45, 64, (3, 1, 1), padding=(1, 0, 0), bias=False), nn.ReLU()]
    ins = 64
    for outs, stride in ((64, 1), (128, 2), (256, 2)):
        body = nn.Sequential(_apart(ins, outs, stride), nn.ReLU(), _apart(outs, outs))
        shortcut = nn.Conv3d(ins, outs, 1, stride, bias=False) if stride > 1 else None
        layers += [Residual(body, shortcut), nn.ReLU()]
        ins = outs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(256, 400))


class PointNet(nn.Module):
    """Qi et al. 2016, Figure 2: classification, with its first transform."""

    def __init__(self) -> None:
        super().__init__()
        self.local = self._mlp(3, 64, 128, 1024)
        self.turn = nn.Sequential(nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 9))
        self.features = self._mlp(3, 64, 64, 64, 128, 1024)
        self.last = nn.Sequential(nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 40))

    @staticmethod
    def _mlp(*widths: int) -> nn.Module:
        parts: list[nn.Module] = []
        for ins, outs in pairwise(widths):
            parts += [nn.Conv1d(ins, outs, 1), nn.ReLU()]
        return nn.Sequential(*parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        turn = self.turn(self.local(x).amax(2)).view(-1, 3, 3)
        return self.last(self.features(turn @ x).amax(2))


class Graph(nn.Module):
    """Kipf and Welling 2016: two graph convolutions over a dense graph."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1433, 16, bias=False), nn.Linear(16, 7, bias=False)

    def forward(self, x: torch.Tensor, adjacent: torch.Tensor) -> torch.Tensor:
        return adjacent @ self.second(functional.relu(adjacent @ self.first(x)))


class Capsules(nn.Module):
    """Sabour et al. 2017, with two rounds of routing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.primary = nn.Conv2d(1, 256, 9), nn.Conv2d(256, 256, 9, 2)
        self.weight = nn.Parameter(torch.zeros(1152, 10, 16, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.primary(functional.relu(self.conv(x))).reshape(-1, 1152, 8)
        votes = torch.einsum("icoj,bij->bico", self.weight, x)
        logits = torch.zeros_like(votes[..., 0])
        for _ in range(2):
            found = torch.einsum("bic,bico->bco", logits.softmax(2), votes)
            logits = logits + torch.einsum("bico,bco->bic", votes, torch.tanh(found))
        return found


class Field(nn.Module):
    """Mildenhall et al. 2020: NeRF's network, Figure 7."""

    def __init__(self) -> None:
        super().__init__()
        ins = (60, 256, 256, 256, 256, 316, 256, 256)
        self.body = nn.ModuleList(nn.Linear(n, 256) for n in ins)
        self.density, self.feature = nn.Linear(256, 1), nn.Linear(256, 256)
        self.view, self.colour = nn.Linear(280, 128), nn.Linear(128, 3)

    def forward(self, place: torch.Tensor, view: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = place
        for number, layer in enumerate(self.body):
            x = functional.relu(layer(torch.cat([place, x], -1) if number == 5 else x))
        colour = functional.relu(self.view(torch.cat([self.feature(x), view], -1)))
        return self.density(x), self.colour(colour)


def deep_q() -> nn.Module:
    """Mnih et al. 2015: the network of DQN."""
    return nn.Sequential(
        nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(),
        nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(),
        nn.Linear(512, 18),
    )  # fmt: skip


def cifar_resnet() -> nn.Module:
    """He et al. 2015, section 4.2: ResNet-20 for CIFAR-10."""
    layers: list[nn.Module] = [unit(3, 16, 3)]
    ins = 16
    for outs in (16, 32, 64):
        for number in range(3):
            stride = 2 if outs > 16 and not number else 1
            shortcut = unit(ins, outs, 1, stride, act=None) if ins != outs else None
            body = nn.Sequential(unit(ins, outs, 3, stride), unit(outs, outs, 3, act=None))
            layers += [Residual(body, shortcut), nn.ReLU()]
            ins = outs
    return head(nn.Sequential(*layers), 64, 10)


Maker = tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]
MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        "ResNet-20": (cifar_resnet, ((1, 3, 32, 32),)),
        "U-Net": (UNet, ((1, 3, 128, 128),)),
        "DeepLab v3 head on ResNet-18": (deeplab, (IMAGE,)),
        "RetinaNet head on ResNet-18": (FeaturePyramid, (IMAGE,)),
        "Tiny YOLO v2": (tiny_yolo, ((1, 3, 416, 416),)),
        "DCGAN, generator": (dcgan_generator, ((1, 100, 1, 1),)),
        "DCGAN, critic": (dcgan_critic, ((1, 3, 64, 64),)),
        "CycleGAN": (cyclegan, ((1, 3, 128, 128),)),
        "SRCNN": (srcnn, ((1, 1, 32, 32),)),
        "ESPCN": (espcn, ((1, 1, 32, 32),)),
        "Variational autoencoder": (Autoencoder, ((1, 1, 28, 28),)),
        "C3D": (c3d, ((1, 3, 16, 112, 112),)),
        "R(2+1)D": (r2plus1d, ((1, 3, 8, 56, 56),)),
        "PointNet": (PointNet, ((1, 3, 1024),)),
        "Graph convolutions on Cora": (Graph, ((2708, 1433), (2708, 2708))),
        "Capsules": (Capsules, ((1, 1, 28, 28),)),
        "NeRF, 4096 points": (Field, ((4096, 60), (4096, 24))),
        "DQN": (deep_q, ((1, 4, 84, 84),)),
    }
)
"""Name -> what makes the network, and the shapes of its inputs."""
