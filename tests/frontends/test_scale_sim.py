"""Topology files of SCALE-Sim."""

from __future__ import annotations

from pathlib import Path

import pytest

from picojoule.errors import InputError
from picojoule.frontends import load
from picojoule.frontends.scale_sim import parse_scale_sim
from picojoule.workload import Extents

CONV = """\
Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
Conv1, 227, 227, 11, 11, 3, 96, 4,
Conv2, 224, 224, 7, 7, 3, 64, 2,
Conv3DP, 9, 9, 3, 3, 32, 1, 1,
Conv4,8,8,1,1,4,4,1,2:4,

"""


def mistakes(text: str) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        parse_scale_sim(text, source="net.csv")
    return {mistake.path: mistake.message for mistake in caught.value.mistakes}


def test_convolutions() -> None:
    network = parse_scale_sim(CONV, source="net.csv")
    assert network["Conv1"].macs == 105_415_200
    # ceil((224 - 7 + 2) / 2) = 110 outputs, as SCALE-Sim counts: one row is missing.
    assert network["Conv2"].bounds[4:6] == (110, 110)
    assert network["Conv2"].padding == (0, 1, 0, 1)
    assert network["Conv3DP"].bounds == Extents(G=32, P=7, Q=7, R=3, S=3)
    assert network["Conv4"].density.weight == 0.5


def test_gemms() -> None:
    network = parse_scale_sim(
        "Layer,M,N,K,\nfc,3,1000,4096,\nsparse,1,2,4,1:4,\nheads,5,6,7,12,\n", source="net.csv"
    )
    assert network["fc"].bounds == Extents(M=1000, C=4096, P=3)
    assert network["sparse"].density.weight == 0.25
    assert network["heads"].bounds == Extents(G=12, M=6, C=7, P=5)
    assert network["heads"].weight_is_activation


def test_mistakes() -> None:
    found = mistakes(
        "Layer name,IFMAP Height,IFMAP Width,Filter Height,Filter Width,"
        "Channels,Num Filter,Strides\n"
        "a,8,8,9,1,3,4,1,\n"
        "b,8,8,1,1,0,4,1.5,\n"
        "c,8,8,1,1,3,4\n"
        "d,8,8,1,1,3,4,1,5:4\n"
        "e,8,B,1,1,3,4,1\n"
    )
    assert "height 9 exceeds" in found["line 2"]
    assert "at least 1" in found["line 3, column Channels"]
    assert "line 3, column Strides" in found
    assert found["line 4"].startswith("7 cells")
    assert "N:M" in found["line 5, column 9"]
    assert "--dim B=" in found["line 6, column IFMAP Width"]


HEAD = "Layer name,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,Strides,"


def test_what_stands_behind_the_last_comma_is_dropped() -> None:
    network = parse_scale_sim(
        f"{HEAD},Eh,Ew\na_dw,112,112,3,3,1,1,1,#dw\nb,8,8,1,1,3,4,1,,110,110\n", source="net.csv"
    )
    assert [layer.macs for layer in network] == [110 * 110 * 9, 64 * 12]
    assert network.remarks == (
        "cells behind the last one that means something: dropped from 2 rows",
    )


def test_layers_may_share_a_name_as_those_of_gemms_do() -> None:
    network = parse_scale_sim(
        "Layer Name, M, N, K, Sparsity,\nG, 3, 5, 16, 3:4,\nG, 1, 5, 16, 1:4,\nG_2,1,1,1,\n",
        source="net.csv",
    )
    assert [layer.name for layer in network] == ["G", "G_2", "G_2_2"]
    assert [layer.macs for layer in network] == [240, 80, 1]
    assert [layer.density.weight for layer in network] == [0.75, 0.25, 1.0]


def test_titles_tabs_and_empty_rows() -> None:
    rows = f"{HEAD}\n\nEncoder,\n,,,,,,,,\nX,1,1,1,1,512,64,1,\nDecoder\nY,1,1,1,1,512,64,1,\n"
    for text in (rows, rows.replace(",", "\t")):
        network = parse_scale_sim(text, source="net.csv")
        assert network.macs == 2 * 512 * 64
        assert network.remarks == ("2 rows of one cell are taken for titles",)


def test_a_column_of_batch_sizes() -> None:
    text = f"{HEAD} Batch Size,\na,8,8,1,1,3,4,1,2,\nb,8,8,3,3,4,4,1,2,\n"
    network = parse_scale_sim(text, source="net.csv")
    assert network.batch == 2
    assert network["a"].bounds == Extents(N=2, M=4, C=3, P=8, Q=8)
    mixed = parse_scale_sim(text.replace("1,2,\nb", "1,1,\nb"), source="net.csv")
    assert mixed.batch == 1
    assert [layer.bounds.N for layer in mixed] == [1, 2]


def test_sizes_that_a_template_only_names(tmp_path: Path) -> None:
    path = tmp_path / "lstm.csv"
    path.write_text(f"{HEAD}\ngate_h,1,B,1,1,H,H,1,\ngate_x,1,B,1,1,D,H,1,\n")
    network = load(path, dims={"B": 2, "H": 8, "D": 4})
    assert [layer.macs for layer in network] == [2 * 64, 2 * 32]
    with pytest.raises(InputError, match="no cell is called so"):
        load(path, dims={"B": 2, "H": 8, "D": 4, "E": 1})


@pytest.mark.parametrize("text", ["", "Conv1,1,1,1,1,1,1,1\n", "Layer,M,N,K\n", "a,b\n"])
def test_without_header_or_layers(text: str) -> None:
    mistakes(text)


def test_load_tells_the_csv_formats_apart(tmp_path: Path) -> None:
    for name, text, macs in (
        ("conv.csv", "# a comment\n" + CONV, None),
        ("gemm.csv", "Layer,M,N,K\na,2,3,4\n", 24),
        ("ours.csv", "name,in_channels,out_channels\na,2,3\n", 6),
    ):
        path = tmp_path / name
        path.write_text(text)
        network = load(path)
        assert macs is None or network.macs == macs
