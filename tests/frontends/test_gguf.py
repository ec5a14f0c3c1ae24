"""GGUF files of headers; MACs and bits per weight are worked out by hand beside them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from picojoule.errors import InputError
from picojoule.frontends import load
from picojoule.frontends.gguf_file import FORMATS
from picojoule.workload import Operand

F32, F16, Q4_0, Q4_K, Q6_K = 0, 1, 2, 12, 14

Tensors = Mapping[str, tuple[int, tuple[int, ...]]]


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def setting(value: Any) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if value and isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(text(item) for item in value)
    return struct.pack(f"<IIQ{len(value)}I", 9, 4, len(value), *value)


def header_of(settings: Mapping[str, Any], tensors: Tensors, version: int = 3) -> bytes:
    parts = [b"GGUF", struct.pack("<IQQ", version, len(tensors), len(settings))]
    parts += [text(name) + setting(value) for name, value in settings.items()]
    for name, (kind, shape) in tensors.items():
        parts.append(text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        parts.append(struct.pack("<IQ", kind, 0))
    return b"".join(parts)


def settings_of(kind: str = "llama", **changes: Any) -> dict[str, Any]:
    """2 blocks of width 256, 8 heads of 32, 2 of keys, inner width 512, 100 words."""
    own = {
        "block_count": 2,
        "context_length": 512,
        "embedding_length": 256,
        "attention.head_count": 8,
        "attention.head_count_kv": 2,
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    return {
        "general.architecture": kind,
        "tokenizer.ggml.tokens": ["a", "bc", "def"],
        "tokenizer.ggml.scores": [1, 2, 3],
        **{f"{kind}.{name}": value for name, value in own.items()},
    }


def llama(kind: int = F16, head: bool = True, experts: int = 0) -> dict[str, Any]:
    tensors: dict[str, Any] = {"token_embd.weight": (kind, (256, 100))}
    for index in range(2):
        block = f"blk.{index}"
        for name, outputs in (("q", 256), ("k", 64), ("v", 64), ("output", 256)):
            tensors[f"{block}.attn_{name}.weight"] = (kind, (256, outputs))
        tensors[f"{block}.attn_norm.weight"] = (F32, (256,))
        suffix, more = ("_exps", (experts,)) if experts else ("", ())
        if experts:
            tensors[f"{block}.ffn_gate_inp.weight"] = (F32, (256, experts))
        tensors[f"{block}.ffn_gate{suffix}.weight"] = (kind, (256, 512, *more))
        tensors[f"{block}.ffn_up{suffix}.weight"] = (kind, (256, 512, *more))
        tensors[f"{block}.ffn_down{suffix}.weight"] = (kind, (512, 256, *more))
    return tensors | ({"output.weight": (kind, (256, 100))} if head else {})


ATTENDING = 256 * (256 + 64 + 64 + 256)
FEEDING = 3 * 256 * 512


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "net.gguf"
    path.write_bytes(content)
    return path


def test_formats_are_those_of_the_package() -> None:
    constants = pytest.importorskip("gguf.constants")
    sizes = {
        kind.value: (kind.name, *constants.GGML_QUANT_SIZES[kind])
        for kind in constants.GGMLQuantizationType
    }
    ours = {number: (x.name, x.values, x.size) for number, x in FORMATS.items()}
    assert ours == sizes


def test_bits_per_weight() -> None:
    # A scale of 16 bits for 32 values; of K blocks 256 values in 144, 210, 84 bytes.
    expected = {"Q4_0": 4.5, "Q8_0": 8.5, "Q4_K": 4.5, "Q6_K": 6.5625, "Q2_K": 2.625, "F16": 16}
    expected |= {"MXFP4": 4.25, "NVFP4": 4.5, "IQ1_S": 1.5625, "BF16": 16}
    for name, bits in expected.items():
        (found,) = (item for item in FORMATS.values() if item.name == name)
        stored = found.as_stored()
        assert found.bits_per_value == stored.bits + stored.scale_bits == bits


def test_decode_and_prefill(tmp_path: Path) -> None:
    path = write(tmp_path, header_of(settings_of(), llama()))
    decode = load(path, context=100, phase="decode")
    assert decode.macs == 2 * (ATTENDING + FEEDING + 2 * 100 * 256) + 25600
    prefill = load(path, context=100, phase="prefill")
    assert prefill.macs == 2 * 100 * (ATTENDING + FEEDING + 2 * 100 * 256) + 25600
    scores = decode["blk.0.attn.scores"]
    assert (scores.bounds.G, scores.bounds.P) == (2, 4)
    assert [layer.name for layer in decode][:3] == [f"blk.0.attn_{name}" for name in "qkv"]
    assert decode.complete


@pytest.mark.parametrize(("kind", "bits"), [(Q4_0, 4.5), (Q4_K, 4.5), (Q6_K, 6.5625), (F32, 16)])
def test_formats_of_weights(tmp_path: Path, kind: int, bits: float) -> None:
    network = load(write(tmp_path, header_of(settings_of(), llama(kind))), context=9, kv_bits=8)
    for layer in network:
        expected = 8 if layer.weight_is_activation else bits
        assert layer.stored_bits(Operand.WEIGHT) == expected


def test_a_tied_head_is_the_embedding(tmp_path: Path) -> None:
    path = write(tmp_path, header_of(settings_of(), llama(head=False)))
    network = load(path, context=9)
    assert network["output"].macs == 25600
    assert any("shares the weights of token_embd" in remark for remark in network.remarks)


def test_experts_share_their_top_k(tmp_path: Path) -> None:
    settings = settings_of(expert_used_count=2, expert_count=8)
    path = write(tmp_path, header_of(settings, llama(experts=8)))
    network = load(path, context=9, phase="decode")
    assert network.macs == 2 * (ATTENDING + 256 * 8 + 2 * FEEDING + 2 * 9 * 256) + 25600
    assert network["blk.0.ffn_up_exps"].bounds.G == 2
    none = write(tmp_path, header_of(settings_of(), llama(experts=8)))
    with pytest.raises(InputError, match="8 experts"):
        load(none)


def test_windows(tmp_path: Path) -> None:
    def bounds(settings: Mapping[str, Any]) -> list[int]:
        network = load(write(tmp_path, header_of(settings, llama())), context=100, phase="decode")
        return [network[f"blk.{n}.attn.scores"].bounds.M for n in (0, 1)]

    window = {"attention__sliding_window": 32}
    assert bounds(settings_of("gemma2", **window)) == [32, 100]
    assert bounds(settings_of("llama", **window)) == [100, 100]
    pattern = {"attention__sliding_window_pattern": [0, 1]}
    assert bounds(settings_of("llama", **window, **pattern)) == [100, 32]


def test_what_multiplies_and_is_not_known_is_said(tmp_path: Path) -> None:
    tensors = llama() | {"blk.0.ssm_in.weight": (F16, (256, 512))}
    network = load(write(tmp_path, header_of(settings_of(), tensors)), context=9)
    assert dict(network.unmodelled) == {"blk.N.ssm_in": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GGUF" + b"\0" * 40, "version 0"),
        (b"GGML" + b"\0" * 40, "does not begin with GGUF"),
        (b"", "not a GGUF file"),
        (header_of(settings_of(block_count=3), llama()), "block_count is 3"),
        (header_of(settings_of(), llama())[:300], "damaged or cut off"),
        (header_of(settings_of(attention__head_count=4), llama()), "4 heads of 64"),
        (header_of(settings_of(), {**llama(), "x": (99, (2, 2))}), "type 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 62, 0), "entries"),
    ],
)
def test_files_that_are_no_networks(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        load(write(tmp_path, content))
    assert said in str(caught.value)
