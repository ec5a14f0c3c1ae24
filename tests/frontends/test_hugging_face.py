"""Hugging Face folders of headers; MACs and bits per weight are worked out by hand beside them."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import picojoule
from picojoule.errors import InputError
from picojoule.frontends import load
from picojoule.frontends.hugging_face_tensors import STORED_BITS
from picojoule.workload import Operand, Workload

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]


def header_of(tensors: Shapes) -> bytes:
    at, entries = 0, {}
    for name, (dtype, shape) in tensors.items():
        size = -(-STORED_BITS[dtype] * math.prod(shape) // 8)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(entries).encode()
    return struct.pack("<Q", len(raw)) + raw


def write_folder(folder: Path, config: Mapping[str, Any], tensors: Shapes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if tensors:
        (folder / "model.safetensors").write_bytes(header_of(tensors))
    return folder


def linear(name: str, inputs: int, outputs: int, dtype: str = "BF16") -> dict[str, Any]:
    return {f"{name}.weight": (dtype, (outputs, inputs))}


def config_of(model_type: str = "llama", **changes: Any) -> dict[str, Any]:
    """2 blocks of width 64, 8 heads of 8, 2 of keys, inner width 96, 100 words."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": model_type,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 100,
        "max_position_embeddings": 512,
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
        **changes,
    }


def blocks(projection: Any = linear, layers: int = 2, mlp: bool = True) -> dict[str, Any]:
    tensors: dict[str, Any] = {}
    for index in range(layers):
        block = f"model.layers.{index}"
        for name, inputs, outputs in (("q", 64, 64), ("k", 64, 16), ("v", 64, 16), ("o", 64, 64)):
            tensors |= projection(f"{block}.self_attn.{name}_proj", inputs, outputs)
        if mlp:
            for name, inputs, outputs in (("gate", 64, 96), ("up", 64, 96), ("down", 96, 64)):
                tensors |= projection(f"{block}.mlp.{name}_proj", inputs, outputs)
        tensors[f"{block}.input_layernorm.weight"] = ("BF16", (64,))
    return tensors


def llama(tied: bool = False, **rest: Any) -> dict[str, Any]:
    ends = {"model.embed_tokens.weight": ("BF16", (100, 64)), "model.norm.weight": ("BF16", (64,))}
    return ends | blocks(**rest) | ({} if tied else linear("lm_head", 64, 100))


PER_TOKEN = 64 * (64 + 16 + 16 + 64) + 3 * 64 * 96
"""Products of one block's projections with one token."""


def macs(tokens: int, attended: int) -> int:
    return 2 * (tokens * PER_TOKEN + 2 * tokens * attended * 64) + 64 * 100


