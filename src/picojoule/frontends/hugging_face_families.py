"""The families of Hugging Face models: what their settings mean, and leave out.

Defaults are those of transformers 5.24.0 (``models/*/configuration_*.py``), for settings that a
``config.json`` may not spell out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from picojoule.errors import did_you_mean
from picojoule.frontends.hugging_face_tensors import TensorInfo
from picojoule.frontends.products import ProblemError
from picojoule.frontends.source_file import Findings, shortened
from picojoule.workload import LARGEST_BOUND

# What other families call the same setting.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "num_hidden_layers": ("n_layer", "n_layers"),
    "num_attention_heads": ("n_head", "n_heads"),
    "hidden_size": ("n_embd", "dim"),
    "intermediate_size": ("n_inner", "hidden_dim"),
    "max_position_embeddings": ("n_positions", "n_ctx"),
    "num_experts": ("num_local_experts", "n_routed_experts"),
}
_FLOATS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}


class Settings:
    """The settings of a text network, by one name each, checked as they are asked for."""

    def __init__(self, config: Mapping[str, Any], defaults: Mapping[str, int]) -> None:
        self._config = config
        self._defaults = defaults

    def given(self, name: str) -> Any:
        """What the file says under any of a setting's names; None if nothing."""
        for alias in (name, *_ALIASES.get(name, ())):
            if self._config.get(alias) is not None:
                return self._config[alias]
        return None

    def whole(self, name: str, default: int | None = None) -> int:
        """A whole number, by default the family's.

        Raises:
            ProblemError: it is missing, or not possible.
        """
        number = self.given(name)
        if number is None:
            number = self._defaults.get(name, default)
        if number is None:
            raise ProblemError(f"{name} is missing")
        least = 0 if default == 0 else 1
        if type(number) is not int or not least <= number <= LARGEST_BOUND:
            raise ProblemError(
                f"{name} is {shortened(str(number))}, not a whole number of {least} to "
                f"{LARGEST_BOUND}"
            )
        return number

    def pair(self, name: str) -> tuple[int, int]:
        """A height and a width, which may be given as one number.

        Raises:
            ProblemError: it is missing, or not possible.
        """
        sides = self.given(name)
        if not isinstance(sides, list):
            return (self.whole(name), self.whole(name))
        if len(sides) != 2 or not all(type(x) is int and 1 <= x <= LARGEST_BOUND for x in sides):
            raise ProblemError(f"{name} is {shortened(str(sides))}, not a height and a width")
        return sides[0], sides[1]

    def flag(self, name: str) -> bool:
        return self.given(name) is True

    def window(self) -> int | None:
        """Tokens of sliding-window attention; null in the file is none, nothing the default."""
        if "sliding_window" in self._config and self._config["sliding_window"] is None:
            return None
        if "sliding_window" not in self._config and "sliding_window" not in self._defaults:
            return None
        return self.whole("sliding_window")

    def head_width(self, heads: int) -> int:
        """Width of one head: given, the family's, or an even share of the network's width."""
        if self.given("head_dim") is not None or "head_dim" in self._defaults:
            return self.whole("head_dim")
        hidden = self.whole("hidden_size")
        if hidden % heads:
            raise ProblemError(f"hidden_size {hidden} does not split into {heads} heads")
        return hidden // heads

    @property
    def architecture(self) -> str:
        """The class that the weights were saved from."""
        classes = self.given("architectures")
        return str(classes[0]) if isinstance(classes, list) and classes else ""

    @property
    def activation(self) -> str:
        activation = self.given("hidden_act") or self.given("hidden_activation")
        activation = activation or self.given("activation_function") or self.given("activation")
        return str(activation)[:40] if isinstance(activation, str) else "Activation"

    @property
    def float_type(self) -> str:
        """The safetensors type of a file's plain weights."""
        dtype = str(self.given("dtype") or self.given("torch_dtype") or "float32")
        if dtype not in _FLOATS:
            raise ProblemError(
                f"torch_dtype is {shortened(dtype)}{did_you_mean(dtype[:40], list(_FLOATS))}"
            )
        return _FLOATS[dtype]

    def attention_kind(self, index: int, family: Family) -> str:
        """What attention block *index* has, in the words of ``layer_types``."""
        if self.given("kv_lora_rank") is not None:
            return "latent_attention"
        listed = self.given("layer_types")
        if isinstance(listed, list):
            if index >= len(listed):
                raise ProblemError(f"layer_types has {len(listed)} entries, not one for each block")
            kind = str(listed[index])[:40]
            return kind if kind != "sliding_attention" or self.window() else "full_attention"
        slides = self.window() is not None and family.slides_at(self, index)
        return "sliding_attention" if slides else "full_attention"


