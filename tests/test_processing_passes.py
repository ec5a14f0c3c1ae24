"""The chip's rule: passes by hand, against JSSC'17 Table III, and legal wherever it answers."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

import pytest

from picojoule.accelerator import Level
from picojoule.errors import InputError
from picojoule.frontends import load
from picojoule.legality import violations
from picojoule.processing_passes import (
    ProcessingPass,
    chip_mapping,
    pass_mapping,
    processing_pass,
)
from picojoule.specs import load_accelerator, parse_accelerator
from picojoule.workload import conv, linear
from tools.make_mappings import published

CHIP = load_accelerator("eyeriss")
ALEXNET, VGG16 = load("bvlc-alexnet").with_batch(4), load("vgg16").with_batch(3)


@pytest.mark.parametrize("name", ["conv1", "conv2", "conv4", "conv5"])
def test_the_rule_gives_table_3_of_jssc17(name: str) -> None:
    layer = ALEXNET[name]
    assert processing_pass(CHIP, layer) == ProcessingPass(f=layer.bounds.Q, **published()[name])


def test_conv3_runs_as_its_neighbours_do() -> None:
    """Printed is q = 4, r = 1, t = 4, but the counter of the buffer says what CONV4 does."""
    assert processing_pass(CHIP, ALEXNET["conv3"]) == processing_pass(CHIP, ALEXNET["conv4"])
    assert published()["conv3"]["q"] == 4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv1_1", (64, 1, 13, 56, 16, 1, 1, 4)),
        ("conv2_2", (64, 1, 13, 56, 16, 1, 1, 4)),
        ("conv3_1", (64, 1, 13, 56, 16, 2, 1, 4)),
        ("conv4_3", (64, 3, 14, 14, 16, 4, 1, 4)),
        ("conv5_2", (64, 3, 14, 14, 16, 4, 2, 2)),
    ],
)
def test_passes_of_vgg16(name: str, expected: tuple[int, ...]) -> None:
    assert processing_pass(CHIP, VGG16[name]) == expected


def test_an_image_takes_one_bank_of_inputs() -> None:
    """16 rows of 16 words of 2 bytes are half a kilobyte: eight channels, four in an element."""
    layer = conv(
        "x",
        input_size=(14, 14),
        in_channels=64,
        out_channels=16,
        kernel=(3, 3),
        padding=(1, 1, 1, 1),
    )
    chosen = processing_pass(CHIP, layer)
    assert chosen is not None
    assert (chosen.q, chosen.r) == (4, 2)
    assert chosen.q * chosen.r * 16 * 16 * 2 == 4096


def test_a_larger_buffer_gives_other_passes() -> None:
    nest = tuple(
        Level(
            tuple(replace(m, capacity=m.capacity * 4 if m.capacity else None) for m in x.memories)
        )
        if isinstance(x, Level)
        else x
        for x in CHIP.nest
    )
    layer = ALEXNET["conv4"]
    chosen = processing_pass(replace(CHIP, nest=nest), layer)
    assert chosen is not None
    assert chosen.m == layer.bounds.M


@pytest.mark.parametrize("network", ["bvlc-alexnet", "mobilenetv2", "squeezenet1.1", "gpt2-decode"])
def test_what_the_rule_gives_is_legal(network: str) -> None:
    for layer in load(network).with_batch(2):
        mapping = chip_mapping(CHIP, layer)
        assert mapping is None or not violations(layer, CHIP, mapping), layer.name


def test_no_pass_without_room_for_a_filter() -> None:
    """Thirteen filter rows are more than the array's twelve lines."""
    tall = conv("x", input_size=(20, 20), in_channels=1, out_channels=8, kernel=(13, 3))
    wide = conv("x", input_size=(20, 20), in_channels=1, out_channels=8, kernel=(3, 13))
    assert chip_mapping(CHIP, tall) is None
    assert chip_mapping(CHIP, wide) is None


def test_a_machine_without_a_rule_has_no_mapping_of_its_own() -> None:
    layer = linear("x", in_features=64, out_features=10)
    assert chip_mapping(CHIP, layer) is not None
    assert chip_mapping(replace(CHIP, compiler=None), layer) is None


def test_a_map_folds_over_two_lines() -> None:
    """27 rows of CONV2: five filter rows twice along the array's rows, 14 columns."""
    layer = ALEXNET["conv2"]
    chosen = processing_pass(CHIP, layer)
    assert chosen is not None
    along_rows, along_columns = pass_mapping(CHIP, layer, chosen).stages[1].spatial
    assert (along_rows.R, along_rows.P, along_columns.P) == (5, 2, 14)


def test_a_compiler_needs_the_levels_it_maps_on() -> None:
    text = (resources.files("picojoule") / "data/accelerators/tpu-v1-like.yaml").read_text("utf-8")
    with pytest.raises(InputError, match="needs three memory levels") as caught:
        parse_accelerator(text + "compiler: processing-passes\n", "x")
    assert [mistake.path for mistake in caught.value.mistakes] == ["$.compiler"]
    with pytest.raises(InputError, match="did you mean 'processing-passes'"):
        parse_accelerator(text + "compiler: procesing-passes\n", "x")