def test_decode_and_prefill(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "net", config_of(), llama())
    decode = load(folder, context=128, phase="decode")
    assert decode.macs == macs(1, 128)
    assert load(folder, context=128, phase="prefill").macs == macs(128, 128)
    # Four query heads share a head of keys: it is read once for them all.
    scores = decode["model.layers.1.self_attn.scores"]
    assert (scores.bounds.G, scores.bounds.P, scores.bounds.M, scores.bounds.C) == (2, 4, 128, 8)
    assert scores.size(Operand.WEIGHT) == 2 * 8 * 128
    assert scores.weight_is_activation
    assert [layer.name.rpartition(".")[2] for layer in decode][:9] == [
        *("q_proj", "k_proj", "v_proj", "scores", "context", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    ]
    assert dict(decode.not_counted)["silu"] == 2
    assert decode.complete
    assert "attends to 128 with itself" in decode.remarks[0]


def test_what_was_not_asked_is_assumed_and_said(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "net", config_of(), llama())
    network = load(folder)
    assert network.macs == macs(1, 512)
    assert any("512 tokens are assumed" in remark for remark in network.remarks)
    assert any("no phase was given" in remark for remark in network.remarks)
    longer = load(folder, context=600)
    assert any("more than the 512" in remark for remark in longer.remarks)


def test_the_cache_has_a_width_of_its_own(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "net", config_of(), llama())
    network = load(folder, context=64, phase="decode", kv_bits=8)
    assert network["model.layers.0.self_attn.scores"].bits.weight == 8
    assert network["model.layers.0.self_attn.k_proj"].bits.output == 8
    assert network["model.layers.0.self_attn.q_proj"].bits.output == 16


def test_a_tied_head_is_the_embedding(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "net", config_of(tie_word_embeddings=True), llama(tied=True))
    network = load(folder, context=128, phase="decode")
    assert network.macs == macs(1, 128)
    assert any("shares the weights of the embedding" in remark for remark in network.remarks)


@pytest.mark.parametrize(
    ("kind", "changes", "windows"),
    [
        ("mistral", {"sliding_window": 32}, (32, 32)),
        ("mistral", {"sliding_window": None}, (128, 128)),
        ("qwen2", {"sliding_window": 32}, (128, 128)),
        (
            "qwen2",
            {"sliding_window": 32, "use_sliding_window": True, "max_window_layers": 1},
            (128, 32),
        ),
        ("gemma2", {"sliding_window": 32}, (32, 128)),
        ("gemma3_text", {"sliding_window": 32, "sliding_window_pattern": 2}, (32, 128)),
        (
            "qwen3",
            {"sliding_window": 32, "layer_types": ["full_attention", "sliding_attention"]},
            (128, 32),
        ),
    ],
)
def test_sliding_windows(
    tmp_path: Path, kind: str, changes: dict[str, Any], windows: tuple[int, int]
) -> None:
    folder = write_folder(tmp_path / "net", config_of(kind, **changes), llama())
    network = load(folder, context=128, phase="decode")
    found = [network[f"model.layers.{n}.self_attn.scores"].bounds.M for n in (0, 1)]
    assert tuple(found) == windows
    # In prefill a token meets as many keys as the window has.
    prefill = load(folder, context=100, phase="prefill")
    products = [
        sum(x.macs for x in prefill if x.name.startswith(f"model.layers.{n}.self_attn.scores"))
        for n in (0, 1)
    ]
    assert products == [100 * min(window, 100) * 64 for window in windows]


def moe(experts: int = 4) -> dict[str, Any]:
    tensors = llama(mlp=False)
    for index in range(2):
        root = f"model.layers.{index}.block_sparse_moe"
        tensors |= linear(f"{root}.gate", 64, experts)
        for number in range(experts):
            tensors |= linear(f"{root}.experts.{number}.w1", 64, 96)
            tensors |= linear(f"{root}.experts.{number}.w3", 64, 96)
            tensors |= linear(f"{root}.experts.{number}.w2", 96, 64)
    return tensors


def test_experts_share_their_top_k(tmp_path: Path) -> None:
    config = config_of("mixtral", num_local_experts=4, num_experts_per_tok=2)
    folder = write_folder(tmp_path / "net", config, moe())
    attention = 64 * (64 + 16 + 16 + 64) + 2 * 128 * 64
    routed = 64 * 4 + 2 * 3 * 64 * 96
    decode = load(folder, context=128, phase="decode")
    assert decode.macs == 2 * (attention + routed) + 6400
    assert decode["model.layers.0.block_sparse_moe.experts.w1"].bounds.G == 2
    # 7 tokens are routed 14 times: two experts have 3 rows, two have 4.
    prefill = load(folder, context=7, phase="prefill")
    first = [layer for layer in prefill if ".0.block_sparse_moe.experts.w1" in layer.name]
    assert [(layer.bounds.G, layer.bounds.P) for layer in first] == [(2, 3), (2, 4)]
    wrong = write_folder(tmp_path / "net", {**config, "num_local_experts": 8}, moe())
    with pytest.raises(InputError, match=r"4 experts, config\.json says 8"):
        load(wrong)


def test_experts_side_by_side_in_one_tensor(tmp_path: Path) -> None:
    tensors = llama(mlp=False)
    for index in range(2):
        root = f"model.layers.{index}.mlp"
        tensors |= linear(f"{root}.gate", 64, 4)
        tensors[f"{root}.experts.gate_up_proj"] = ("BF16", (4, 64, 192))
        tensors[f"{root}.experts.down_proj"] = ("BF16", (4, 96, 64))
    config = config_of("qwen3_moe", num_experts=4, num_experts_per_tok=2)
    folder = write_folder(tmp_path / "net", config, tensors)
    network = load(folder, context=128, phase="decode")
    attention = 64 * (64 + 16 + 16 + 64) + 2 * 128 * 64
    assert network.macs == 2 * (attention + 64 * 4 + 2 * 3 * 64 * 96) + 6400


# -- formats of weights ---------------------------------------------------------------------------


def gptq(name: str, inputs: int, outputs: int) -> dict[str, Any]:
    groups = inputs // 32
    return {
        f"{name}.qweight": ("I32", (inputs // 8, outputs)),
        f"{name}.qzeros": ("I32", (groups, outputs // 8)),
        f"{name}.scales": ("F16", (groups, outputs)),
        f"{name}.g_idx": ("I32", (inputs,)),
    }


def awq(name: str, inputs: int, outputs: int) -> dict[str, Any]:
    groups = inputs // 32
    return {
        f"{name}.qweight": ("I32", (inputs, outputs // 8)),
        f"{name}.qzeros": ("I32", (groups, outputs // 8)),
        f"{name}.scales": ("F16", (groups, outputs)),
    }


def packed(name: str, inputs: int, outputs: int) -> dict[str, Any]:
    return {
        f"{name}.weight_packed": ("I32", (outputs, inputs // 8)),
        f"{name}.weight_scale": ("BF16", (outputs, inputs // 32)),
        f"{name}.weight_shape": ("I64", (2,)),
    }


def nvfp4(name: str, inputs: int, outputs: int) -> dict[str, Any]:
    return {
        f"{name}.weight_packed": ("U8", (outputs, inputs // 2)),
        f"{name}.weight_scale": ("F8_E4M3", (outputs, inputs // 16)),
        f"{name}.weight_global_scale": ("F32", (1,)),
        f"{name}.input_global_scale": ("F32", (1,)),
    }


def model_opt(name: str, inputs: int, outputs: int) -> dict[str, Any]:
    return {
        f"{name}.weight": ("U8", (outputs, inputs // 2)),
        f"{name}.weight_scale": ("F8_E4M3", (outputs, inputs // 16)),
        f"{name}.weight_scale_2": ("F32", ()),
    }


def fp8(name: str, inputs: int, outputs: int) -> dict[str, Any]:
    return {
        f"{name}.weight": ("F8_E4M3", (outputs, inputs)),
        f"{name}.weight_scale_inv": ("F32", (outputs // 16, inputs // 32)),
    }


CASES: list[tuple[Any, dict[str, Any], float, float]] = [
    # 4 bits; of 32 weights one scale of 16 bits and a zero point of 4: 0.625.
    (gptq, {"quant_method": "gptq", "bits": 4}, 4.625, 16),
    (awq, {"quant_method": "awq", "bits": 4}, 4.625, 16),
    (
        packed,
        {
            "quant_method": "compressed-tensors",
            "config_groups": {"group_0": {"weights": {"num_bits": 4}, "input_activations": None}},
        },
        4.5,
        16,
    ),
    # 4 bits, and one scale of 8 bits for 16; activations in the same format.
    (nvfp4, {"quant_method": "compressed-tensors"}, 4.5, 4.5),
    (model_opt, {"quant_method": "modelopt"}, 4.5, 16),
    # One scale of 32 bits for 512.
    (fp8, {"quant_method": "fp8", "activation_scheme": "dynamic"}, 8.0625, 8),
]


@pytest.mark.parametrize(("projection", "quantization", "weight", "activation"), CASES)
def test_formats_of_weights(
    tmp_path: Path, projection: Any, quantization: Any, weight: float, activation: float
) -> None:
    config = config_of(quantization_config=quantization)
    folder = write_folder(tmp_path / "net", config, llama(projection=projection))
    network = load(folder, context=128, phase="decode")
    assert network.macs == macs(1, 128)
    for layer in network:
        if layer.weight_is_activation or layer.name == "lm_head":
            assert layer.stored_bits(Operand.WEIGHT) == 16
        else:
            assert layer.stored_bits(Operand.WEIGHT) == weight
            assert layer.bits.weight == int(weight)
            assert layer.stored_bits(Operand.INPUT) == activation


def test_act_order_looks_groups_up(tmp_path: Path) -> None:
    quantization = {"quant_method": "gptq", "bits": 4, "desc_act": True}
    config = config_of(quantization_config=quantization)
    folder = write_folder(tmp_path / "net", config, llama(projection=gptq))
    layer = load(folder)["model.layers.0.self_attn.q_proj"]
    assert layer.stored_bits(Operand.WEIGHT) == 4.625 + 32 / 64  # an index for 64 outputs


# -- other families -------------------------------------------------------------------------------


def test_gpt2(tmp_path: Path) -> None:
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": 64,
        "n_head": 8,
        "n_layer": 1,
        "n_positions": 128,
        "vocab_size": 100,
    }
    tensors: dict[str, Any] = {
        "wte.weight": ("F32", (100, 64)),
        "wpe.weight": ("F32", (128, 64)),
        "h.0.attn.bias": ("F32", (1, 1, 128, 128)),
        "h.0.attn.c_attn.weight": ("F32", (64, 192)),
        "h.0.attn.c_proj.weight": ("F32", (64, 64)),
        "h.0.mlp.c_fc.weight": ("F32", (64, 256)),
        "h.0.mlp.c_proj.weight": ("F32", (256, 64)),
        "ln_f.weight": ("F32", (64,)),
    }
    folder = write_folder(tmp_path / "net", config, tensors)
    network = load(folder, context=100, phase="decode")
    assert network.macs == 12 * 64 * 64 + 2 * 100 * 64 + 64 * 100
    assert network.complete
    assert network["h.0.attn.c_attn"].bounds.M == 192
    assert [layer.name for layer in network][-1] == "lm_head"
    with pytest.raises(InputError, match="positions for 128"):
        load(folder, context=129)
    (folder / "model.safetensors").unlink()
    again = load(folder, context=100, phase="decode")
    assert [layer.signature() for layer in again] == [layer.signature() for layer in network]
    assert any("those of config.json" in remark for remark in again.remarks)


def encoder(prefix: str, own: str) -> dict[str, Any]:
    block = f"{prefix}encoder.layer.0"
    tensors: dict[str, Any] = {}
    for name in ("query", "key", "value"):
        tensors |= linear(f"{block}.attention.{own}.{name}", 64, 64)
    tensors |= linear(f"{block}.attention.output.dense", 64, 64)
    tensors |= linear(f"{block}.intermediate.dense", 64, 96)
    return tensors | linear(f"{block}.output.dense", 96, 64)


def test_bert(tmp_path: Path) -> None:
    config = config_of(
        "bert",
        architectures=["BertForMaskedLM"],
        num_hidden_layers=1,
        num_key_value_heads=None,
        max_position_embeddings=128,
    )
    tensors = {
        "bert.embeddings.word_embeddings.weight": ("F32", (100, 64)),
        "bert.embeddings.position_embeddings.weight": ("F32", (128, 64)),
        "bert.embeddings.token_type_embeddings.weight": ("F32", (2, 64)),
        **encoder("bert.", "self"),
        **linear("bert.pooler.dense", 64, 64),
        **linear("cls.predictions.transform.dense", 64, 64),
    }
    folder = write_folder(tmp_path / "net", config, tensors)
    network = load(folder, context=50)
    block = 50 * (4 * 64 * 64 + 2 * 64 * 96) + 2 * 50 * 50 * 64
    # The pooler sees one token, the head of masked words all; the last layer is the embedding.
    assert network.macs == block + 64 * 64 + 50 * 64 * 64 + 50 * 64 * 100
    assert network["bert.encoder.layer.0.attention.scores"].bounds.G == 8
    assert network.complete
    with pytest.raises(InputError, match="it does not decode"):
        load(folder, phase="decode")


def test_vit(tmp_path: Path) -> None:
    config = config_of(
        "vit",
        architectures=["ViTForImageClassification"],
        num_hidden_layers=1,
        num_key_value_heads=None,
        image_size=32,
        patch_size=8,
        max_position_embeddings=None,
    )
    tensors = {
        "vit.embeddings.cls_token": ("F32", (1, 1, 64)),
        "vit.embeddings.position_embeddings": ("F32", (1, 17, 64)),
        "vit.embeddings.patch_embeddings.projection.weight": ("F32", (64, 3, 8, 8)),
        **encoder("vit.", "attention"),
        **linear("classifier", 64, 10),
    }
    folder = write_folder(tmp_path / "net", config, tensors)
    network = load(folder)
    block = 17 * (4 * 64 * 64 + 2 * 64 * 96) + 2 * 17 * 17 * 64
    assert network.macs == 16 * 64 * 3 * 64 + block + 640
    assert network.complete
    with pytest.raises(InputError, match="17 tokens in every inference"):
        load(folder, context=20)


def test_settings_alone(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "net", config_of(), {})
    network = load(folder, context=128, phase="decode")
    assert network.macs == macs(1, 128)
    assert any("no safetensors files" in remark for remark in network.remarks)
    quantised = config_of(quantization_config={"quant_method": "awq", "bits": 4})
    write_folder(folder, quantised, {})
    with pytest.raises(InputError, match="told by the safetensors files, which are missing"):
        load(folder)


def test_a_text_network_inside_another(tmp_path: Path) -> None:
    text = config_of("gemma3_text", sliding_window=32)
    config = {
        "model_type": "gemma3",
        "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": {k: v for k, v in text.items() if k != "architectures"},
    }
    tensors = {f"language_model.{name}": info for name, info in llama(tied=True).items()}
    tensors |= linear("vision_tower.vision_model.encoder.layers.0.mlp.fc1", 64, 64)
    network = load(write_folder(tmp_path / "net", config, tensors), context=20, phase="decode")
    assert network.macs == macs(1, 20)
    assert any("other towers" in remark for remark in network.remarks)


def test_what_multiplies_and_is_not_known_is_said(tmp_path: Path) -> None:
    tensors = llama() | linear("model.layers.0.mixer.in_proj", 64, 64)
    network = load(write_folder(tmp_path / "net", config_of(), tensors))
    assert dict(network.unmodelled) == {"model.layers.N.mixer.in_proj": 1}
    latent = write_folder(tmp_path / "net", config_of(kv_lora_rank=8), llama())
    assert dict(load(latent).unmodelled) == {"latent_attention": 2}


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "lama", "architectures": ["Lama"]}, "did you mean 'llama'"),
        ({"num_hidden_layers": 3}, "num_hidden_layers is 3, and the tensors are of 2 blocks"),
        ({"num_attention_heads": 4}, "has 64 outputs; 4 heads of 8"),
        ({"num_attention_heads": "8"}, "not a whole number"),
        ({"hidden_size": None, "head_dim": None}, "hidden_size is missing"),
    ],
)
def test_settings_that_contradict_the_tensors(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    folder = write_folder(tmp_path / "net", config_of(**changes), llama())
    with pytest.raises(InputError) as caught:
        load(folder)
    assert said in str(caught.value)


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "net", config_of(), llama())
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"'model-00002\.safetensors' is listed"):
        load(folder)


def test_folders_that_are_no_networks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: file: no such file"):
        load(tmp_path)
    with pytest.raises(InputError, match="only a Hugging Face folder or a GGUF"):
        load("squeezenet1.1", context=5)
    folder = write_folder(tmp_path / "net", config_of(), llama())
    for question, said in (
        ({"phase": "train"}, "neither decode nor prefill"),
        ({"context": 0}, "not within 1 to"),
        ({"kv_bits": 0}, "kv_bits"),
    ):
        with pytest.raises(InputError, match=said):
            load(folder, **question)


# -- size -----------------------------------------------------------------------------------------


def seven_billion(folder: Path) -> Path:
    """Llama 2 7B: its header, and behind it a hole as large as its weights."""
    tensors: dict[str, Any] = {"model.embed_tokens.weight": ("F16", (32000, 4096))}
    for index in range(32):
        block = f"model.layers.{index}"
        for name in ("q", "k", "v", "o"):
            tensors |= linear(f"{block}.self_attn.{name}_proj", 4096, 4096, "F16")
        for name, inputs, outputs in (("gate", 4096, 11008), ("up", 4096, 11008)):
            tensors |= linear(f"{block}.mlp.{name}_proj", inputs, outputs, "F16")
        tensors |= linear(f"{block}.mlp.down_proj", 11008, 4096, "F16")
    tensors |= linear("lm_head", 4096, 32000, "F16")
    config = config_of(
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        head_dim=None,
        vocab_size=32000,
        max_position_embeddings=8192,
    )
    write_folder(folder, config, tensors)
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(13_500_000_000)
    return folder


# Kernels are compiled once for an installation, which is not what is measured.
COMPILED = """
import sys
import picojoule
from picojoule.frontends import load
network = load(sys.argv[1], context=8192, phase="decode")
picojoule.estimate(network, "nvdla-like", bits=8, cache=False)
"""
SEVEN_BILLION = """
import pathlib, re, resource, sys, time
import picojoule
from picojoule.frontends import load
start = time.process_time()
network = load(sys.argv[1], context=8192, phase="decode")
found = picojoule.estimate(network, "nvdla-like", bits=8, cache=False)
seconds = time.process_time() - start
status = pathlib.Path("/proc/self/status")
if status.exists():  # what getrusage says there includes the process that began this one
    most = int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1])
else:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(network.macs, seconds, most // 1024)
assert abs(sum(found.by_content.values()) - found.energy) < 1e-6 * found.energy
assert set(found.by_content) >= {"weights", "cache", "activations", "compute"}
"""


def test_seven_billion_parameters_in_little_time_and_memory(tmp_path: Path) -> None:
    folder = seven_billion(tmp_path / "llama")
    path = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", COMPILED, str(folder)], check=True, env=path)
    answer = subprocess.run(
        [sys.executable, "-c", SEVEN_BILLION, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env=path,
    )
    macs, seconds, megabytes = answer.stdout.split()
    # 32 blocks of 4 x 4096^2 + 3 x 4096 x 11008, the head, and 2 x 8192 x 4096 of attention each.
    assert int(macs) == 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 8192 * 4096) + 4096 * 32000
    assert float(seconds) < 10
    assert int(megabytes) < 1000


def test_energy_by_what_is_moved(tmp_path: Path) -> None:
    network: Workload = load(write_folder(tmp_path / "net", config_of(), llama()), context=64)
    found = picojoule.estimate(network, "nvdla-like", bits=8)
    parts = found.by_content
    assert sum(parts.values()) == pytest.approx(found.energy)
    cache = sum(x.by_operand["weight"] for x in found.layers if x.name.endswith("scores"))
    cache += sum(x.by_operand["weight"] for x in found.layers if x.name.endswith("context"))
    assert parts["cache"] == pytest.approx(cache)
    assert parts["compute"] == pytest.approx(found.by_operand["compute"])
