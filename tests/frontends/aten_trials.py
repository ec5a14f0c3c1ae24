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

SHAPES = ((4, 4), (2, 4, 6, 6), (6,), (2, 4, 6), (2, 4, 6, 6, 6), ())
KINDS = (torch.float32, torch.int64, torch.bool, torch.complex64)
NUMBERS = (1, 2, 0, 3)
MOST_CALLS = 400


def candidates(schema: Any) -> Iterator[list[Any]]:
    """Arguments for those of *schema* that have no default, the likelier ones first."""
    needed = [a for a in schema.arguments if not a.has_default_value()]
    kinds = [str(a.type) for a in needed]
    tensors = sum("Tensor" in kind for kind in kinds)
    for number, element, shape in itertools.product(NUMBERS, KINDS, SHAPES):
        rest = {(shape,) * tensors}
        if tensors > 1:
            channels = (shape[1],) if len(shape) > 1 else shape
            rest |= {(shape, *(channels,) * (tensors - 1)), (shape, *((),) * (tensors - 1))}
            rest |= {(shape, *((4, 2),) * (tensors - 1))}
        for shapes in sorted(rest, key=lambda each: each != (shape,) * tensors):
            for others in dict.fromkeys((element, torch.int64)) if tensors > 1 else (element,):
                yield _arguments(kinds, shapes, element, others, number)


def _arguments(kinds: list[str], shapes: Any, first: Any, others: Any, number: int) -> list[Any]:
    made, left, element = [], iter(shapes), first
    for kind in kinds:
        if "Tensor" in kind:
            tensor = _tensor(next(left), element)
            made.append([tensor, tensor.clone()] if kind.startswith("List") else tensor)
            element = others
        elif kind.startswith("Optional"):
            made.append(None)
        else:
            made.append(_PLAIN.get(kind, lambda n: n)(number))
    return made


def _tensor(shape: tuple[int, ...], element: Any) -> torch.Tensor:
    if element in (torch.float32, torch.complex64):
        return torch.rand(shape, dtype=element) + 0.1
    return torch.randint(0, 2, shape).to(element)


_PLAIN: dict[str, Any] = {
    "List[int]": lambda n: [n, n],
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
            except Exception:
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
