"""Networks over words, sounds and patches, written from their papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Attention(nn.Module):
    """Heads over a sequence, its own or another's (Vaswani et al. 2017).

    Args:
        kv: heads of keys and values, each shared by a group of queries (Ainslie et al. 2023).
        spelled: products and softmax one by one, as in most code before 2023.
    """

    def __init__(
        self, width: int, heads: int, kv: int | None = None, *, bias: bool = True,
        causal: bool = False, spelled: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads, self.kv, self.head = heads, kv or heads, width // heads
        self.causal, self.spelled = causal, spelled
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, self.kv * self.head, bias=bias)
        self.value = nn.Linear(width, self.kv * self.head, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        other = x if other is None else other
        query = self.query(x).unflatten(-1, (self.heads, self.head)).transpose(1, 2)
        key, value = (
            part(other).unflatten(-1, (self.kv, self.head)).transpose(1, 2)
            for part in (self.key, self.value)
        )
        if self.kv < self.heads:
            key, value = (y.repeat_interleave(self.heads // self.kv, 1) for y in (key, value))
        if self.spelled:
            scores = query @ key.transpose(-1, -2) / math.sqrt(self.head)
            y = scores.softmax(-1) @ value
        else:
            y = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and a feed-forward network, each with its shortcut.

    Args:
        crossed: a second attention, over another sequence.
        last: norms stand after the shortcuts, as in 2017.
    """

    def __init__(
        self, width: int, heads: int, inner: int, *, crossed: bool = False, last: bool = False,
        **attention: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.own = Attention(width, heads, **attention)
        self.crossed = Attention(width, heads) if crossed else None
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.last = last

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        if self.last:
            x = self.norms[0](x + self.own(x))
            return self.norms[1](x + self.down(functional.gelu(self.up(x))))
        x = x + self.own(self.norms[0](x))
        if self.crossed is not None:
            x = x + self.crossed(self.norms[2](x), other)
        return x + self.down(functional.gelu(self.up(self.norms[1](x))))


class First(nn.Module):
    """The first of a sequence."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0]


def bert(layers: int, width: int) -> nn.Module:
    """Devlin et al. 2018, with its pooled output: attention spelled out."""
    blocks = [Block(width, width // 64, 4 * width, last=True, spelled=True) for _ in range(layers)]
    ends = [First(), nn.Linear(width, width), nn.Tanh()]
    return nn.Sequential(nn.Embedding(30522, width), nn.LayerNorm(width), *blocks, *ends)


def gpt2() -> nn.Module:
    """Radford et al. 2019: the small one."""
    blocks = [Block(768, 12, 3072, causal=True) for _ in range(12)]
    return nn.Sequential(
        nn.Embedding(50257, 768), *blocks, nn.LayerNorm(768), nn.Linear(768, 50257, bias=False)
    )


class Gated(nn.Module):
    """A block of Llama (Touvron et al. 2023): grouped queries, a gated feed-forward network."""

    def __init__(self, width: int, heads: int, kv: int, inner: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads, kv, bias=False, causal=True)
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.gate, self.up = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        y = self.norm2(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


def llama(layers: int, width: int, heads: int, kv: int, inner: int, words: int) -> nn.Module:
    """A language model of such blocks."""
    blocks = [Gated(width, heads, kv, inner) for _ in range(layers)]
    return nn.Sequential(
        nn.Embedding(words, width), *blocks, nn.RMSNorm(width), nn.Linear(width, words, bias=False)
    )


class Patches(nn.Module):
    """An image as a sequence of patches behind one token (Dosovitskiy et al. 2020)."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(x), -1, -1), x], 1)


def vit(layers: int, width: int, patch: int, classes: int = 1000) -> nn.Module:
    """Dosovitskiy et al. 2020; Touvron et al. 2020."""
    blocks = [Block(width, width // 64, 4 * width) for _ in range(layers)]
    ends = [nn.LayerNorm(width), First(), nn.Linear(width, classes)]
    return nn.Sequential(Patches(width, patch), *blocks, *ends)


class _Window(nn.Module):
    """Attention within windows, every second time of a rolled image (Liu et al. 2021)."""

    def __init__(self, width: int, heads: int, size: int = 7, shift: int = 0) -> None:
        super().__init__()
        self.block = Block(width, heads, 4 * width)
        self.size, self.shift = size, shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        images, height, width, channels = x.shape
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        rows, columns = height // self.size, width // self.size
        x = x.view(images, rows, self.size, columns, self.size, channels).transpose(2, 3)
        x = self.block(x.reshape(-1, self.size**2, channels))
        x = x.view(images, rows, columns, self.size, self.size, channels).transpose(2, 3)
        x = x.reshape(images, height, width, channels)
        return x.roll((self.shift, self.shift), (1, 2)) if self.shift else x


class _Merge(nn.Module):
    """Four neighbours become one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [x[:, a::2, b::2] for a in (0, 1) for b in (0, 1)]
        return self.linear(torch.cat(parts, -1))


class Swin(nn.Module):
    """Liu et al. 2021: T, with its windows unmasked."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage, count in enumerate((2, 2, 6, 2)):
            width = 96 << stage
            if stage:
                layers.append(_Merge(width // 2))
            for number in range(count):
                shift = 3 * (number % 2) if stage < 3 else 0
                layers.append(_Window(width, 3 << stage, shift=shift))
        self.patches, self.body = nn.Conv2d(3, 96, 4, 4), nn.Sequential(*layers)
        self.head = nn.Linear(768, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.patches(x).permute(0, 2, 3, 1)).mean((1, 2)))


class _Mixing(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(tokens, 256), nn.GELU(), nn.Linear(256, tokens))
        self.channels = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


def mixer() -> nn.Module:
    """Tolstikhin et al. 2021: S/16, with a token more."""
    return nn.Sequential(
        Patches(512, 16), *(_Mixing(197, 512) for _ in range(8)), First(), nn.Linear(512, 1000)
    )


class Translator(nn.Module):
    """An encoder and a decoder that looks at it: T5 (Raffel et al. 2019), Whisper (2022)."""

    def __init__(
        self, layers: int, width: int, heads: int, inner: int, inward: nn.Module, words: int
    ) -> None:
        super().__init__()
        self.inward, self.embedding = inward, nn.Embedding(words, width)
        self.encoder = nn.ModuleList(Block(width, heads, inner) for _ in range(layers))
        self.decoder = nn.ModuleList(
            Block(width, heads, inner, crossed=True, causal=True) for _ in range(layers)
        )
        self.head = nn.Linear(width, words, bias=False)

    def forward(self, x: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        x, y = self.inward(x), self.embedding(said)
        for block in self.encoder:
            x = block(x)
        for block in self.decoder:
            y = block(y, x)
        return self.head(y)


class _Sound(nn.Module):
    """Mel bands to vectors, two steps to one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(80, width, 3, padding=1)
        self.second = nn.Conv1d(width, width, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.gelu(self.second(functional.gelu(self.first(x)))).transpose(1, 2)


def whisper() -> nn.Module:
    """Radford et al. 2022: tiny."""
    return Translator(4, 384, 6, 1536, _Sound(384), 51865)


def t5() -> nn.Module:
    """Raffel et al. 2019: small."""
    return Translator(6, 512, 8, 2048, nn.Embedding(32128, 512), 32128)


class Clip(nn.Module):
    """Radford et al. 2021: similarities of images and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.image = vit(12, 768, 32, 512)
        self.text = nn.Sequential(
            nn.Embedding(49408, 512), *(Block(512, 8, 2048, causal=True) for _ in range(12)),
            First(), nn.Linear(512, 512, bias=False),
        )  # fmt: skip

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return (
            functional.normalize(self.image(image), dim=-1)
            @ functional.normalize(self.text(text), dim=-1).T
        )


class Perceiver(nn.Module):
    """Jaegle et al. 2021: a few latent vectors, handed in, read a long input, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inward = nn.Linear(64, 128)
        self.read = nn.ModuleList(Attention(128, 4) for _ in range(2))
        self.think = nn.ModuleList(Block(128, 4, 512) for _ in range(2))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x = self.inward(x)
        for read, think in zip(self.read, self.think, strict=True):
            y = think(y + read(y, x))
        return y


class _Dilated(nn.Module):
    """van den Oord et al. 2016, Figure 4."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.gate = nn.Conv1d(width, 2 * width, 2, dilation=dilation)
        self.out, self.skip = nn.Conv1d(width, width, 1), nn.Conv1d(width, 2 * width, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = self.gate(functional.pad(x, (self.dilation, 0))).chunk(2, 1)
        y = torch.tanh(a) * torch.sigmoid(b)
        return x + self.out(y), self.skip(y)


class WaveNet(nn.Module):
    """van den Oord et al. 2016: two stacks of ten."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.inward = nn.Conv1d(256, width, 1)
        self.layers = nn.ModuleList(_Dilated(width, 1 << n) for n in [*range(10)] * 2)
        self.last = nn.Sequential(
            nn.ReLU(), nn.Conv1d(2 * width, 2 * width, 1), nn.ReLU(), nn.Conv1d(2 * width, 256, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, skipped = self.inward(x), 0
        for layer in self.layers:
            x, skip = layer(x)
            skipped = skipped + skip
        return self.last(skipped)


class Conformer(nn.Module):
    """Gulati et al. 2020: one block."""

    def __init__(self, width: int = 144) -> None:
        super().__init__()
        self.feed = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width),
                nn.SiLU(),
                nn.Linear(4 * width, width),
            )
            for _ in range(2)
        )
        self.attention = Attention(width, 4)
        self.inward = nn.Conv1d(width, 2 * width, 1)
        self.mix = nn.Conv1d(width, width, 31, padding=15, groups=width)
        self.norm, self.outward = nn.BatchNorm1d(width), nn.Conv1d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + 0.5 * self.feed[0](x)
        x = x + self.attention(x)
        y = functional.glu(self.inward(x.transpose(1, 2)), 1)
        x = x + self.outward(functional.silu(self.norm(self.mix(y)))).transpose(1, 2)
        return x + 0.5 * self.feed[1](x)


def wav2vec() -> nn.Module:
    """Baevski et al. 2020: the encoder of its features, over half a second."""
    layers: list[nn.Module] = []
    ins = 1
    for kernel, stride in ((10, 5), *((3, 2),) * 4, *((2, 2),) * 2):
        layers += [nn.Conv1d(ins, 512, kernel, stride, bias=False), nn.GroupNorm(1, 512), nn.GELU()]
        ins = 512
    return nn.Sequential(*layers)


class TextCnn(nn.Module):
    """Kim 2014."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20000, 300)
        self.convs = nn.ModuleList(nn.Conv1d(300, 100, k) for k in (3, 4, 5))
        self.last = nn.Linear(300, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.embedding(x).transpose(1, 2)
        return self.last(torch.cat([functional.relu(conv(y)).amax(2) for conv in self.convs], 1))


class Recommender(nn.Module):
    """Naumov et al. 2019: DLRM, features multiplied with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Sequential(
            nn.Linear(13, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 64)
        )
        self.tables = nn.ModuleList(nn.EmbeddingBag(1000, 64) for _ in range(26))
        self.top = nn.Sequential(nn.Linear(64 + 27 * 27, 256), nn.ReLU(), nn.Linear(256, 1))

    def forward(self, dense: torch.Tensor, *chosen: torch.Tensor) -> torch.Tensor:
        x = self.dense(dense)
        rows = torch.stack([x, *(t(c) for t, c in zip(self.tables, chosen, strict=True))], 1)
        return self.top(torch.cat([x, torch.bmm(rows, rows.transpose(1, 2)).flatten(1)], 1))


class Words(nn.Module):
    """A language model, or a tagger, on a recurrent network."""

    def __init__(self, body: nn.Module, words: int, width: int, outputs: int, inner: int) -> None:
        super().__init__()
        self.embedding, self.body = nn.Embedding(words, width), body
        self.last = nn.Linear(inner, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.body(self.embedding(x))[0])


class DeepSpeech(nn.Module):
    """Amodei et al. 2015: convolutions over the spectrum, recurrent layers both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(1, 32, (41, 11), (2, 2), (20, 5), bias=False), nn.Hardtanh(0, 20),
            nn.Conv2d(32, 32, (21, 11), (2, 1), (10, 5), bias=False), nn.Hardtanh(0, 20),
        )  # fmt: skip
        self.body = nn.GRU(32 * 41, 200, 2, batch_first=True, bidirectional=True)
        self.last = nn.Linear(400, 29)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.body(self.convs(x).flatten(1, 2).transpose(1, 2))[0])


class Ids(tuple[int, ...]):
    """The shape of an input of whole numbers."""


Made = tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]
IMAGE = (1, 3, 224, 224)
LSTM: dict[str, Any] = {"batch_first": True}
SEQUENCES: Mapping[str, Made] = MappingProxyType(
    {
        "BERT-base, 128 words": (lambda: bert(12, 768), (Ids((1, 128)),)),
        "DistilBERT, 64 words": (lambda: bert(6, 768), (Ids((1, 64)),)),
        "MiniLM, 32 words": (lambda: bert(6, 384), (Ids((1, 32)),)),
        "GPT-2, 64 words": (gpt2, (Ids((1, 64)),)),
        "TinyLlama, 32 words": (lambda: llama(22, 2048, 32, 4, 5632, 32000), (Ids((1, 32)),)),
        "SmolLM 135M, 48 words": (lambda: llama(30, 576, 9, 3, 1536, 49152), (Ids((1, 48)),)),
        "T5-small, 40 words to 30": (t5, (Ids((1, 40)), Ids((1, 30)))),
        "ViT-B/16": (lambda: vit(12, 768, 16), (IMAGE,)),
        "DeiT-Ti": (lambda: vit(12, 192, 16), (IMAGE,)),
        "Swin-T": (Swin, (IMAGE,)),
        "MLP-Mixer S/16": (mixer, (IMAGE,)),
        "CLIP, one image and 3 texts": (Clip, (IMAGE, Ids((3, 77)))),
        "Perceiver": (Perceiver, ((1, 1024, 64), (1, 64, 128))),
        "Whisper tiny, 2 seconds": (whisper, ((1, 80, 200), Ids((1, 12)))),
        "WaveNet": (WaveNet, ((1, 256, 400),)),
        "Conformer block": (Conformer, ((1, 100, 144),)),
        "wav2vec 2.0, features": (wav2vec, ((1, 1, 8000),)),
        "TextCNN": (TextCnn, (Ids((1, 56)),)),
        "DLRM": (Recommender, ((4, 13), *(Ids((4, 2)),) * 26)),
        "LSTM language model": (
            lambda: Words(nn.LSTM(650, 650, 2, **LSTM), 10000, 650, 10000, 650),
            (Ids((1, 35)),),
        ),
        "BiLSTM tagger": (
            lambda: Words(nn.LSTM(100, 128, bidirectional=True, **LSTM), 5000, 100, 17, 256),
            (Ids((1, 24)),),
        ),
        "Elman network": (lambda: Words(nn.RNN(64, 96, **LSTM), 500, 64, 500, 96), (Ids((1, 20)),)),
        "Deep Speech 2": (DeepSpeech, ((1, 1, 161, 100),)),
    }
)
"""Name -> what makes the network, and the shapes of its inputs."""
