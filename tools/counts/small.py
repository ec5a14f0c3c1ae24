"""Small PyTorch networks and single operators, of every kind that has products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Function(nn.Module):
    """A function of the inputs and of one weight."""

    def __init__(self, function: Callable[..., Any], *shape: int) -> None:
        super().__init__()
        self.function = function
        self.w = nn.Parameter(torch.randn(shape or (8, 8)))

    def forward(self, *inputs: Any) -> Any:
        return self.function(self.w, *inputs)


class Bottleneck(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 4, 3, 2, 1, groups=2)
        self.c, self.d = nn.Conv2d(4, 16, 1), nn.Conv2d(16, 16, 1, 2)
        self.n = nn.BatchNorm2d(16)

    def forward(self, x: Any) -> Any:
        return torch.relu(self.n(self.c(torch.relu(self.b(self.a(x))))) + self.d(x))


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.ConvTranspose2d(10, 8, 4, bias=False),
            nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False),
            nn.ConvTranspose2d(4, 3, 3, 2, 1, 1),
        )

    def forward(self, x: Any) -> Any:
        return self.up(x)


class Decoder(nn.Module):
    """A block of a language model: grouped-query attention and a gated feed-forward network."""

    def __init__(self, width: int = 32, heads: int = 4, kv: int = 2) -> None:
        super().__init__()
        self.heads, self.kv, self.head = heads, kv, width // heads
        self.q = nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(width, kv * self.head, bias=False) for _ in range(2))
        self.o = nn.Linear(width, width, bias=False)
        self.gate, self.up = (nn.Linear(width, 3 * width, bias=False) for _ in range(2))
        self.down = nn.Linear(3 * width, width, bias=False)
        self.norm = nn.RMSNorm(width)

    def forward(self, x: Any) -> Any:
        b, t, _ = x.shape
        h = self.norm(x)
        q = self.q(h).view(b, t, self.heads, self.head).transpose(1, 2)
        k, v = (part(h).view(b, t, self.kv, self.head).transpose(1, 2) for part in (self.k, self.v))
        k, v = (part.repeat_interleave(self.heads // self.kv, 1) for part in (k, v))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(b, t, -1))
        return x + self.down(functional.silu(self.gate(x)) * self.up(x))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.channels = nn.Linear(9, 9), nn.Linear(6, 6)

    def forward(self, x: Any) -> Any:
        x = x + self.tokens(x.transpose(1, 2)).transpose(1, 2)
        return x + self.channels(x)


class Squeeze(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(4, 8, 3), nn.Linear(8, 2), nn.Linear(2, 8)

    def forward(self, x: Any) -> Any:
        x = self.conv(x)
        weight = torch.sigmoid(self.two(torch.relu(self.one(x.mean((2, 3))))))
        return x * weight[..., None, None]


def frozen(module: Any) -> Any:
    return module.eval().requires_grad_(False)


R = torch.randn
COUNTED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "mlp": (nn.Sequential(nn.Linear(20, 30), nn.GELU(), nn.Linear(30, 10)), (R(3, 20),)),
    "lenet": (
        nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 10),
        ),
        (R(1, 1, 28, 28),),
    ),
    "bottleneck": (Bottleneck(), (R(2, 16, 8, 8),)),
    "separable": (
        nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, dilation=2), nn.Conv2d(8, 12, 1)),
        (R(1, 8, 14, 14),),
    ),
    "squeeze and excitation": (Squeeze(), (R(2, 4, 7, 7),)),
    "generator": (Generator(), (R(1, 10, 1, 1),)),
    "wave": (
        nn.Sequential(
            nn.Conv1d(4, 8, 7, padding=3),
            nn.ConvTranspose1d(8, 4, 16, 8, 4),
            nn.Conv1d(4, 4, 3, dilation=9, padding=9),
        ),
        (R(1, 4, 20),),
    ),
    "volume": (
        nn.Sequential(nn.Conv3d(3, 8, (3, 3, 3), padding=1), nn.Conv3d(8, 4, (1, 3, 3), (1, 2, 2))),
        (R(1, 3, 6, 10, 10),),
    ),
    "time beside space": (
        nn.Sequential(nn.Conv3d(3, 8, (1, 3, 3)), nn.Conv3d(8, 4, (3, 1, 1), (2, 1, 1), (1, 0, 0))),
        (R(2, 3, 6, 10, 10),),
    ),
    "grouped volume": (nn.Conv3d(4, 8, (3, 2, 5), 2, 1, 1, 2), (R(1, 4, 9, 8, 11),)),
    "volume upwards": (nn.ConvTranspose3d(4, 3, 2, 2), (R(1, 4, 3, 4, 5),)),
    "volume upwards, overlapping": (nn.ConvTranspose3d(4, 3, 3, 2), (R(2, 4, 3, 4, 5),)),
    "encoder": (nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), (R(1, 6, 16),)),
    "encoder, steps first": (nn.TransformerEncoderLayer(16, 4, 32), (R(6, 1, 16),)),
    "decoder of a translator": (
        nn.TransformerDecoderLayer(16, 2, 32, batch_first=True),
        (R(1, 5, 16), R(1, 7, 16)),
    ),
    "translator": (
        nn.Transformer(16, 2, 1, 1, 32, batch_first=True),
        (R(1, 5, 16), R(1, 7, 16)),
    ),
    "language model": (Decoder(), (R(1, 12, 32),)),
    "language models, three": (Decoder(), (R(3, 12, 32),)),
    "mixer": (Mixer(), (R(2, 9, 6),)),
    "embedding": (
        nn.Sequential(nn.Embedding(30, 8), nn.Linear(8, 30)),
        (torch.zeros(2, 5).long(),),
    ),
    "einsum, ellipsis": (
        Function(lambda w, x: torch.einsum("...c,oc->...o", x, w), 3, 8),
        (R(1, 7, 8),),
    ),
    "einsum, heads": (
        Function(lambda _, x: torch.einsum("bqhd,bkhd->bhqk", x, x)),
        (R(1, 5, 2, 4),),
    ),
    "einsum of three": (
        Function(lambda w, x: torch.einsum("ab,bc,cd->ad", x, w, w)),
        (R(3, 8),),
    ),
    "einsum of four, without an output": (
        Function(lambda w, x: torch.einsum("ab,bc,cd,de", x, w, w, w)),
        (R(3, 8),),
    ),
    "einsum, one index alone": (
        Function(lambda w, x: torch.einsum("abz,bc->ac", x, w)),
        (R(3, 8, 5),),
    ),
    "einsum, shared and kept": (
        Function(lambda w, x: torch.einsum("bgi,gio->bgo", x, w), 4, 8, 5),
        (R(3, 4, 8),),
    ),
    "tensordot": (
        Function(lambda w, x: torch.tensordot(x, w, ([1, 2], [1, 0])), 8, 4, 5),
        (R(3, 4, 8),),
    ),
    "inner": (Function(lambda w, x: torch.inner(x, w), 6, 8), (R(3, 4, 8),)),
    "multi_dot": (
        Function(lambda w, x: torch.linalg.multi_dot([x, w, w.T, x.T]), 8, 3),
        (R(20, 8),),
    ),
    "chain_matmul": (Function(lambda w, x: torch.chain_matmul(x, w, w)), (R(3, 8),)),
    "baddbmm": (Function(lambda w, x: torch.baddbmm(w, x, x)), (R(3, 8, 8),)),
    "power": (Function(lambda w, x: torch.linalg.matrix_power(x, 5) @ w), (R(8, 8),)),
    "vmap": (Function(lambda w, x: torch.vmap(lambda a: a @ w)(x), 8, 4), (R(5, 3, 8),)),
    "vmap twice": (
        Function(
            lambda _, x, y: torch.vmap(torch.vmap(lambda a, b: a @ b, (0, None)), (0, 0))(x, y)
        ),
        (R(2, 5, 3, 8), R(2, 8, 4)),
    ),
    "ensemble": (
        Function(lambda w, x: torch.vmap(lambda v: functional.linear(x, v))(w), 4, 6, 8),
        (R(3, 8),),
    ),
    "convolution of activations": (
        Function(lambda _, x, y: functional.conv2d(x, y)),
        (R(1, 3, 9, 9), R(2, 3, 4, 4)),
    ),
    "unfold": (
        Function(lambda w, x: w @ functional.unfold(x, 3), 5, 27),
        (R(1, 3, 8, 8),),
    ),
}


LSTM, GRU, RNN = nn.LSTM, nn.GRU, nn.RNN
BY_HAND: dict[str, tuple[Any, tuple[Any, ...], int]] = {
    "LSTM": (LSTM(8, 6, batch_first=True), (R(1, 9, 8),), 9 * 4 * 6 * (8 + 6)),
    "LSTM, steps first": (LSTM(8, 6), (R(9, 2, 8),), 2 * 9 * 4 * 6 * (8 + 6)),
    "LSTM without a batch": (LSTM(8, 6), (R(9, 8),), 9 * 4 * 6 * (8 + 6)),
    "LSTM, two layers, both directions": (
        LSTM(8, 6, 2, batch_first=True, bidirectional=True),
        (R(1, 9, 8),),
        2 * 9 * 4 * 6 * (8 + 6) + 2 * 9 * 4 * 6 * (12 + 6),
    ),
    "LSTM with projections": (
        LSTM(8, 6, 2, bias=False, batch_first=True, proj_size=3),
        (R(1, 9, 8),),
        9 * (4 * 6 * (8 + 3) + 6 * 3) + 9 * (4 * 6 * (3 + 3) + 6 * 3),
    ),
    "GRU": (GRU(8, 6, batch_first=True), (R(3, 9, 8),), 3 * 9 * 3 * 6 * (8 + 6)),
    "RNN, both directions": (
        RNN(8, 6, batch_first=True, bidirectional=True, nonlinearity="relu"),
        (R(1, 9, 8),),
        2 * 9 * 6 * (8 + 6),
    ),
    "LSTM cell": (nn.LSTMCell(8, 6), (R(1, 8),), 4 * 6 * (8 + 6)),
    "GRU cell": (nn.GRUCell(8, 6), (R(2, 8),), 2 * 3 * 6 * (8 + 6)),
    "RNN cell": (nn.RNNCell(8, 6), (R(1, 8),), 6 * (8 + 6)),
    "bilinear": (nn.Bilinear(8, 5, 3), (R(4, 8), R(4, 5)), 4 * 8 * 5 * 3),
    "cdist": (Function(lambda w, x: torch.cdist(x, w), 6, 8), (R(3, 8),), 3 * 6 * 8),
    "pdist": (Function(lambda w, x: functional.pdist(x @ w)), (R(5, 8),), 5 * 64 + 10 * 8),
    "vectors": (Function(lambda w, x: torch.dot(w @ x, x)), (R(8),), 64 + 8),
    "addbmm": (Function(lambda w, x: torch.addbmm(w, x, x)), (R(3, 8, 8),), 3 * 512),
    "addmv": (Function(lambda w, x: torch.addmv(x, w, x)), (R(8),), 64),
    "cosine": (
        Function(lambda w, x: functional.cosine_similarity(x, w[:3], 1)),
        (R(3, 8),),
        3 * 8,
    ),
    "vecdot": (Function(lambda w, x: torch.linalg.vecdot(x, w)), (R(5, 8, 8),), 5 * 8 * 8),
    "integers": (
        Function(lambda w, x: torch._int_mm(x.to(torch.int8), w.to(torch.int8))),
        (R(32, 8),),
        32 * 64,
    ),
    "sparse product": (Function(lambda w, x: torch.sparse.mm(w, x)), (R(8, 5),), 8 * 8 * 5),
    "sparse sum and product": (
        Function(lambda w, x: torch.sparse.addmm(x, w, x)),
        (R(8, 8),),
        512,
    ),
    "grouped": (
        Function(
            lambda w, x: torch._grouped_mm(
                x, w.bfloat16(), offs=torch.tensor([3, 8, 12, 16], dtype=torch.int32)
            ),
            4,
            8,
            8,
        ),
        (R(16, 8).bfloat16(),),
        16 * 64,
    ),
    "weights of 8 bits": (
        Function(
            lambda w, x: torch._weight_int8pack_mm(x, w.to(torch.int8), w[:, 0].bfloat16()), 6, 8
        ),
        (R(3, 8).bfloat16(),),
        3 * 6 * 8,
    ),
    "frozen encoder": (
        frozen(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)),
        (R(1, 6, 16),),
        6 * (4 * 256 + 2 * 16 * 32) + 2 * 36 * 16,
    ),
    "DCGAN's first layer": (
        nn.ConvTranspose2d(100, 1024, 4, bias=False),
        (R(1, 100, 1, 1),),
        1_638_400,
    ),
    "flex attention": (
        Function(lambda _, q: flex(q, q[:, :1], q[:, :1])),
        (R(1, 4, 16, 16),),
        2 * 4 * 16 * 16 * 16,
    ),
}


def flex(query: Any, key: Any, value: Any) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention(
        query, key, value, score_mod=lambda s, _b, _h, i, j: s + (i - j), enable_gqa=True
    )
