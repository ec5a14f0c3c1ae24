"""The classes of ATen operators."""

from __future__ import annotations

import re

import pytest

from picojoule.frontends.aten_operators import (
    BACKWARD_WITHOUT_PRODUCTS,
    BOOKKEEPING,
    COUNTED,
    OTHER_COUNTED,
    UNMODELLED,
    WITHOUT_PRODUCTS,
    Products,
    family,
    products_of,
)
from tools import make_operators

torch = pytest.importorskip("torch")

SETS = (BOOKKEEPING, COUNTED, UNMODELLED, WITHOUT_PRODUCTS, BACKWARD_WITHOUT_PRODUCTS)


def aten() -> set[str]:
    names = torch._C._dispatch_get_all_op_names()
    return {name[6:].split(".")[0] for name in names if name.startswith("aten::")}


def test_every_operator_is_in_one_class() -> None:
    if not torch.__version__.startswith("2.13."):
        pytest.skip("the classes are those of torch 2.13")
    for name in aten():
        assert sum(family(name) in names for names in SETS) == 1, name


def test_no_class_has_operators_that_are_none() -> None:
    families = {family(name) for name in aten()}
    for names in SETS:
        assert names <= families


def test_every_operator_is_on_the_page_under_its_class() -> None:
    page = make_operators.torch_page()
    for title, kind in (
        ("Counted", Products.COUNTED),
        ("Not modelled", Products.UNMODELLED),
        ("No products", Products.NONE),
        ("Bookkeeping", Products.NONE_AT_ALL),
    ):
        lines = [line for line in page.splitlines() if line.startswith(f"**{title}**")]
        folded = re.findall(rf"<b>{title}\b.*</summary>\n\n(.*)", page)
        listed = set(re.findall(r"`([^`]+)`", " ".join(lines + folded)))
        theirs = {family(name) for name in aten() if products_of(name) is kind}
        assert theirs <= listed, title


def test_what_the_flop_counter_knows_multiplies() -> None:
    from torch.utils.flop_counter import flop_registry

    packets = [packet for packet in flop_registry if hasattr(packet, "_qualified_op_name")]
    assert len(packets) > 20
    for packet in packets:
        name = packet._qualified_op_name.removeprefix("aten::")
        assert products_of(name) in (Products.COUNTED, Products.UNMODELLED), name


def test_every_counted_operator_is_read_and_no_other() -> None:
    from picojoule.frontends.torch_layers import CONVERTERS

    assert set(CONVERTERS) == COUNTED | OTHER_COUNTED | {"flex_attention"}


@pytest.mark.parametrize(
    ("op", "products"),
    [
        ("conv2d", Products.COUNTED),
        ("addmm_", Products.COUNTED),
        ("relu_", Products.NONE),
        ("view", Products.NONE_AT_ALL),
        ("fft_rfft2", Products.UNMODELLED),
        ("convolution_backward", Products.UNMODELLED),
        ("mylib.attention", Products.UNKNOWN),
        ("made_up", Products.UNKNOWN),
        ("prims.convert_element_type", Products.NONE),
        ("prims.fft_c2c", Products.UNMODELLED),
        ("torchvision.deform_conv2d", Products.COUNTED),
    ],
)
def test_classes(op: str, products: Products) -> None:
    assert products_of(op) is products
