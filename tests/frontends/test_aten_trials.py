"""ATen operators without products, tried: PyTorch's profiler sees no product inside."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from picojoule.frontends.aten_operators import Products, family, products_of, words

torch = pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]
COMPOSED = words(
    """
    pairwise_distance cross_entropy_loss layer_norm group_norm instance_norm batch_norm kron outer
    norm linalg_vector_norm std_mean trapezoid nll_loss_nd embedding pixel_shuffle rms_norm
    upsample_nearest2d avg_pool2d cumprod vander gelu softmax meshgrid tile
    """
)
WITHOUT_INPUTS_FOR = 0.15
"""Of the public operators, the share that is sparse, quantised or of another device."""


def tried(names: Iterable[str]) -> dict[str, Any]:
    """What each operator did, in a process of its own; a new one after a call that ended it."""
    left = list(names)
    found: dict[str, Any] = {}
    while left:
        child = subprocess.run(
            [sys.executable, "-m", "tests.frontends.aten_trials"],
            input="\n".join(left),
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        found |= {entry["name"]: entry for entry in map(json.loads, child.stdout.splitlines())}
        left = [name for name in left if name not in found][1:]
    return found


def multiplying(entry: dict[str, Any]) -> list[str]:
    """What an operator called that has products."""
    names = [name.removeprefix("aten::") for name in entry["inside"] if name.startswith("aten::")]
    return [n for n in names if products_of(n) in (Products.COUNTED, Products.UNMODELLED)]


@pytest.mark.slow
def test_what_is_composed_of_others_multiplies_nothing() -> None:
    found = tried(sorted(COMPOSED))
    assert [name for name in COMPOSED if not found[name]["suited"]] == []
    assert {name: multiplying(entry) for name, entry in found.items() if multiplying(entry)} == {}
    assert sum(entry["flops"] for entry in found.values()) == 0


@pytest.mark.slow
def test_a_product_inside_is_seen() -> None:
    found = tried(["matmul", "cdist", "linear"])
    assert all(multiplying(entry) for entry in found.values())
    assert found["matmul"]["flops"] > 0


@pytest.mark.slow
def test_no_operator_without_products_multiplies() -> None:
    names = {
        n[6:].split(".")[0] for n in torch._C._dispatch_get_all_op_names() if n[:6] == "aten::"
    }
    names = {
        name
        for name in names
        if products_of(name) is Products.NONE
        and family(name) == name
        and "_test_" not in name
        and not name.endswith("_backward")  # an inference has none, and they trust what they get
    }
    found = tried(sorted(names))
    suited = {name: entry for name, entry in found.items() if entry["suited"]}
    assert {name: multiplying(entry) for name, entry in suited.items() if multiplying(entry)} == {}
    assert {name: entry["flops"] for name, entry in suited.items() if entry["flops"]} == {}
    public = {name for name in names if not name.startswith("_")}
    assert len(public - set(suited)) < WITHOUT_INPUTS_FOR * len(public), public - set(suited)
