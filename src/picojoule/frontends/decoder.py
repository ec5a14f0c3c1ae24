"""Transformers as layers: projections with stored weights, and attention over a context.

Files of weights (Hugging Face folders, GGUF) say which projections a block has and in which format
each is stored; their settings say how attention joins them. Here both become a workload, for one
token that is decoded or for a whole prompt.

Conventions
- Decode: one token attends to ``context`` tokens, itself included. Prefill: all ``context`` tokens
  at once; the masked half of the scores is counted, logits are made for the last token only.
- Keys and values of the cache are the second operand of ``….scores`` and ``….context``, read once
  for all query heads that share them (G is their number). What writes them is the output of the
  projections that make them.
- A layer of sliding-window attention reads at most its window; in prefill the prompt is cut into
  windows, as many products as there are tokens times the window.
- Of experts only those that a token is routed to are counted; in prefill the tokens spread evenly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from picojoule.frontends.products import ProblemError, expert_layers
from picojoule.workload import Extents, Layer, PerOperand, Workload, conv

PHASES = ("decode", "prefill")
DEFAULT_CONTEXT = 2048
LARGEST_CONTEXT = 1 << 24


@dataclass(frozen=True, slots=True)
class Format:
    """How values are stored: their width, and the bits of scales and zero points that each has."""

    bits: int
    scale_bits: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A product with stored weights.

    Args:
        rows: how many tokens it is for: "all" of them, the "last" one, or "one" for the network.
        cached: its output goes into the cache of keys and values.
        inputs_format: how the activations it reads are stored, where that is not the network's.
        experts: how many such matrices there are to be routed to; 0: it is for every token.
    """

    name: str
    inputs: int
    outputs: int
    weights: Format
    rows: str = "all"
    cached: bool = False
    inputs_format: Format | None = None
    experts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Query heads over keys and values that groups of them share; *window* tokens at most."""

    name: str
    heads: int
    kv_heads: int
    key_width: int
    value_width: int
    window: int | None = None


Part = Projection | Attention


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformer:
    """A network as its files tell it.

    Args:
        parts: in order of execution.
        causal: tokens attend to earlier ones only, so it decodes with a cache.
        activations: how they are stored.
        top_k: experts that one token is routed to.
        most_positions: tokens that it was made for; 0 if nothing says so.
        fixed_positions: it has no position past them.
        tokens: of a network that has as many in every inference (images); 0: the context.
        patches: the convolution that makes tokens of an image, if there is one.
    """

    name: str
    parts: tuple[Part, ...]
    causal: bool
    activations: Format
    top_k: int = 0
    most_positions: int = 0
    fixed_positions: bool = False
    tokens: int = 0
    patches: tuple[Layer, ...] = ()
    not_counted: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    unmodelled: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    remarks: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a transformer; None: what it says of itself, or a default that is said."""

    context: int | None = None
    phase: str | None = None
    kv_bits: int | None = None


def workload_of(network: Transformer, question: Question) -> Workload:
    """The layers of one inference: a decoded token, or a prompt or text of *context* tokens.

    Raises:
        ProblemError: the question does not suit the network.
        WorkloadError: a layer cannot exist.
    """
    remarks = list(network.remarks)
    context = _context(network, question, remarks)
    phase = _phase(network, question, remarks)
    tokens = 1 if phase == "decode" else context
    cache = Format(network.activations.bits if question.kv_bits is None else question.kv_bits)
    if network.causal:
        what = (
            f"one inference decodes one token, which attends to {context} with itself"
            if phase == "decode"
            else f"one inference takes a prompt of {context} tokens; masked scores are counted, "
            "logits are made for the last token"
        )
        remarks.append(f"{what}; keys and values are cached in {cache.bits} bits")
    builder = _Builder(network, tokens, context, cache)
    layers = list(network.patches)
    for part in network.parts:
        layers += builder.layers(part)
    remarks += builder.remarks
    return Workload(
        network.name,
        tuple(layers),
        not_counted=dict(sorted(network.not_counted.items())),
        source=network.source,
        unmodelled=dict(sorted(network.unmodelled.items())),
        remarks=tuple(remarks),
    )


def _context(network: Transformer, question: Question, remarks: list[str]) -> int:
    most = network.most_positions
    if network.tokens:
        if question.context not in (None, network.tokens):
            raise ProblemError(
                f"context: this network has {network.tokens} tokens in every inference"
            )
        return network.tokens
    context = question.context
    if context is None:
        context = min(DEFAULT_CONTEXT, most) if most else DEFAULT_CONTEXT
        remarks.append(f"no context was given: {context} tokens are assumed")
    if not isinstance(context, int) or not 1 <= context <= LARGEST_CONTEXT:
        raise ProblemError(f"context: {context!r} is not within 1 to {LARGEST_CONTEXT} tokens")
    if most and context > most:
        if network.fixed_positions:
            raise ProblemError(f"context: {context} tokens; the network has positions for {most}")
        remarks.append(f"{context} tokens are more than the {most} that the network was made for")
    return context


