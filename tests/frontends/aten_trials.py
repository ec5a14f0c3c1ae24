"""Calls ATen operators with random inputs, and says what each did inside.

Run as a program: names of operators come in, one on a line; out goes, for each, a line of JSON with
its name, whether some inputs suited it, the operators that PyTorch's profiler saw beneath it, and
the flops that PyTorch's counter counted. A call that ends the process ends only this one.
"""

from __future__ import annotations

import itertools
import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

SHAPES = ((4, 4), (2, 4, 6, 6), (6,), (2, 4, 6), (2, 4, 6, 6, 6), (), (2, 3))
KINDS = (torch.float32, torch.int64, torch.bool, torch.complex64)
NUMBERS = (1, 2, 0, 3)
FORMS = ("same", "one", "axes", "last")
"""How lists of whole numbers are made: of one number, or to suit a shape."""
MOST_CALLS = 500

Shapes = tuple[tuple[int, ...], ...]


def candidates(schema: Any) -> Iterator[list[Any]]:
    """Arguments for those of *schema* that have no default, the likelier ones first."""
    needed = [a for a in schema.arguments if not a.has_default_value()]
    tensors = sum("Tensor" in str(a.type) for a in needed)
    lists = any(str(a.type) == "List[int]" for a in needed)
    for element, number, form, shape in itertools.product(
        KINDS, NUMBERS, FORMS if lists else FORMS[:1], SHAPES
    ):
        for shapes in _shapes_beside(shape, tensors):
            for others in dict.fromkeys((element, torch.int64)) if tensors > 1 else (element,):
                yield _arguments(needed, shapes, (element, others), number, form)


def _shapes_beside(shape: tuple[int, ...], tensors: int) -> Iterator[Shapes]:
    """Shapes of all tensors, the first of them given."""
    yield (shape,) * tensors
    if tensors > 1:
        first = shape[1:2] or shape
        for other in (first, (), (4, 2), (*shape[:1], *shape[2:], 2), shape[:1]):
            yield (shape, *(other,) * (tensors - 1))


def _arguments(
    needed: list[Any], shapes: Shapes, elements: tuple[Any, Any], number: int, form: str
) -> list[Any]:
    made: list[Any] = []
    left = iter(shapes)
    first = shapes[0] if shapes else (2, 2)
    for argument in needed:
        kind = str(argument.type)
        if "Tensor" in kind:
            tensor = _tensor(next(left), elements[any(isinstance(x, torch.Tensor) for x in made)])
            made.append([tensor, tensor.clone()] if kind.startswith("List") else tensor)
        elif kind.startswith("Optional"):
            made.append(None)
        elif kind == "List[int]":
            made.append(_list(argument.N, first, number, form))
        else:
            made.append(_PLAIN.get(kind, lambda n: n)(number))
    return made


def _list(length: int | None, shape: tuple[int, ...], number: int, form: str) -> list[int]:
    if form == "axes":
        return list(range(len(shape)))
    if form == "last":
        return list(shape[-1:])
    return [number] * (length or (1 if form == "one" else 2))


def _tensor(shape: tuple[int, ...], element: Any) -> torch.Tensor:
    if element in (torch.float32, torch.complex64):
        return torch.rand(shape, dtype=element) + 0.1
    return torch.randint(0, 2, shape).to(element)


_PLAIN: dict[str, Any] = {
    "List[float]": lambda n: [float(n)] * 2,
    "List[bool]": lambda _: [True, True],
    "bool": lambda n: bool(n % 2),
    "float": lambda n: 0.5 * n,
    "str": lambda _: "mean",
    "Device": lambda _: torch.device("cpu"),
}


def tried(name: str) -> dict[str, Any]:
    """What the operator did in the first call that it took, of every overload."""
    suited, inside, flops = False, set(), 0
    packet = getattr(torch.ops.aten, name)
    for overload in packet.overloads():
        operator = getattr(packet, overload)
        if any(a.is_out for a in operator._schema.arguments):
            continue
        for given in itertools.islice(candidates(operator._schema), MOST_CALLS):
            try:
                operator(*given)
            except Exception:  # whatever an operator raises on inputs that do not suit it
                continue
            counter = FlopCounterMode(display=False)
            with torch.autograd.profiler.profile() as profile, counter:
                operator(*given)
            suited = True
            inside |= {event.name for event in profile.function_events}
            flops += counter.get_total_flops()
            break
    return {"name": name, "suited": suited, "inside": sorted(inside), "flops": flops}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.no_grad():
        for line in sys.stdin:
            print(json.dumps(tried(line.strip())), flush=True)  # noqa: T201
