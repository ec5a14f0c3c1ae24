"""Write the page of all ONNX operators: ``python tools/make_operators.py [FILE]``.

What is done with each stands in ``picojoule.frontends.operators``; the page is made from there, and
``tests/frontends/test_operators.py`` holds both to onnx, to onnxruntime and to the readers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from picojoule.frontends.operators import OPERATORS, OperatorKind

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "onnx-operators.md"

HEAD = """\
# ONNX operators

Made by `python tools/make_operators.py` from what the reader itself goes by: the operators of \
onnx 1.23 and onnxruntime 1.32 in all of their opsets, and those of QONNX.

- **Counted**: its products become layers.
- **No products**: it moves, compares, adds, scales element by element, pools, normalises or \
interpolates. The field counts no MACs for these; an estimate lists them.
- **Not modelled**: it multiplies and sums, and no layer stands for it. It makes an estimate \
incomplete, and so does every operator that is in no table here.
- **Control flow**: the graphs inside are followed.
"""

_NAMES = {"": "ai.onnx"}


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for domain, table in OPERATORS.items():
        parts.append(f"\n## {_NAMES.get(domain, domain)}\n")
        for kind in OperatorKind:
            names = sorted(name for name, found in table.items() if found is kind)
            if names:
                words = ", ".join(f"`{name}`" for name in names)
                parts.append(f"\n**{kind.value.capitalize()}** ({len(names)}): {words}\n")
    return "".join(parts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=PAGE)
    parser.parse_args().file.write_text(page(), encoding="utf-8")