def _phase(network: Transformer, question: Question, remarks: list[str]) -> str:
    if question.phase is not None and question.phase not in PHASES:
        raise ProblemError(f"phase: {question.phase!r} is neither {' nor '.join(PHASES)}")
    if question.kv_bits is not None and not (
        isinstance(question.kv_bits, int) and 1 <= question.kv_bits <= 64
    ):
        raise ProblemError(f"kv_bits: {question.kv_bits!r} is not within 1 to 64")
    if not network.causal:
        if question.phase == "decode":
            raise ProblemError("phase: this network sees all tokens at once; it does not decode")
        return "prefill"
    if question.phase is None:
        remarks.append("no phase was given: one token is decoded")
    return question.phase or "decode"


class _Builder:
    """Makes the layers of the parts, for *tokens* at once that attend to *context*."""

    def __init__(self, network: Transformer, tokens: int, context: int, cache: Format) -> None:
        self._network = network
        self._tokens = tokens
        self._context = context
        self._cache = cache
        self.remarks: dict[str, None] = {}

    def layers(self, part: Part) -> list[Layer]:
        if isinstance(part, Attention):
            return self._attention(part)
        return self._experts(part) if part.experts else [self._dense(part)]

    def _widths(self, part: Projection) -> tuple[PerOperand[int], PerOperand[float]]:
        inputs = part.inputs_format or self._network.activations
        output = self._cache if part.cached else self._network.activations
        formats = (inputs, part.weights, output)
        return (
            PerOperand(*(item.bits for item in formats)),
            PerOperand(*(item.scale_bits for item in formats)),
        )

    def _dense(self, part: Projection) -> Layer:
        bits, scales = self._widths(part)
        rows = self._tokens if part.rows == "all" else 1
        return Layer(
            part.name,
            Extents(M=part.outputs, C=part.inputs, P=rows),
            bits=bits,
            scale_bits=scales,
        )

    def _experts(self, part: Projection) -> list[Layer]:
        """The matrices that tokens are routed to, side by side as groups with rows of their own."""
        bits, scales = self._widths(part)
        if self._tokens > 1:
            self.remarks[f"tokens spread evenly over {part.experts} experts"] = None
        return expert_layers(
            part.name,
            rows=self._tokens * self._network.top_k,
            experts=part.experts,
            inner=part.inputs,
            columns=part.outputs,
            batch=1,
            bits=bits,
            scale_bits=scales,
        )

    def _attention(self, part: Attention) -> list[Layer]:
        shared = part.heads // part.kv_heads
        pieces = _windows(self._tokens, self._context, part.window)
        if self._tokens > 1 and len(pieces) + pieces[0][0] > 2:
            self.remarks[f"of a window of {part.window} tokens a prompt is cut into windows"] = None
        layers = []
        activations = self._network.activations
        second = self._cache if self._network.causal else activations
        scales = PerOperand(activations.scale_bits, second.scale_bits, activations.scale_bits)
        for product in ("scores", "context"):
            for number, (times, rows, attended) in enumerate(pieces):
                inner, columns = (
                    (part.key_width, attended)
                    if product == "scores"
                    else (attended, part.value_width)
                )
                layers.append(
                    Layer(
                        f"{part.name}.{product}{'[rest]' if number else ''}",
                        Extents(G=part.kv_heads * times, M=columns, C=inner, P=rows * shared),
                        bits=PerOperand(activations.bits, second.bits, activations.bits),
                        scale_bits=scales,
                        weight_is_activation=True,
                    )
                )
        return layers


def _windows(tokens: int, context: int, window: int | None) -> list[tuple[int, int, int]]:
    """Pieces of attention: how many alike, query rows of each, and tokens that they attend to."""
    if window is None or window >= context:
        return [(1, tokens, context)]
    if tokens == 1:
        return [(1, 1, window)]
    times, rest = divmod(tokens, window)
    return [(times, window, window)] + ([(1, rest, window)] if rest else [])


def patch_layer(
    name: str, size: tuple[int, int], patch: tuple[int, int], channels: int, width: int
) -> Layer:
    """The convolution that makes tokens of an image."""
    return conv(
        name,
        input_size=size,
        in_channels=channels,
        out_channels=width,
        kernel=patch,
        stride=patch,
    )
