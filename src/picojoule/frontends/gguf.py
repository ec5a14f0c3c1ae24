"""GGUF files, llama.cpp's, as workloads: no tensor is read, only the header."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path

from picojoule.errors import WorkloadError
from picojoule.frontends.decoder import (
    Attention,
    Format,
    Part,
    Projection,
    Question,
    Transformer,
    workload_of,
)
from picojoule.frontends.gguf_file import Header, StoredTensor, read_header
from picojoule.frontends.products import ProblemError
from picojoule.frontends.source_file import Findings, shortened
from picojoule.workload import LARGEST_BOUND, Workload

ACTIVATION_BITS = 16

_BLOCK = re.compile(r"blk\.(\d{1,6})\.(.+)\.weight")

# A block's tensors in the order in which they run; attention comes after the third.
_ORDER = (
    *(("attn_qkv", "attn_q"), ("attn_k",), ("attn_v",), ("attn_output",)),
    ("ffn_gate_inp", "ffn_gate_inp_shexp"),
    (
        *("ffn_gate", "ffn_up", "ffn_gate_up", "ffn_gate_exps", "ffn_up_exps"),
        *("ffn_gate_up_exps", "ffn_gate_shexp", "ffn_up_shexp"),
    ),
    ("ffn_down", "ffn_down_exps", "ffn_down_shexp"),
)
_RANK: Mapping[str, int] = {name: rank for rank, names in enumerate(_ORDER) for name in names}
_ATTENTION_AT = 3

# Every so many blocks one attends to all tokens, the others to a window; llama.cpp has these in
# its sources (llama-model.cpp, set_swa_pattern), newer files in attention.sliding_window_pattern.
_FULL_EVERY: Mapping[str, int] = {"gemma2": 2, "gemma3": 6, "cohere2": 4, "gpt-oss": 2}

_LOOKED_UP = ("token_embd", "position_embd", "token_types", "per_layer_token_embd", "rope_freqs")
_CLASSIFIERS = ("cls", "cls.output")


def read_gguf(
    path: str | PathLike[str],
    *,
    name: str | None = None,
    context: int | None = None,
    phase: str | None = None,
    kv_bits: int | None = None,
) -> Workload:
    """Read a network from a GGUF file.

    Args:
        name: of the network; by default that of the file.
        context: tokens of the prompt, or that a decoded token attends to with itself.
        phase: "decode" or "prefill".
        kv_bits: width of the cache of keys and values; by default that of the activations.

    Raises:
        InputError: the file is no GGUF file, it is damaged, or the question does not suit.
    """
    file, source = Path(path), fspath(path)
    header = read_header(file)
    findings = Findings(source)
    try:
        network = _Reading(header).network(name or file.stem, source)
        return workload_of(network, Question(context=context, phase=phase, kv_bits=kv_bits))
    except (ProblemError, WorkloadError) as error:
        findings.add("header", str(error))
        raise findings.error() from error


class _Reading:
    """One header on its way to a transformer."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._kind = str(header.settings.get("general.architecture", ""))[:60]
        self._blocks: dict[int, dict[str, StoredTensor]] = {}
        self._unmodelled: Counter[str] = Counter()
        self._norms = 0
        self._remarks: dict[str, None] = {}

    def network(self, name: str, source: str) -> Transformer:
        heads: list[Part] = []
        for tensor, stored in self._header.tensors.items():
            heads += self._sorted(tensor, stored)
        blocks = self._whole("block_count")
        if len(self._blocks) != blocks or max(self._blocks, default=-1) >= blocks:
            raise ProblemError(
                f"{self._kind}.block_count is {blocks}, and there are tensors of "
                f"{len(self._blocks)} blocks (of a file in parts, all must be one: "
                "llama-gguf-split --merge)"
            )
        parts = [part for index in range(blocks) for part in self._block(index)]
        causal = self._header.settings.get(f"{self._kind}.attention.causal", True) is not False
        if causal and not heads:
            heads = self._tied_head()
        if any(t.format.name in ("F32", "F64") for t in self._header.tensors.values()):
            self._remarks[f"floats of training count as {ACTIVATION_BITS} bits"] = None
        counts = Counter({"Norm": self._norms, "Softmax": blocks, "Activation": blocks})
        counts["Embedding"] = sum(name in self._header.tensors for name in ("token_embd.weight",))
        return Transformer(
            name=name,
            parts=(*parts, *heads),
            causal=causal,
            activations=Format(ACTIVATION_BITS),
            top_k=self._whole("expert_used_count", 0),
            most_positions=self._whole("context_length", 0),
            fixed_positions="position_embd.weight" in self._header.tensors,
            not_counted={what: count for what, count in counts.items() if count},
            unmodelled=self._unmodelled,
            remarks=tuple(self._remarks),
            source=source,
        )

    def _whole(self, name: str, default: int | None = None, index: int = 0) -> int:
        """A setting of the architecture; some are lists with one number for each block."""
        setting = self._header.settings.get(f"{self._kind}.{name}", default)
        if isinstance(setting, tuple):
            setting = setting[index] if index < len(setting) else None
        least = 0 if default == 0 else 1
        if type(setting) is not int or not least <= setting <= LARGEST_BOUND:
            raise ProblemError(
                f"{self._kind}.{name} is {shortened(str(setting))}, not a whole number of at least "
                f"{least}"
            )
        return setting

    def _sorted(self, name: str, stored: StoredTensor) -> list[Part]:
        """Put a tensor into its block; return the layer it is, if it is of no block."""
        block = _BLOCK.fullmatch(name)
        sides = [size for size in stored.shape if size > 1]
        if len(sides) < 2:
            self._norms += name.endswith("_norm.weight")
        elif block is not None:
            self._blocks.setdefault(int(block[1]), {})[block[2]] = stored
        elif name == "output.weight":
            return [self._projection("output", stored, rows="last")]
        elif name.removesuffix(".weight") in _CLASSIFIERS:
            return [self._projection(name.removesuffix(".weight"), stored, rows="one")]
        elif not name.startswith(_LOOKED_UP):
            self._unmodelled[re.sub(r"\d+", "N", name)[:80]] += 1
        return []

    def _projection(
        self, name: str, stored: StoredTensor, *, rows: str = "all", cached: bool = False
    ) -> Projection:
        stacked = name.endswith("_exps")
        if len(stored.shape) != (3 if stacked else 2):
            raise ProblemError(f"{shortened(name)} of shape {list(stored.shape)}")
        experts = stored.shape[2] if stacked else 0
        if experts and not 1 <= self._whole("expert_used_count", 0) <= experts:
            raise ProblemError(f"{shortened(name)} has {experts} experts; expert_used_count is not")
        return Projection(
            name=name,
            inputs=stored.shape[0],
            outputs=stored.shape[1],
            weights=stored.format.as_stored(),
            rows=rows,
            cached=cached,
            experts=experts,
        )

    def _tied_head(self) -> list[Part]:
        table = self._header.tensors.get("token_embd.weight")
        if table is None:
            raise ProblemError("neither output.weight nor token_embd.weight is among the tensors")
        self._remarks["output shares the weights of token_embd"] = None
        return [self._projection("output", table, rows="last")]

    def _block(self, index: int) -> list[Part]:
        before: list[tuple[int, Projection]] = []
        for name, stored in self._blocks[index].items():
            rank = _RANK.get(name)
            if rank is None:
                self._unmodelled[f"blk.N.{name}"[:80]] += 1
                continue
            part = self._projection(f"blk.{index}.{name}", stored, cached=rank in (1, 2))
            before.append((rank, part))
        before.sort(key=lambda item: item[0])
        first = [part for rank, part in before if rank < _ATTENTION_AT]
        rest = [part for rank, part in before if rank >= _ATTENTION_AT]
        attention = self._attention(index, first)
        return [*first, *([attention] if attention else []), *rest]

    def _attention(self, index: int, before: list[Projection]) -> Attention | None:
        names = [part.name.rpartition(".")[2] for part in before]
        if names not in (["attn_qkv"], ["attn_q", "attn_k", "attn_v"]):
            self._unmodelled[f"attention ({', '.join(names) or 'of no known kind'})"[:80]] += 1
            return None
        heads = self._whole("attention.head_count", index=index)
        kv_heads = self._whole("attention.head_count_kv", heads, index)
        share = max(1, self._whole("embedding_length") // heads)
        key_width = self._whole("attention.key_length", share)
        value_width = self._whole("attention.value_length", share)
        sizes = [heads * key_width, kv_heads * key_width, kv_heads * value_width]
        outputs = [part.outputs for part in before]
        if outputs != (sizes if len(outputs) == len(sizes) else [sum(sizes)]):
            raise ProblemError(
                f"blk.{index}: {' and '.join(names)} have {outputs} outputs; {heads} heads of "
                f"{key_width} and {kv_heads} of keys make {sizes}"
            )
        if heads % kv_heads:
            raise ProblemError(f"{heads} heads do not share {kv_heads} of keys evenly")
        return Attention(
            name=f"blk.{index}.attn",
            heads=heads,
            kv_heads=kv_heads,
            key_width=key_width,
            value_width=value_width,
            window=self._window(index),
        )

    def _window(self, index: int) -> int | None:
        window = self._whole("attention.sliding_window", 0)
        if not window:
            return None
        pattern = self._header.settings.get(f"{self._kind}.attention.sliding_window_pattern")
        if isinstance(pattern, tuple):
            return window if index < len(pattern) and pattern[index] else None
        every = pattern if type(pattern) is int else _FULL_EVERY.get(self._kind)
        if every is None:
            self._remarks[
                f"which blocks of {self._kind} attend to a window of {window} tokens is not said: "
                "all attend to the whole context"
            ] = None
            return None
        return window if every < 1 or index % every < every - 1 else None
