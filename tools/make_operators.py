"""Write the pages of operators of ONNX and PyTorch: ``python -m tools.make_operators [FOLDER]``.

What is done with each stands in ``picojoule.frontends.operators`` and ``aten_operators``; the pages
are made from there. ``tests/frontends/test_operators.py`` and ``test_aten_operators.py`` hold both
to onnx, to onnxruntime, to torch and to the readers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from picojoule.frontends import aten_operators as aten
from picojoule.frontends.operators import OPERATORS, OperatorKind

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"

ONNX_HEAD = """\
# ONNX operators

Made by `python -m tools.make_operators` from what the reader itself goes by: the operators of \
onnx 1.23 and onnxruntime 1.32 in all of their opsets, and those of QONNX.

- **Counted**: its products become layers.
- **No products**: it moves, compares, adds, scales element by element, pools, normalises or \
interpolates. The field counts no MACs for these; an estimate lists them.
- **Not modelled**: it multiplies and sums, and no layer stands for it. It makes an estimate \
incomplete, and so does every operator that is in no table here.
- **Control flow**: the graphs inside are followed.
"""

_NAMES = {"": "ai.onnx"}

TORCH_HEAD = """\
# PyTorch operators

Made by `python -m tools.make_operators` from what the reader itself goes by: every operator of \
`torch.ops.aten` of torch 2.13, without overloads. An in-place, copying or `_foreach` form \
(`relu_`, `permute_copy`, `_foreach_add`) is what its plain form is.

- **Counted**: its products become layers.
- **Not modelled**: it multiplies and sums, and no layer stands for it. It makes an estimate \
incomplete, and so does every operator that is on no list here.
- **No products**: it moves, compares, adds, scales element by element, pools, normalises, samples \
or interpolates. The field counts no MACs for these; an estimate lists them.
- **Bookkeeping**: it names tensors, shapes and assertions; not even listed.

Branches and loops of a program (`cond`, `while_loop`, `scan`, `map`) are followed.
"""


def onnx_page() -> str:
    """The page of ONNX's operators as Markdown."""
    parts = [ONNX_HEAD]
    for domain, table in OPERATORS.items():
        parts.append(f"\n## {_NAMES.get(domain, domain)}\n")
        for kind in OperatorKind:
            names = [name for name, found in table.items() if found is kind]
            if names:
                parts.append(_listed(kind.value.capitalize(), names))
    return "".join(parts)


def torch_page() -> str:
    """The page of ATen's operators, and of others met in programs, as Markdown."""
    return "".join(
        [
            TORCH_HEAD,
            "\n## Operators that multiply\n",
            _listed("Counted", aten.COUNTED),
            _listed("Not modelled", aten.UNMODELLED),
            "\n## Operators that do not\n",
            _folded("No products", aten.WITHOUT_PRODUCTS),
            _folded("No products, backward steps", aten.BACKWARD_WITHOUT_PRODUCTS),
            _folded("Bookkeeping", aten.BOOKKEEPING),
            "\n## Other namespaces\n",
            _listed("Counted", [*aten.OTHER_COUNTED, "flex_attention"]),
            _listed("Not modelled", aten.PRIMS_WITH_PRODUCTS),
            _listed("No products", ["prims.*, the others", *aten.OTHER_WITHOUT_PRODUCTS]),
            _listed("Bookkeeping", aten.HIGHER_ORDER_WITHOUT_PRODUCTS),
        ]
    )


PAGES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {"onnx-operators.md": onnx_page, "torch-operators.md": torch_page}
)
"""File in the reference -> what makes it."""


def _listed(title: str, names: Iterable[str]) -> str:
    ordered = sorted(names)
    return f"\n**{title}** ({len(ordered)}): {_words(ordered)}\n"


def _folded(title: str, names: Iterable[str]) -> str:
    """A list that opens on a click."""
    ordered = sorted(names)
    return (
        f"\n<details>\n<summary><b>{title}</b> ({len(ordered)})</summary>\n\n"
        f"{_words(ordered)}\n\n</details>\n"
    )


def _words(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8")
