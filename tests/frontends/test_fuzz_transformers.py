"""Damaged GGUF files and Hugging Face folders: an InputError or a network, soon and in little."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picojoule.frontends.hugging_face_tensors import STORED_BITS
from tests.frontends import test_gguf as gguf
from tests.frontends import test_hugging_face as folders
from tests.frontends.bounded import load_within_bounds, quick
from tests.frontends.test_fuzz import damaged

pytestmark = pytest.mark.filterwarnings("ignore")

LONGEST = 30_000  # of an error


def load_gguf(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.gguf"
        path.write_bytes(content)
        load_within_bounds(path, LONGEST, context=9)


def load_folder(config: bytes, header: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "config.json").write_bytes(config)
        (path / "model.safetensors").write_bytes(header)
        load_within_bounds(path, LONGEST, context=9)


GGUF = [
    gguf.header_of(gguf.settings_of(), gguf.llama(gguf.Q4_K)),
    gguf.header_of(gguf.settings_of(expert_used_count=2), gguf.llama(experts=8)),
    gguf.header_of(gguf.settings_of("gemma2", attention__sliding_window=4), gguf.llama(head=False)),
]
CONFIG = json.dumps(
    folders.config_of(
        num_experts_per_tok=2,
        layer_types=["full_attention", "sliding_attention"],
        sliding_window=8,
        quantization_config=folders.CASES[0][1],
    )
).encode()
HEADERS = [folders.header_of(folders.llama(projection=case[0])) for case in folders.CASES] + [
    folders.header_of(folders.llama()),
    folders.header_of(folders.moe()),
]


@given(content=st.sampled_from(GGUF).flatmap(damaged))
@quick(400)
def test_damaged_gguf(content: bytes) -> None:
    load_gguf(content)


@given(
    whole=st.sampled_from(GGUF),
    at=st.floats(0, 1),
    value=st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1]),
)
@quick(400)
def test_lying_lengths_of_gguf(whole: bytes, at: float, value: int) -> None:
    content = bytearray(whole)
    place = int(at * (len(content) - 8))
    content[place : place + 8] = struct.pack("<Q", value)
    load_gguf(bytes(content))


@pytest.mark.slow
def test_a_large_gguf_of_nothing_ends_soon() -> None:
    # A list of as many empty texts as fit, and as many lists of numbers.
    for count, kind in ((1_900_000, 8), (1 << 61, 0), (4_000_000, 10)):
        start = struct.pack("<IQQ", 3, 0, 1) + gguf.text("a") + struct.pack("<IIQ", 9, kind, count)
        load_gguf(b"GGUF" + start + b"\0" * 32_000_000)


@given(header=st.sampled_from(HEADERS).flatmap(damaged))
@quick(300)
def test_damaged_headers(header: bytes) -> None:
    load_folder(CONFIG, header)


@given(config=damaged(CONFIG), header=st.sampled_from(HEADERS))
@quick(300)
def test_damaged_settings(config: bytes, header: bytes) -> None:
    load_folder(config, header)


@given(length=st.sampled_from([0, 1, 2, 100, 2**31, 2**32, 2**63, 2**64 - 1]), rest=st.binary())
@quick(60)
def test_lying_lengths_of_headers(length: int, rest: bytes) -> None:
    load_folder(CONFIG, struct.pack("<Q", length) + rest)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 9),
    st.sampled_from([2**24, 2**24 + 1, 2**53, 10**30, 1.5, 1e308, "8", "", [], {}, [1, 2], [[]]]),
)
NAMES = st.sampled_from(
    [
        *("model_type", "architectures", "hidden_size", "intermediate_size", "num_hidden_layers"),
        *("num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size", "layer_types"),
        *("sliding_window", "sliding_window_pattern", "max_window_layers", "num_experts"),
        *("num_experts_per_tok", "torch_dtype", "quantization_config", "text_config", "dtype"),
        *("max_position_embeddings", "use_sliding_window", "hidden_act", "image_size"),
        *("patch_size", "num_channels", "tie_word_embeddings", "kv_lora_rank"),
    ]
)
KINDS = st.sampled_from(["llama", "mixtral", "gemma3_text", "qwen2", "gpt2", "bert", "vit", "x"])


@given(
    kind=KINDS,
    changes=st.dictionaries(NAMES, VALUES, max_size=4),
    header=st.sampled_from([*HEADERS, b""]),
)
@quick(400)
def test_nasty_settings(kind: str, changes: dict[str, Any], header: bytes) -> None:
    config = json.dumps({**folders.config_of(kind), **changes}).encode()
    if header:
        load_folder(config, header)
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_bytes(config)
        load_within_bounds(Path(folder), LONGEST, context=9)


@given(
    dtype=st.sampled_from(["F16", "I32", "U8", "F4", "I64", "X", ""]),
    shape=st.lists(st.sampled_from([0, 1, 2, 64, 96, 2**24, 2**48, 2**62, -1]), max_size=5),
    leaf=st.sampled_from(
        ["weight", "qweight", "scales", "weight_packed", "weight_scale", "weight_scale_2", "bias"]
    ),
    place=st.sampled_from(["model.layers.0.mlp.up_proj", "lm_head", "model.embed_tokens", "", "."]),
)
@quick(300)
def test_nasty_tensors(dtype: str, shape: list[int], leaf: str, place: str) -> None:
    raw = folders.header_of(folders.llama())
    entries = json.loads(raw[8:])
    size = 1
    for side in shape:
        size *= side
    width = STORED_BITS.get(dtype, 8)
    entries[f"{place}.{leaf}"] = {
        "dtype": dtype,
        "shape": shape,
        "data_offsets": [0, -(-size * width // 8)],
    }
    text = json.dumps(entries).encode()
    load_folder(CONFIG, struct.pack("<Q", len(text)) + text)


def test_deep_and_long_settings() -> None:
    for config in (
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"1" * 10_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ):
        load_folder(config, HEADERS[0])
        load_folder(CONFIG, struct.pack("<Q", len(config)) + config)
