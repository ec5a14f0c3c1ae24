"""Hugging Face folders as workloads: ``config.json`` and the headers of the safetensors files.

No tensor is read. Which projections there are, of which size and in which format, is told by the
tensors; how attention joins them, by the settings. What the settings leave out is what
transformers takes for that family of models.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from picojoule.errors import InputError, Mistake, WorkloadError
from picojoule.frontends.decoder import (
    Attention,
    Format,
    Part,
    Projection,
    Question,
    Transformer,
    patch_layer,
    workload_of,
)
from picojoule.frontends.hugging_face_families import settings_of
from picojoule.frontends.hugging_face_tensors import (
    FLOAT_BITS,
    Quantization,
    StoredMatrix,
    TensorInfo,
    float_bits,
    matrix_of,
    modules_of,
    read_folder_headers,
    read_json,
)
from picojoule.frontends.products import ProblemError
from picojoule.frontends.source_file import Findings, shortened
from picojoule.workload import Layer, Workload

SETTINGS = "config.json"

_BLOCK = re.compile(r"(.*?(?:^|\.)(?:layers|layer|h|blocks))\.(\d{1,6})\.(.+)", re.DOTALL)
_EXPERT = re.compile(r"(.*\bexperts)\.(\d{1,6})\.(.+)", re.DOTALL)
_EMBEDDING = re.compile(
    r"(^|\.)(embed_tokens|wte|wpe|word_embeddings|position_embeddings|token_type_embeddings)$"
)
_OTHER_TOWERS = re.compile(
    r"(^|\.)(vision_tower|vision_model|visual|multi_modal_projector|audio_tower|embed_vision)\."
)

# Last names of a block's modules, in the order in which they run; attention comes after the third.
_ORDER: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "q_proj query q_lin qkv_proj c_attn query_key_value",
        "k_proj key k_lin",
        "v_proj value v_lin",
        "o_proj out_lin attn.c_proj attention.output.dense",
        "gate router shared_expert_gate",
        "gate_proj up_proj gate_up_proj c_fc intermediate.dense lin1 w1 w3 fc1",
        "down_proj mlp.c_proj output.dense lin2 w2 fc2",
    )
)
_ATTENTION_AT = 3
_FUSED = frozenset({"qkv_proj", "c_attn", "query_key_value"})

# Modules outside the blocks: for which tokens they are.
_HEADS: Mapping[str, str] = {
    "lm_head": "last",
    "score": "last",
    "pooler.dense": "one",
    "classifier": "one",
    "classifier.dense": "one",
    "classifier.out_proj": "one",
    "pre_classifier": "one",
    "cls.seq_relationship": "one",
    "cls.predictions.transform.dense": "all",
    "cls.predictions.decoder": "all",
    "lm_head.dense": "all",
    "lm_head.decoder": "all",
    "qa_outputs": "all",
    "vocab_transform": "all",
    "vocab_projector": "all",
}
_FOR_EVERY_TOKEN = ("ForTokenClassification", "ForMaskedLM", "ForPreTraining")


def read_hugging_face(
    folder: str | PathLike[str],
    *,
    name: str | None = None,
    context: int | None = None,
    phase: str | None = None,
    kv_bits: int | None = None,
) -> Workload:
    """Read a network from a folder with ``config.json`` and safetensors files.

    Args:
        name: of the network; by default that of the folder.
        context: tokens of the prompt, or that a decoded token attends to with itself.
        phase: "decode" or "prefill".
        kv_bits: width of the cache of keys and values; by default that of the activations.

    Raises:
        InputError: the folder holds no such network, it is damaged, or the question does not suit.
    """
    place, source = Path(folder), fspath(folder)
    findings = Findings(source)
    config = read_json(place / SETTINGS, findings)
    try:
        tensors = read_folder_headers(place, findings)
    except OSError as error:
        raise InputError(source, [Mistake("folder", f"cannot be read: {error}")]) from error
    findings.raise_if_any()
    question = Question(context=context, phase=phase, kv_bits=kv_bits)
    try:
        network = _Reading(config, tensors, findings).network(name or place.resolve().name, source)
        findings.raise_if_any()
        return workload_of(network, question)
    except (ProblemError, WorkloadError) as error:
        findings.add(SETTINGS, str(error))
        raise findings.error() from error


@dataclass(slots=True)
class _Block:
    """The projections of one block by rank, and those of its experts."""

    prefix: str
    ranked: list[tuple[int, Projection]] = field(default_factory=list)
    fused: bool = False


class _Reading:
    """One folder's settings and tensors, on their way to a transformer."""

    def __init__(
        self, config: Mapping[str, Any], tensors: Mapping[str, TensorInfo], findings: Findings
    ) -> None:
        self._findings = findings
        self._settings, self._family = settings_of(config, findings)
        self._asked = Quantization(config)
        self._unmodelled: Counter[str] = Counter()
        self._remarks: dict[str, None] = {}
        self._blocks: dict[int, _Block] = {}
        self._heads: list[Projection] = []
        self._embeddings: dict[str, TensorInfo] = {}
        self._patches: list[tuple[str, TensorInfo]] = []
        self._experts: dict[tuple[int, str], list[StoredMatrix]] = {}
        self._norms = 0
        self._tensors = tensors

    def network(self, name: str, source: str) -> Transformer:
        """The transformer.

        Raises:
            InputError, ProblemError: it is none that is understood.
        """
        self._findings.raise_if_any()
        settings, family = self._settings, self._family
        tensors = self._tensors
        if not tensors:
            if family.tensors is None:
                raise ProblemError(
                    "the folder has no safetensors files, and these settings alone do not tell "
                    "the shapes; pickled weights (.bin) are not read: save them as safetensors"
                )
            tensors = family.tensors(settings)
            self._remarks[
                "the folder has no safetensors files: shapes and widths are those of config.json"
            ] = None
        self._sort(tensors)
        self._findings.raise_if_any()
        layers = settings.whole("num_hidden_layers")
        if len(self._blocks) != layers or max(self._blocks) >= layers:
            raise ProblemError(
                f"num_hidden_layers is {layers}, and the tensors are of {len(self._blocks)} blocks"
                f"{'' if self._tensors else ' (none are there)'}"
            )
        parts: list[Part] = []
        for index in range(layers):
            parts += self._block_parts(index)
        parts += self._heads
        parts += self._tied_head()
        patches, tokens = self._image_tokens()
        self._findings.raise_if_any()
        wide = {info.dtype for info in tensors.values()} & {"F32", "F64"}
        if wide:
            self._remarks[f"floats of training count as {FLOAT_BITS} bits"] = None
        return Transformer(
            name=name,
            parts=tuple(parts),
            causal=family.causal,
            activations=Format(FLOAT_BITS),
            top_k=settings.whole("num_experts_per_tok", 0),
            most_positions=settings.whole("max_position_embeddings", 0),
            fixed_positions=family.fixed_positions,
            tokens=tokens,
            patches=patches,
            not_counted=self._not_counted(layers),
            unmodelled=self._unmodelled,
            remarks=tuple(self._remarks),
            source=source,
        )

    # -- sorting tensors -------------------------------------------------------------------------

    def _sort(self, tensors: Mapping[str, TensorInfo]) -> None:
        left_out = 0
        for module, leaves in modules_of(tensors).items():
            if _OTHER_TOWERS.search(f"{module}."):
                left_out += 1
                continue
            try:
                self._place(module, leaves)
            except ProblemError as error:
                self._findings.add(shortened(module, 80), str(error))
        if left_out:
            self._remarks[
                f"{left_out} modules of other towers (images, sound) are no part of a text token"
            ] = None
        for (index, group), matrices in self._experts.items():
            self._add_experts(index, group, matrices)

    def _place(self, module: str, leaves: Mapping[str, TensorInfo]) -> None:
        """Put one module where it belongs."""
        block = _BLOCK.fullmatch(module)
        last = module.rpartition(".")[2]
        weight = leaves.get("weight")
        if _EMBEDDING.search(module):
            if weight is not None:
                self._embeddings[module] = weight
        elif weight is not None and len(weight.shape) == 4 and block is None:
            self._patches.append((module, weight))
        elif block is None:
            self._place_head(module, leaves)
        elif self._family.buffers and last in self._family.buffers:
            return
        else:
            self._place_in_block(module, int(block[2]), block[1], block[3], leaves)

    def _place_head(self, module: str, leaves: Mapping[str, TensorInfo]) -> None:
        matrix = matrix_of(leaves, self._asked)
        if matrix is None:
            self._norms += "weight" in leaves and len(leaves["weight"].shape) == 1
            self._note_unknown(module, leaves)
            return
        for root in ("", "model.", "transformer.", *(f"{word}." for word in _ROOTS)):
            rows = _HEADS.get(module.removeprefix(root))
            if rows is not None:
                break
        else:
            self._unmodelled[module] += 1
            return
        architecture = self._settings.architecture
        if module in ("classifier", "score") and architecture.endswith(_FOR_EVERY_TOKEN):
            rows = "all"
        if rows == "last" and not self._family.causal:
            rows = "all"
        self._heads.append(self._projection(module, matrix, rows=rows))

    def _place_in_block(
        self,
        module: str,
        index: int,
        root: str,
        inside: str,
        leaves: Mapping[str, TensorInfo],
    ) -> None:
        block = self._blocks.setdefault(index, _Block(f"{root}.{index}"))
        stacked = self._stacked(inside, leaves)
        if stacked:
            for leaf, experts in stacked.items():
                block.ranked.append((_rank(leaf), self._projection(f"{module}.{leaf}", experts)))
            return
        transposed = _last(inside) in self._family.transposed
        matrix = matrix_of(leaves, self._asked, transposed=transposed)
        if matrix is None:
            self._norms += "weight" in leaves and len(leaves["weight"].shape) == 1
            self._note_unknown(re.sub(r"\d+", "N", module), leaves)
            return
        expert = _EXPERT.fullmatch(inside)
        if expert is not None:
            key = (index, f"{root}.{index}.{expert[1]}.{expert[3]}")
            self._experts.setdefault(key, []).append(matrix)
            return
        rank = _rank(inside)
        if rank < 0:
            self._unmodelled[re.sub(r"\d+", "N", module)] += 1
            return
        block.fused |= _last(inside) in _FUSED
        block.ranked.append((rank, self._projection(module, matrix, cached=rank in (1, 2))))

    def _stacked(self, inside: str, leaves: Mapping[str, TensorInfo]) -> dict[str, StoredMatrix]:
        """Experts that are kept side by side in one tensor of three dimensions."""
        if _last(inside) != "experts":
            return {}
        hidden = self._settings.whole("hidden_size")
        matrices = {}
        for leaf, info in leaves.items():
            if len(info.shape) != 3 or _rank(leaf) < 0:
                continue
            copies, *sides = info.shape
            into = _rank(leaf) == len(_ORDER) - 1
            other = sides[0] if sides[1] == hidden else sides[1]
            inputs, outputs = (other, hidden) if into else (hidden, other)
            if min(copies, inputs, outputs) < 1 or sorted(sides) != sorted((hidden, other)):
                raise ProblemError(f"{leaf} of shape {list(info.shape)}, hidden_size {hidden}")
            matrices[leaf] = StoredMatrix(inputs, outputs, Format(float_bits(info)), copies=copies)
        return matrices

    def _add_experts(self, index: int, group: str, matrices: list[StoredMatrix]) -> None:
        if len({replace(matrix, copies=0) for matrix in matrices}) != 1:
            self._findings.add(shortened(group, 80), "the experts differ in shape or format")
            return
        matrix = replace(matrices[0], copies=len(matrices))
        rank = max(_rank(group), len(_ORDER) - 2)
        self._blocks[index].ranked.append((rank, self._projection(group, matrix)))

    def _note_unknown(self, module: str, leaves: Mapping[str, TensorInfo]) -> None:
        """Matrices in a form that no layer is made of, beyond tables that are only looked up."""
        tables = self._family.buffers | {"bias", "position_embeddings", "position_embedding"}
        for leaf, info in leaves.items():
            sides = [size for size in info.shape if size > 1]
            if len(sides) > 1 and leaf not in tables:
                self._unmodelled[f"{module}.{leaf}"] += 1

    def _projection(
        self, name: str, matrix: StoredMatrix, *, rows: str = "all", cached: bool = False
    ) -> Projection:
        experts = matrix.copies
        if experts:
            said = self._settings.whole("num_experts", experts)
            top_k = self._settings.whole("num_experts_per_tok", 0)
            if said != experts or not 1 <= top_k <= experts:
                raise ProblemError(
                    f"{name}: {experts} experts, config.json says {said}, of which {top_k} at once"
                )
        return Projection(
            name=name,
            inputs=matrix.inputs,
            outputs=matrix.outputs,
            weights=matrix.weights,
            rows=rows,
            cached=cached and self._family.causal,
            inputs_format=matrix.activations,
            experts=experts,
        )

    # -- putting it together ---------------------------------------------------------------------

    def _block_parts(self, index: int) -> list[Part]:
        block = self._blocks[index]
        ranked = sorted(block.ranked, key=lambda item: item[0])
        before = [part for rank, part in ranked if rank < _ATTENTION_AT]
        after = [part for rank, part in ranked if rank >= _ATTENTION_AT]
        kind = self._settings.attention_kind(index, self._family)
        if kind not in ("full_attention", "sliding_attention"):
            self._unmodelled[kind] += 1
            return [*before, *after]
        attention = self._attention(block, dict(ranked), kind)
        return [*before, attention, *after]

    def _attention(self, block: _Block, by_rank: Mapping[int, Projection], kind: str) -> Attention:
        settings = self._settings
        heads = settings.whole("num_attention_heads")
        width = settings.head_width(heads)
        kv_heads = settings.whole("num_key_value_heads", heads)
        query, key, value = (by_rank.get(rank) for rank in range(_ATTENTION_AT))
        if query is None or (not block.fused and (key is None or value is None)):
            raise ProblemError(
                f"{block.prefix} has no projections of queries, keys and values that are known"
            )
        expected = (heads + 2 * kv_heads) * width if block.fused else heads * width
        sizes = [(query, expected)]
        sizes += [(part, kv_heads * width) for part in (key, value) if part is not None]
        for part, size in sizes:
            if part.outputs != size:
                raise ProblemError(
                    f"{part.name} has {part.outputs} outputs; {heads} heads of {width}, "
                    f"{kv_heads} of keys, make {size}"
                )
        if heads % kv_heads:
            raise ProblemError(f"{heads} heads do not share {kv_heads} of keys evenly")
        inner = "self_attn" if ".self_attn." in query.name else "attention"
        return Attention(
            name=f"{block.prefix}.{inner}",
            heads=heads,
            kv_heads=kv_heads,
            key_width=width,
            value_width=width,
            window=settings.window() if kind == "sliding_attention" else None,
        )

    def _tied_head(self) -> list[Projection]:
        """The layer of logits that is the embedding once more."""
        architecture = self._settings.architecture
        head = self._family.tied_head
        heads = {part.name for part in self._heads}
        if (
            not architecture.endswith(("ForCausalLM", "LMHeadModel", *_FOR_EVERY_TOKEN[1:]))
            and "ForConditionalGeneration" not in architecture
        ) or not head:
            return []
        if any(name.endswith(head) for name in heads):
            return []
        tables = [
            info
            for name, info in self._embeddings.items()
            if name.endswith(("embed_tokens", "wte", "word_embeddings"))
        ]
        if not tables or len(tables[0].shape) != 2:
            raise ProblemError(f"neither {head} nor an embedding of tokens is among the tensors")
        matrix = matrix_of({"weight": tables[0]}, self._asked)
        assert matrix is not None
        self._remarks[f"{head} shares the weights of the embedding"] = None
        rows = "last" if self._family.causal else "all"
        return [self._projection(head, matrix, rows=rows)]

    def _image_tokens(self) -> tuple[tuple[Layer, ...], int]:
        """The convolution over the image, and how many tokens there are."""
        if not self._family.images:
            for module, _ in self._patches:
                self._unmodelled[module] += 1
            return (), 0
        if len(self._patches) != 1:
            raise ProblemError("there is not one convolution that makes tokens of the image")
        module, weight = self._patches[0]
        width, channels, *patch = weight.shape
        size = self._settings.pair("image_size")
        if min(patch) < 1:
            raise ProblemError(f"{module} of shape {list(weight.shape)}")
        layer = patch_layer(module, size, (patch[0], patch[1]), channels, width)
        extra = sum(name.endswith(("cls_token", "distillation_token")) for name in self._tensors)
        tokens = layer.bounds.P * layer.bounds.Q + (extra or 1)
        return (layer,), tokens

    def _not_counted(self, layers: int) -> dict[str, int]:
        activation = self._settings.activation
        counts = Counter(
            {"Softmax": layers, activation: layers, "Add": 2 * layers, "Norm": self._norms}
        )
        counts["Embedding"] = len(self._embeddings)
        return {name: count for name, count in counts.items() if count}


_ROOTS = ("bert", "roberta", "vit", "deit", "distilbert", "language_model", "language_model.model")


def _last(inside: str) -> str:
    return inside.rpartition(".")[2]


def _rank(inside: str) -> int:
    """When a module of a block runs; -1 if its name is not known."""
    for rank, names in enumerate(_ORDER):
        if any(f".{inside}".endswith(f".{name}") for name in names if "." in name):
            return rank
    last = _last(inside)
    return next((rank for rank, names in enumerate(_ORDER) if last in names), -1)
