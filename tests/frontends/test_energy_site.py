"""The 25-column files of energyestimation.mit.edu."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from picojoule.errors import InputError
from picojoule.frontends import load
from picojoule.frontends.energy_site import (
    format_energy_site,
    parse_energy_site,
    read_energy_site,
    write_energy_site,
)
from picojoule.workload import PerOperand, Workload, conv, linear, matmul, recurrent

# AlexNet CONV1 and CONV2 (two groups: 48 of the 96 ifmap channels per filter) and FC1 as a
# convolution as large as its ifmap, for a batch of 4.
ALEXNET = """\
1, 227,227,3,4,0,16, 11,11,3,96,3484,16, 55,55,96,4,0,16, 4,4, 0,0,0,0
2  27 27 96 4 139968 8  5 5 48 256 0 4  27 27 256 4 0 8  1 1  2 2 2 2
3,6,6,256,4,0,16,6,6,256,4096,0,16,1,1,4096,4,0,16,1,1,0,0,0,0,
"""


def mistakes(text: str) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        parse_energy_site(text, source="net.txt")
    return {mistake.path: mistake.message for mistake in caught.value.mistakes}


def test_alexnet_layers() -> None:
    network = parse_energy_site(ALEXNET, source="net.txt")
    assert network.batch == 4
    assert [layer.macs // 4 for layer in network] == [105_415_200, 223_948_800, 37_748_736]
    # 11 * 11 * 3 * 96 = 34 848 weights, 3 484 of them zero.
    assert network["layer1"].density.weight == pytest.approx(1 - 3484 / 34848)
    # 27 * 27 * 96 * 4 = 279 936 values, half of them zero.
    assert network["layer2"].density.input == 0.5
    assert network["layer2"].bits == PerOperand(8, 4, 8)
    assert network["layer2"].bounds.G == 2


def test_mistakes_name_line_and_column() -> None:
    found = mistakes(
        "1 4 4 8 1 0 16 3 3 8 5 0 16 2 2 5 1 0 16 1 1 0 0 0 0\n"
        "9 4 4 8 1 500 16 3 3 3 5 0 16 2 2 5 1 0 16 1 1 0 0 0 0\n"
        "3 4 4 8 1 0 16 3 3 8 5 0 16 2 7 5 1 0 16 1 1 0 0 0 0\n"
        "4 4 4 8 1 0 16 3 3 8 5 0 16 2 2 5 1 0 16 1 1 0 0 0\n"
        "5 4 4 8 1 0 16 3 3 8 5 0 16 2 2 5 1 0 16 0 1 x 0 -1 0\n"
        "6 4 4 8 2 0 16 3 3 8 5 0 16 2 2 5 2 0 16 1 1 0 0 0 0\n"
    )
    assert "line of layer 2" in found["line 2, column 0 (index)"]
    assert "500 zeros among 128" in found["line 2, column 5 (ifmap zeros)"]
    assert "does not divide" in found["line 2, column 9 (filter channels)"]
    assert "give 2" in found["line 3, column 14 (ofmap width)"]
    assert found["line 4"] == "24 numbers where 25 are needed"
    assert "at least 1" in found["line 5, column 19 (stride height)"]
    assert "'x'" in found["line 5, column 21 (pad top)"]
    assert "at least 0" in found["line 5, column 23 (pad left)"]
    assert "different batches: 1, 2" in found["column 4 (ifmap count)"]


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "hello world", ","])
def test_files_without_layers_are_refused(text: str) -> None:
    mistakes(text)


def test_round_trip(tmp_path: Path) -> None:
    grouped = conv(
        "layer1",
        input_size=(9, 8),
        in_channels=4,
        out_channels=6,
        kernel=(3, 2),
        stride=(2, 1),
        padding=(0, 1, 2, 3),
        groups=2,
        batch=2,
        bits=PerOperand(8, 4, 12),
        density=PerOperand(0.5, 0.25, 1.0),
    )
    network = Workload(
        "net", (grouped, linear("layer2", in_features=6, out_features=4, batch=2)), batch=2
    )
    path = tmp_path / "net.txt"
    write_energy_site(network, path)
    assert read_energy_site(path).layers == network.layers
    assert load(path).batch == 2


def test_what_the_format_cannot_say_is_refused(tmp_path: Path) -> None:
    dilated = conv(
        "dilated",
        input_size=(9, 9),
        in_channels=1,
        out_channels=1,
        kernel=(3, 3),
        dilation=(2, 2),
    )
    scores = matmul("scores", rows=2, inner=2, columns=2)
    with pytest.raises(InputError) as caught:
        write_energy_site(
            Workload("net", (dilated, scores, replace(dilated, name="also"))), tmp_path / "x.txt"
        )
    assert [mistake.path for mistake in caught.value.mistakes] == [
        "layer 'dilated'",
        "layer 'scores'",
        "layer 'also'",
    ]
    assert not (tmp_path / "x.txt").exists()


def test_time_steps_and_scales_are_refused() -> None:
    state = recurrent("state", time_steps=5, state=4, outputs=4)
    blocks = linear("blocks", in_features=6, out_features=4, scale_bits=PerOperand(0.0, 0.5, 0.0))
    with pytest.raises(InputError) as caught:
        format_energy_site(Workload("net", (state, blocks)))
    assert [mistake.message for mistake in caught.value.mistakes] == [
        "5 time steps have no place in this format",
        "scales of blocks of values have no place in this format",
    ]


def test_an_incomplete_network_is_refused_unless_its_layers_alone_are_wanted(
    tmp_path: Path,
) -> None:
    layer = linear("layer1", in_features=6, out_features=4)
    network = Workload("net", (layer,), unmodelled={"LSTM": 2})
    path = tmp_path / "net.txt"
    with pytest.raises(InputError, match=r"LSTM x2 multiply.*allow_incomplete=True"):
        write_energy_site(network, path)
    assert not path.exists()
    write_energy_site(network, path, allow_incomplete=True)
    assert read_energy_site(path).layers == (layer,)
