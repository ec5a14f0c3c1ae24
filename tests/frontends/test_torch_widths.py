"""Widths read off quantised PyTorch programs, whichever tool wrote the quantisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from picojoule.frontends import load
from picojoule.workload import Operand, PerOperand

torch = pytest.importorskip("torch")
pytest.importorskip("torch.ao.quantization.fx._decomposed")  # registers the operators
nn = torch.nn
F = torch.nn.functional
Module: Any = nn.Module
R = torch.randn
Q = torch.ops.quantized_decomposed

pytestmark = pytest.mark.filterwarnings("ignore")


class With(Module):
    """A function of itself and one input, with some buffers."""

    def __init__(self, function: Callable[..., Any], **buffers: Any) -> None:
        super().__init__()
        self.function = function
        self.w = nn.Parameter(R(8, 8))
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


def int8(*shape: int) -> Any:
    return torch.randint(1, 127, shape, dtype=torch.int8)


def to8(x: Any) -> Any:
    levels = Q.quantize_per_tensor(x, 0.1, 0, -128, 127, torch.int8)
    return Q.dequantize_per_tensor(levels, 0.1, 0, -128, 127, torch.int8)


def to4(x: Any) -> Any:
    return Q.dequantize_per_tensor(x, 0.1, 0, -8, 7, torch.int8)


def by_channel(m: Any) -> Any:
    return Q.dequantize_per_channel(m.q, m.scale, m.zero, 0, -127, 127, torch.int8)


def unpacked(m: Any) -> Any:
    """4 bits, two to a byte, with a scale for 16 values."""
    low, high = (m.q & 15).to(torch.int8) - 8, (m.q >> 4).to(torch.int8) - 8
    values = torch.stack([low, high], -1).reshape(16, 2, 16).float() * m.scale[..., None]
    return values.reshape(16, 32)


def shifted(m: Any) -> Any:
    """4 bits, eight to a word, as GPTQ packs them."""
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    levels = ((m.q[:, None, :] >> shifts[None, :, None]) & 15).reshape(32, 16).float()
    return (levels - 8) * m.scale.repeat_interleave(16, 0)


def rounded(x: Any, low: int, high: int) -> Any:
    scale = x.abs().max() / high
    return torch.clamp(torch.round(x / scale), low, high) * scale


SCALES = {"scale": torch.rand(16), "zero": torch.zeros(16, dtype=torch.int64)}
CASES: dict[str, tuple[Any, Any, tuple[int, int, int]]] = {
    "PT2E": (
        With(
            lambda m, x: to8(torch.relu(F.linear(to8(x), by_channel(m)))), q=int8(16, 8), **SCALES
        ),
        R(1, 8),
        (8, 8, 8),
    ),
    "views and pooling between": (
        With(lambda m, x: F.linear(F.max_pool2d(to8(x), 2).flatten(1), to4(m.q)), q=int8(16, 8)),
        R(1, 2, 4, 4),
        (8, 4, 16),
    ),
    "concatenation between": (
        With(lambda m, x: F.linear(torch.cat([to8(x), to8(-x)], 1)[:, 4:12], m.w)),
        R(1, 8),
        (8, 16, 16),
    ),
    "a float among the concatenated": (
        With(lambda m, x: F.linear(torch.cat([to8(x), x], 1)[:, 4:12], m.w)),
        R(1, 8),
        (16, 16, 16),
    ),
    "batch norm and residual before the quantiser": (
        With(
            lambda m, x: to8(
                torch.relu(F.batch_norm(F.linear(to8(x), m.w), m.mean, m.mean + 1) + to8(x))
            ),
            mean=torch.zeros(8),
        ),
        R(2, 8),
        (8, 16, 8),
    ),
    "weights alone, 8 bits": (
        With(
            lambda m, x: F.linear(x, m.q.to(torch.float32) * m.scale[:, None]),
            q=int8(16, 8),
            **SCALES,
        ),
        R(1, 8),
        (16, 8, 16),
    ),
    "weights alone, a zero point": (
        With(
            lambda m, x: x @ ((m.q.float() - m.zero[:, None]) * m.scale[:, None]).T,
            q=int8(16, 8),
            **SCALES,
        ),
        R(1, 8),
        (16, 8, 16),
    ),
    "weights alone, 8-bit floats": (
        With(lambda m, x: F.linear(x, m.q.float() * 0.5), q=R(16, 8).to(torch.float8_e4m3fn)),
        R(1, 8),
        (16, 8, 16),
    ),
    "two to a byte": (
        With(
            lambda m, x: F.linear(x, unpacked(m)),
            q=torch.randint(0, 255, (16, 16), dtype=torch.uint8),
            scale=torch.rand(16, 2),
        ),
        R(1, 32),
        (16, 4, 16),
    ),
    "eight to a word": (
        With(
            lambda m, x: x @ shifted(m),
            q=torch.randint(0, 2**31 - 1, (4, 16), dtype=torch.int32),
            scale=torch.rand(2, 16),
        ),
        R(1, 32),
        (16, 4, 16),
    ),
    "fake quantisers": (
        With(
            lambda m, x: torch.fake_quantize_per_tensor_affine(
                F.linear(
                    torch.fake_quantize_per_tensor_affine(x, 0.1, 0, 0, 255),
                    torch.fake_quantize_per_channel_affine(m.w, m.scale, m.zero, 0, -8, 7),
                ),
                0.1,
                0,
                -128,
                127,
            ),
            scale=torch.rand(8),
            zero=torch.zeros(8, dtype=torch.int32),
        ),
        R(1, 8),
        (8, 4, 8),
    ),
    "rounded by hand": (
        With(lambda m, x: F.linear(rounded(x, -128, 127), rounded(m.w, -2, 1))),
        R(1, 8),
        (8, 2, 16),
    ),
    "a mask is no quantiser": (
        With(lambda m, x: F.linear(x, m.w * m.mask), mask=(R(8, 8) > 0).to(torch.int8)),
        R(1, 8),
        (16, 16, 16),
    ),
    "integers": (
        With(
            lambda m, x: torch._int_mm(rounded(x, -128, 127).to(torch.int8), m.q.t()), q=int8(16, 8)
        ),
        R(32, 8),
        (8, 8, 32),
    ),
    "packed by PyTorch": (
        With(
            lambda m, x: torch.ops.aten._weight_int4pack_mm_for_cpu(x.bfloat16(), m.q, 32, m.scale),
            q=torch.randint(0, 255, (32, 32), dtype=torch.uint8),
            scale=torch.rand(2, 32, 2).bfloat16(),
        ),
        R(4, 64),
        (16, 4, 16),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_widths(name: str) -> None:
    module, x, bits = CASES[name]
    network = load((module, (x,)))
    assert [layer.bits for layer in network] == [PerOperand(*bits)]
    assert network.complete
    assert network.macs > 0


def test_attention_between_quantisers() -> None:
    network = load(
        (
            With(lambda _, x: to8(F.scaled_dot_product_attention(to8(x), to8(x), to8(x)))),
            (R(1, 2, 4, 8),),
        )
    )
    assert all(layer.bits.input == layer.bits.weight == 8 for layer in network)


def test_zeros_of_quantised_weights_are_zeros() -> None:
    levels = torch.eye(8, dtype=torch.int8)
    module = With(lambda m, x: F.linear(x, m.q.float() * 0.1), q=levels)
    assert load((module, (R(1, 8),))).layers[0].density.weight == 0.125


# -- scales of blocks ------------------------------------------------------------------------------


def by_group(m: Any) -> Any:
    return Q.dequantize_per_channel_group(
        m.q, m.scale, m.zero, -8, 7, torch.int8, 16, torch.float32
    )


def with_zeros(m: Any) -> Any:
    """8 bits in blocks of 16, with zero points as wide as a word."""
    levels = m.q.reshape(48, 4, 16).float() - m.zero.float()[..., None]
    return (levels * m.scale[..., None]).reshape(48, 64)


def packed_zeros(m: Any) -> Any:
    """4 bits in blocks of 16 and their zero points, eight to a word, as GPTQ packs both."""
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    levels = ((m.q[:, None, :] >> shifts[None, :, None]) & 15).reshape(64, 48)
    points = ((m.zero[:, :, None] >> shifts) & 15).reshape(4, 48)
    return (levels - points.repeat_interleave(16, 0)) * m.scale.repeat_interleave(16, 0)


BLOCKS = {"q": int8(48, 64), "scale": torch.rand(48, 4)}
SCALED: dict[str, tuple[Any, float]] = {
    # A scale of 16 bits for 16 values; and a zero point as wide as they are.
    "PT2E": (
        With(
            lambda m, x: F.linear(x, by_group(m)),
            zero=torch.zeros(48, 4, dtype=torch.int8),
            **BLOCKS,
        ),
        (16 + 4) / 16,
    ),
    "behind views": (
        With(
            lambda m, x: x @ by_group(m).t().reshape(8, 8, 48).reshape(64, 48),
            zero=torch.zeros(48, 4, dtype=torch.int8),
            **BLOCKS,
        ),
        (16 + 4) / 16,
    ),
    "a scale for each channel": (
        With(
            lambda m, x: F.linear(x, m.q.float() * m.scale), q=int8(48, 64), scale=torch.rand(48, 1)
        ),
        0.0,
    ),
    "by hand": (
        With(
            lambda m, x: F.linear(x, with_zeros(m)),
            zero=torch.zeros(48, 4, dtype=torch.int32),
            **BLOCKS,
        ),
        (16 + 8) / 16,
    ),
    "packed by hand": (
        With(
            lambda m, x: x @ packed_zeros(m),
            q=torch.randint(0, 2**31 - 1, (8, 48), dtype=torch.int32),
            zero=torch.randint(0, 2**31 - 1, (4, 6), dtype=torch.int32),
            scale=torch.rand(4, 48),
        ),
        (16 + 4) / 16,
    ),
    # The scale and the zero point, both of 16 bits, for 32 weights.
    "packed by PyTorch": (
        With(
            lambda m, x: torch.ops.aten._weight_int4pack_mm_for_cpu(x.bfloat16(), m.q, 32, m.scale),
            q=torch.randint(0, 255, (48, 32), dtype=torch.uint8),
            scale=torch.rand(2, 48, 2).bfloat16(),
        ),
        2 * 16 / 32,
    ),
    "8 bits, packed by PyTorch": (
        With(
            lambda m, x: torch.ops.aten._weight_int8pack_mm(x, m.q, m.scale),
            q=int8(48, 64),
            scale=torch.rand(48),
        ),
        0.0,
    ),
}


@pytest.mark.parametrize("name", SCALED)
def test_scales_of_blocks_of_weights(name: str) -> None:
    module, expected = SCALED[name]
    (layer,) = load((module, (R(3, 64),))).layers
    assert layer.macs == 3 * 48 * 64
    assert layer.scale_bits == PerOperand(0.0, expected, 0.0)
    assert layer.stored_bits(Operand.WEIGHT) == layer.bits.weight + expected


def test_blocks_of_torchao() -> None:
    """Its operator by name and arguments; the package is not needed to read its programs."""
    library = torch.library.Library("torchao", "FRAGMENT")
    library.define(
        "dequantize_affine(Tensor input, int[] block_size, Tensor scale, Tensor? zero_point, "
        "ScalarType input_dtype, int? quant_min=None, int? quant_max=None) -> Tensor"
    )
    library.impl("dequantize_affine", lambda x, *_: x.float(), "CompositeExplicitAutograd")

    def weights(m: Any) -> Any:
        given = ([1, 32], m.scale, None, torch.int8, -8, 7)
        return torch.ops.torchao.dequantize_affine(m.q, *given)

    module = With(
        lambda m, x: F.linear(x, weights(m)), q=int8(48, 64), scale=torch.rand(48, 2).bfloat16()
    )
    (layer,) = load((module, (R(3, 64),))).layers
    assert layer.bits.weight == 4
    assert layer.scale_bits == PerOperand(0.0, 16 / 32, 0.0)


@pytest.mark.parametrize("blocks", [False, True])
def test_scales_given_beside_operands_of_8_bit_floats(blocks: bool) -> None:
    kind, count = (torch.float8_e8m0fnu, 128 * 4) if blocks else (torch.float32, 1)

    def scaled(m: Any, x: Any) -> Any:
        data = x.to(torch.float8_e4m3fn)
        scale = torch.ones(count, dtype=kind)
        return torch._scaled_mm(
            data, m.q.t(), scale_a=scale, scale_b=m.scale, out_dtype=torch.bfloat16
        )

    module = With(
        scaled, q=R(128, 128).to(torch.float8_e4m3fn), scale=torch.ones(count, dtype=kind)
    )
    (layer,) = load((module, (R(128, 128),))).layers
    assert (layer.bits.input, layer.bits.weight) == (8, 8)
    # 8 bits for each 32 values of a row, of both operands.
    assert layer.scale_bits == PerOperand(0.25 * blocks, 0.25 * blocks, 0.0)