Tensors = Callable[[Settings], dict[str, TensorInfo]]


def _named(settings: Settings, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
    if settings.given("quantization_config") is not None:
        raise ProblemError(
            "the weights are quantised, and how is told by the safetensors files, which are missing"
        )
    return {name: TensorInfo(settings.float_type, shape) for name, shape in shapes.items()}


def _decoder_tensors(settings: Settings) -> dict[str, TensorInfo]:
    """The tensors of Llama and what is shaped like it, experts included."""
    hidden, heads = settings.whole("hidden_size"), settings.whole("num_attention_heads")
    width = settings.head_width(heads)
    kv_heads = settings.whole("num_key_value_heads", heads)
    inner, vocabulary = settings.whole("intermediate_size"), settings.whole("vocab_size")
    experts = settings.whole("num_experts", 0)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for index in range(_few(settings.whole("num_hidden_layers"), max(1, experts))):
        block = f"model.layers.{index}"
        shapes |= {
            f"{block}.self_attn.q_proj.weight": (heads * width, hidden),
            f"{block}.self_attn.k_proj.weight": (kv_heads * width, hidden),
            f"{block}.self_attn.v_proj.weight": (kv_heads * width, hidden),
            f"{block}.self_attn.o_proj.weight": (hidden, heads * width),
            f"{block}.input_layernorm.weight": (hidden,),
            f"{block}.post_attention_layernorm.weight": (hidden,),
        }
        if experts:
            inner = settings.whole("moe_intermediate_size", inner)
            shapes[f"{block}.mlp.gate.weight"] = (experts, hidden)
        roots = [f"{block}.mlp.experts.{n}" for n in range(experts)] or [f"{block}.mlp"]
        for root in roots:
            shapes[f"{root}.gate_proj.weight"] = (inner, hidden)
            shapes[f"{root}.up_proj.weight"] = (inner, hidden)
            shapes[f"{root}.down_proj.weight"] = (hidden, inner)
    shapes["model.norm.weight"] = (hidden,)
    if not settings.flag("tie_word_embeddings"):
        shapes["lm_head.weight"] = (vocabulary, hidden)
    return _named(settings, shapes)


def _gpt2_tensors(settings: Settings) -> dict[str, TensorInfo]:
    hidden, vocabulary = settings.whole("hidden_size"), settings.whole("vocab_size")
    inner = settings.whole("intermediate_size", 4 * hidden)
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (vocabulary, hidden)}
    for index in range(_few(settings.whole("num_hidden_layers"), 1)):
        shapes |= {
            f"h.{index}.attn.c_attn.weight": (hidden, 3 * hidden),
            f"h.{index}.attn.c_proj.weight": (hidden, hidden),
            f"h.{index}.mlp.c_fc.weight": (hidden, inner),
            f"h.{index}.mlp.c_proj.weight": (inner, hidden),
            f"h.{index}.ln_1.weight": (hidden,),
            f"h.{index}.ln_2.weight": (hidden,),
        }
    return _named(settings, {**shapes, "ln_f.weight": (hidden,)})


def _encoder_tensors(root: str, own: str) -> Tensors:
    """BERT's and ViT's blocks; *own* is what stands between a block and its projections."""

    def tensors(settings: Settings) -> dict[str, TensorInfo]:
        hidden, inner = settings.whole("hidden_size"), settings.whole("intermediate_size")
        shapes: dict[str, tuple[int, ...]] = {}
        if root == "vit":
            patch = settings.pair("patch_size")
            channels = settings.whole("num_channels", 3)
            where = "embeddings.patch_embeddings.projection.weight"
            shapes[where] = (hidden, channels, *patch)
        else:
            vocabulary = settings.whole("vocab_size")
            shapes["embeddings.word_embeddings.weight"] = (vocabulary, hidden)
            shapes["pooler.dense.weight"] = (hidden, hidden)
        for index in range(_few(settings.whole("num_hidden_layers"), 1)):
            block = f"encoder.layer.{index}"
            for name in ("query", "key", "value"):
                shapes[f"{block}.attention.{own}.{name}.weight"] = (hidden, hidden)
            shapes[f"{block}.attention.output.dense.weight"] = (hidden, hidden)
            shapes[f"{block}.intermediate.dense.weight"] = (inner, hidden)
            shapes[f"{block}.output.dense.weight"] = (hidden, inner)
        return _named(settings, shapes)

    return tensors


