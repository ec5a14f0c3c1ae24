"""What the figures of a network leave out, in the same words on every output.

Every operator of a network is counted, or has no products (pooling, activations, normalisation), or
is known to multiply and is not modelled, or is unknown. Where there are operators of the last two
classes, a price of the layers is not a price of the network: it is *incomplete*, and says so first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

NOTHING: Mapping[str, int] = MappingProxyType({})


def listed(operators: Mapping[str, int]) -> str:
    """Operators and how often each occurs, on one line.

    >>> listed({"com.foo.Op": 1, "LSTM": 2})
    'LSTM x2, com.foo.Op x1'
    """
    return ", ".join(f"{' '.join(op.split())} x{n}" for op, n in sorted(operators.items()))


def left_out(unmodelled: Mapping[str, int], network: str = "the network") -> str:
    """In one sentence, what the figures leave out; empty where they leave out nothing.

    >>> left_out({"com.foo.Op": 1, "LSTM": 2})  # doctest: +NORMALIZE_WHITESPACE
    'incomplete: 3 operators of the network multiply, or may, and are in no layer:
     LSTM x2, com.foo.Op x1; the figures leave them out'
    """
    count = sum(unmodelled.values())
    if not count:
        return ""
    what = (
        f"1 operator of {network} multiplies, or may, and is in no layer"
        if count == 1
        else f"{count} operators of {network} multiply, or may, and are in no layer"
    )
    them = "it" if count == 1 else "them"
    return f"incomplete: {what}: {listed(unmodelled)}; the figures leave {them} out"


def told(unmodelled: Mapping[str, int], network: str = "the network") -> tuple[str, ...]:
    """The sentence of :func:`left_out`, or none."""
    return tuple(filter(None, [left_out(unmodelled, network)]))


class MaybeIncomplete:
    """A result with ``unmodelled`` operators that says what its figures leave out."""

    __slots__ = ()

    unmodelled: Mapping[str, int]

    @property
    def complete(self) -> bool:
        """Whether every product of the network is in the figures."""
        return not self.unmodelled

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the figures leave out, in a sentence; none of a complete network."""
        return told(self.unmodelled)


def operator_records(operators: Mapping[str, int]) -> list[dict[str, Any]]:
    """Operators as plain data.

    >>> operator_records({"LSTM": 2})
    [{'op': 'LSTM', 'count': 2}]
    """
    return [{"op": op, "count": count} for op, count in sorted(operators.items())]


def read_operators(records: Iterable[Mapping[str, Any]]) -> Mapping[str, int]:
    """What :func:`operator_records` made."""
    return MappingProxyType({record["op"]: record["count"] for record in records})


def as_recorded(unmodelled: Mapping[str, int]) -> dict[str, Any]:
    """The part of a run's record that says so; none of a complete network's."""
    return {"unmodelled": dict(sorted(unmodelled.items()))} if unmodelled else {}


def completeness(unmodelled: Mapping[str, int], remarks: Sequence[str]) -> dict[str, Any]:
    """Whether all products are in the figures, and what was assumed, as fields of an answer."""
    return {
        "complete": not unmodelled,
        "unmodelled": operator_records(unmodelled),
        "remarks": list(remarks),
    }


def read_completeness(record: Mapping[str, Any]) -> dict[str, Any]:
    """The ``unmodelled`` and ``remarks`` of an answer; of before they were written, none.

    >>> read_completeness({"remarks": ["batch 1 taken"]})
    {'unmodelled': mappingproxy({}), 'remarks': ('batch 1 taken',)}
    """
    return {
        "unmodelled": read_operators(record.get("unmodelled", ())),
        "remarks": tuple(record.get("remarks", ())),
    }
