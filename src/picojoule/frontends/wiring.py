"""Operators with the tensors they read and make -> the graph between layers.

Readers list what runs, in order; here views are seen through, what works value by value joins the
operator that made the values, and the two products of attention get the scores between them.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from picojoule.errors import WorkloadError
from picojoule.graph import Graph, Node, Tensor
from picojoule.workload import Layer, Operand


class Effect(Enum):
    """What an operator does to the values of a tensor.

    VIEW: nothing: it names, shapes or orders them otherwise.
    BY_VALUE: it changes each by itself, so it can be done while they leave who made them.
    IN_PLACE: it makes parts of one, or one of parts.
    OWN: it needs others beside them (a window, a row, another tensor), so it reads and writes.
    """

    VIEW = "view"
    BY_VALUE = "by value"
    IN_PLACE = "in place"
    OWN = "own"


class Effects(NamedTuple):
    """The operators of a format by what they do; all others have an effect of their own."""

    views: Collection[str]
    by_value: Collection[str]
    in_place: Collection[str]

    def of(self, *names: str) -> Effect:
        """What an operator of these *names* does, whichever of them is listed."""
        for effect, listed in zip(
            (Effect.VIEW, Effect.BY_VALUE, Effect.IN_PLACE), self, strict=True
        ):
            if any(name in listed for name in names):
                return effect
        return Effect.OWN


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredOperator:
    """One operator that runs at inference.

    Args:
        name: as the network calls it.
        operator: what it is.
        reads, makes: keys of tensors that are computed; of a layer its operands come first.
        layers: that it consists of.
        partial: as of a :class:`~picojoule.graph.Node`.
    """

    name: str
    operator: str
    effect: Effect
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    layers: tuple[Layer, ...] = ()
    partial: bool = False


MOST_JOINED = 256
"""Operators that join one; a file can have any number in a row."""

Description = Callable[[str], Tensor]
"""The tensor of a key: its name, words and width."""


def connect(
    operations: Iterable[WiredOperator],
    described: Description,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> Graph | None:
    """The graph of *operations* in the order they run; None if they do not hang together.

    Args:
        described: says what tensor a key stands for.
        inputs, outputs: keys of what the network is given, and gives.
    """
    known = _Described(described)
    seen_through = _Views()
    steps = []
    before: set[str] = set()  # what depends on nothing the network is given is known beforehand
    for each in operations:
        operation = replace(
            each,
            reads=tuple(seen_through.source(key) for key in each.reads if key not in before),
        )
        if _is_whole_part(operation, known):
            operation = replace(operation, effect=Effect.VIEW)
        if not operation.reads and not operation.layers:
            before.update(operation.makes)
        elif not seen_through.take(operation):
            steps.append(operation)
    ends = tuple(dict.fromkeys(seen_through.source(key) for key in outputs if key not in before))
    parts = list(_with_scores(_joined(steps, frozenset(ends), known), known))
    try:
        return _graph(parts, known, inputs, ends)
    except WorkloadError:
        return None


def _is_whole_part(operation: WiredOperator, known: _Described) -> bool:
    """Whether an operator makes one part of one tensor, all of it."""
    if operation.effect is not Effect.IN_PLACE:
        return False
    if not len(operation.reads) == len(operation.makes) == 1:
        return False
    words = [known[key].words for key in (*operation.reads, *operation.makes)]
    return words[0] == words[1] and words[0] is not None


class _Views:
    """Tensors that are others under another name."""

    def __init__(self) -> None:
        self._sources: dict[str, str] = {}

    def take(self, operation: WiredOperator) -> bool:
        """Whether an operator is nothing but a view, which is noted."""
        if operation.effect is not Effect.VIEW or operation.layers:
            return False
        self._sources.update(dict.fromkeys(operation.makes, operation.reads[0]))
        return True

    def source(self, key: str) -> str:
        return self._sources.get(key, key)


class _Described:
    """Tensors by key, each asked for once."""

    def __init__(self, described: Description) -> None:
        self._described = described
        self._tensors: dict[str, Tensor] = {}

    def __getitem__(self, key: str) -> Tensor:
        if key not in self._tensors:
            self._tensors[key] = self._described(key)
        return self._tensors[key]

    def add(self, tensor: Tensor) -> str:
        """Take in a tensor that no file names; its key."""
        key = f"\0{tensor.name}"
        self._tensors[key] = tensor
        return key


@dataclass(slots=True)
class _Step:
    """An operation with what joined it."""

    name: str
    operators: list[str]
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    layers: tuple[Layer, ...]
    in_place: bool
    partial: bool


def _joined(
    operations: Sequence[WiredOperator], outputs: frozenset[str], known: _Described
) -> list[_Step]:
    """The operations, without those that joined the one that makes their values."""
    readers: dict[str, list[int]] = defaultdict(list)
    for place, operation in enumerate(operations):
        for key in dict.fromkeys(operation.reads):
            readers[key].append(place)
    absorbed: set[int] = set()
    steps = []
    for place, operation in enumerate(operations):
        if place in absorbed:
            continue
        makes = tuple(
            key
            for number, key in enumerate(operation.makes)
            if readers[key] or key in outputs or (operation.layers and not number)
        )
        joined: list[int] = []
        if len(makes) == 1:
            joined, made = _following(operations, makes[0], readers, outputs, known)
            makes = (made,)
        absorbed.update(joined)
        steps.append(
            _Step(
                operation.name,
                [operation.operator, *(operations[each].operator for each in joined)],
                operation.reads,
                makes,
                operation.layers,
                operation.effect is Effect.IN_PLACE,
                operation.partial,
            )
        )
    return steps


def _following(
    operations: Sequence[WiredOperator],
    first: str,
    readers: Mapping[str, Sequence[int]],
    outputs: frozenset[str],
    known: _Described,
) -> tuple[list[int], str]:
    """What can be done to a tensor while it leaves its maker; and the tensor that comes of it.

    Only if nobody else sees a tensor on the way: a value that is needed before and after is
    written before and read again.
    """
    words = known[first].words
    joined: dict[int, None] = {}
    made = {first}
    waiting = list(readers[first])
    while waiting and len(joined) < MOST_JOINED:
        place = heapq.heappop(waiting)
        operation = operations[place]
        if (
            place not in joined
            and operation.effect is Effect.BY_VALUE
            and not operation.layers
            and len(operation.makes) == 1
            and made.issuperset(operation.reads)
            and known[operation.makes[0]].words == words
        ):
            joined[place] = None
            made.add(operation.makes[0])
            for each in readers[operation.makes[0]]:
                heapq.heappush(waiting, each)
    seen = [
        key for key in made if key in outputs or any(each not in joined for each in readers[key])
    ]
    if len(seen) == 1:
        return list(joined), seen[0]
    chain: list[int] = []
    last = first
    while last not in outputs and len(readers[last]) == 1 and readers[last][0] in joined:
        chain.append(readers[last][0])
        last = operations[chain[-1]].makes[0]
    return chain, last


def _with_scores(steps: Iterable[_Step], known: _Described) -> Iterable[_Step]:
    """The steps, attention as its two products with the scores between them."""
    for step in steps:
        names = [layer.name.rpartition(".")[2] for layer in step.layers]
        if names != ["scores", "context"] or not step.reads:
            yield step
            continue
        scores, context = step.layers
        query, key, value, *others = (*step.reads, *[step.reads[-1]] * 2)[: max(3, len(step.reads))]
        between = known.add(
            Tensor(
                name=scores.name,
                words=scores.size(Operand.OUTPUT),
                bits=scores.bits.output,
            )
        )
        yield _Step(
            scores.name,
            [step.operators[0]],
            (query, key, *others),
            (between,),
            (scores,),
            False,
            step.partial,
        )
        yield replace(step, name=context.name, reads=(between, value), layers=(context,))


def _graph(
    steps: Sequence[_Step], known: _Described, inputs: Sequence[str], outputs: Sequence[str]
) -> Graph:
    read = {key for step in steps for key in step.reads}
    given = tuple(key for key in dict.fromkeys(inputs) if key in read or key in outputs)
    names = _Names()
    for layer in (layer for step in steps for layer in step.layers):
        names.reserve(layer.name)
    keys = dict.fromkeys([*given, *(key for step in steps for key in step.makes)])
    tensor_names = _Names()
    tensors = {}
    for key in keys:
        tensor = known[key]
        tensors[key] = replace(tensor, name=tensor_names.free(tensor.name))
    missing = [key for key in (*read, *outputs) if key not in tensors]
    if missing:
        raise WorkloadError(f"tensor {missing[0]!r} is never made")
    nodes = []
    for step in steps:
        layers = tuple(layer.name for layer in step.layers)
        node = Node(
            name=layers[0] if len(layers) == 1 else names.free(step.name),
            operators=tuple(step.operators),
            reads=tuple(tensors[key].name for key in step.reads),
            makes=tuple(tensors[key].name for key in step.makes),
            layers=layers,
            in_place=step.in_place,
            partial=bool(layers) and (step.partial or not _is_whole(step, tensors)),
        )
        nodes.append(node)
    return Graph(
        tuple(nodes),
        {tensor.name: tensor for tensor in tensors.values()},
        tuple(tensors[key].name for key in given),
        tuple(tensors[key].name for key in outputs),
    )


def _is_whole(step: _Step, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a layer reads and makes its tensors whole and once."""
    if len(step.layers) != 1:
        return False
    ends = step.layers[0].ends()
    pairs = list(zip(step.reads, filter(None, (ends.input, ends.second)), strict=False))
    pairs += zip(step.makes[:1], [ends.output], strict=False)
    return all(tensors[key].words == end.words for key, end in pairs)


class _Names:
    """Names that are free."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def reserve(self, name: str) -> None:
        self._taken.add(name)

    def free(self, name: str) -> str:
        free, number = name, self._last.get(name, 1)
        while free in self._taken:
            number += 1
            free = f"{name}_{number}"
        self._last[name] = number
        self._taken.add(free)
        return free