def _few(layers: int, experts: int) -> int:
    if layers * experts > 100_000:
        raise ProblemError(f"{layers} blocks of {experts} experts are more than any network has")
    return layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How one family of models is built.

    Args:
        causal: it decodes with a cache of keys and values.
        images: tokens come from an image.
        fixed_positions: it has a learned embedding for each position.
        transposed: modules that store their weights as [inputs, outputs].
        buffers: names of tensors that are not weights.
        tied_head: the layer of logits that may share the embedding.
        slides: which blocks have sliding-window attention: "none", "all", those of Qwen from
            ``max_window_layers`` on, or all but every n-th.
        defaults: settings that a file may leave out.
        tensors: what there is where no safetensors file tells; None: that cannot be known.
    """

    causal: bool = True
    images: bool = False
    fixed_positions: bool = False
    transposed: frozenset[str] = frozenset()
    buffers: frozenset[str] = frozenset()
    tied_head: str = "lm_head"
    slides: str = "none"
    defaults: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    tensors: Tensors | None = _decoder_tensors

    def slides_at(self, settings: Settings, index: int) -> bool:
        """Whether block *index* attends to a window, if there is one."""
        if self.slides == "qwen":
            start = settings.whole("max_window_layers", 0)
            return settings.flag("use_sliding_window") and index >= start
        if self.slides == "pattern":
            return (index + 1) % settings.whole("sliding_window_pattern") != 0
        return self.slides == "all"


def _decoder(slides: str = "none", **defaults: int) -> Family:
    return Family(slides=slides, defaults=defaults)


_BERT = Family(
    causal=False,
    fixed_positions=True,
    tied_head="cls.predictions.decoder",
    tensors=_encoder_tensors("bert", "self"),
)
_ROBERTA = Family(
    causal=False, fixed_positions=True, tied_head="lm_head.decoder", tensors=_BERT.tensors
)
_VIT = Family(causal=False, images=True, tied_head="", tensors=_encoder_tensors("vit", "attention"))
_GEMMA = {"head_dim": 256, "num_attention_heads": 8, "num_key_value_heads": 4}

FAMILIES: Mapping[str, Family] = {
    "llama": _decoder(),
    "mistral": _decoder("all", num_key_value_heads=8, sliding_window=4096),
    "mixtral": _decoder("all", num_key_value_heads=8, num_experts=8, num_experts_per_tok=2),
    "qwen2": _decoder("qwen", sliding_window=4096, max_window_layers=28),
    "qwen2_moe": _decoder(
        "qwen", sliding_window=4096, max_window_layers=28, num_experts=60, num_experts_per_tok=4
    ),
    "qwen3": _decoder("qwen", head_dim=128, sliding_window=4096, max_window_layers=28),
    "qwen3_moe": _decoder(
        "qwen", sliding_window=4096, num_key_value_heads=4, num_experts=128, num_experts_per_tok=8
    ),
    "gemma": _decoder(head_dim=256, num_attention_heads=16, num_key_value_heads=16),
    "gemma2": _decoder("pattern", sliding_window=4096, sliding_window_pattern=2, **_GEMMA),
    "gemma3_text": _decoder("pattern", sliding_window=4096, sliding_window_pattern=6, **_GEMMA),
    "phi3": _decoder("all"),
    "granite": _decoder(),
    "olmo": _decoder(),
    "olmo2": _decoder(),
    "smollm3": _decoder(),
    "starcoder2": _decoder("all"),
    "gpt2": Family(
        fixed_positions=True,
        transposed=frozenset({"c_attn", "c_proj", "c_fc"}),
        buffers=frozenset({"bias", "masked_bias"}),
        tensors=_gpt2_tensors,
    ),
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "distilbert": Family(
        causal=False, fixed_positions=True, tied_head="vocab_projector", tensors=None
    ),
    "vit": _VIT,
    "deit": _VIT,
}


def settings_of(config: Mapping[str, Any], findings: Findings) -> tuple[Settings, Family]:
    """The settings of the network of text (or of images), and its family."""
    text = config.get("text_config")
    if isinstance(text, dict):
        # What both have is the network's as a whole: its class, the type of its weights.
        config = {**{k: v for k, v in config.items() if k != "model_type"}, **text}
        config.setdefault("model_type", "llama")
    kind = config.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        named = str(kind)[:60]
        settings = Settings(config, {})
        if settings.architecture.endswith("ForCausalLM"):
            # Named and shaped like Llama, or its blocks will be refused.
            return settings, Family(tensors=None)
        findings.add(
            "config.json",
            f"model_type {shortened(named)} is not read{did_you_mean(named, list(FAMILIES))}; "
            f"read are {', '.join(FAMILIES)}; an export to ONNX is read of any network",
        )
        family = Family()
    return Settings(config, family.defaults), family
