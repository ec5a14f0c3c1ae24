"""picojoule's own CSV table."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picojoule.errors import InputError
from picojoule.frontends import load
from picojoule.frontends.table import COLUMNS, parse_table, read_table
from picojoule.reports.network_table import format_table, write_table
from picojoule.workload import Extents, Layer, PerOperand, Workload, conv, linear, matmul

HEADER = ",".join(COLUMNS)
LENET = """\
# name: tiny
# source: by hand
# not counted: MaxPool 2, Conv (3-D) 1
name,in_channels,out_channels,input_height,input_width,kernel_height,kernel_width,pad_top
conv1,1,6,28,28,5,5,0
fc,120,10,,,,,
"""


def mistakes(text: str) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        parse_table(text, source="net.csv")
    return {mistake.path: mistake.message for mistake in caught.value.mistakes}


def test_defaults_fill_missing_columns_and_empty_cells() -> None:
    network = parse_table(LENET, source="net.csv")
    assert network.name == "tiny"
    assert network.source == "by hand"
    assert dict(network.not_counted) == {"MaxPool": 2, "Conv (3-D)": 1}
    # 24 * 24 outputs of 6 channels, 25 products each; 120 * 10.
    assert [layer.macs for layer in network] == [24 * 24 * 6 * 25, 1200]


def test_all_mistakes_at_once_with_their_places() -> None:
    text = (
        f"{HEADER}\n"
        "a,1,1,3,8,9,9,3,3,zero,1,1,1,0,0,0,0,weight,8,8,8,1,1,1\n"
        "b,1,1,3,8,9,9,3,3,1,1,1,1,-1,0,0,0,wieght,8,8,8,nan,1.5,1\n"
        "c,1,2,3,8,9,9,3,3,1,1,1,1,0,0,0,0,weight,8,8,8,1,1,1\n"
        "d,1,1\n"
        "e,1,1,3,8,9,9,99,3,1,1,1,1,0,0,0,0,weight,8,8,8,1,1,1\n"
        "f,1,1,1000000000,8,9,9,3,3,1,1,1,1,0,0,0,0,weight,8,8,8,1,1,1\n"
    )
    found = mistakes(text)
    assert found["line 2, column stride_height"] == "'zero' is not a whole number"
    assert found["line 3, column pad_top"] == "-1 must be at least 0"
    assert "neither weight nor activation" in found["line 3, column kind"]
    assert "'nan'" in found["line 3, column input_density"]
    assert "'1.5'" in found["line 3, column weight_density"]
    assert "do not split into 2 groups" in found["line 4"]
    assert found["line 5"] == "3 cells for 24 columns"
    assert "window of 99 rows" in found["line 6"]
    assert "C = 1000000000" in found["line 7"]


def test_unknown_and_missing_and_double_columns() -> None:
    found = mistakes("name,in_channels,strid_height,in_channels\na,1,1,1\n")
    assert "did you mean 'stride_height'" in found["line 1, column 3"]
    assert "twice" in found["line 1, column 4"]
    assert "out_channels is missing" in found["line 1"]


def test_double_layer_names_and_bad_comments() -> None:
    found = mistakes(
        "# batch: none\n# not counted: Relu, MaxPool x\nname,in_channels,out_channels\n"
        "a,1,1\n\na,1,1\n"
    )
    assert "line 4" in found["line 6, column name"]
    assert "line 1, batch" in found
    assert "line 2, not counted" in found


@pytest.mark.parametrize("text", ["", "\n\n", "# name: x\n", HEADER, HEADER + "\n"])
def test_empty_tables_are_refused(text: str) -> None:
    mistakes(text)


def test_open_quote_is_a_mistake() -> None:
    assert any("not CSV" in message for message in mistakes(HEADER + '\n"a,1,1').values())


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"name\0,in", b"\x89PNG\r\n\x1a\n"])
def test_binary_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_table(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv", tmp_path / ("x" * 5000)):
        with pytest.raises(InputError):
            read_table(path)


SIDES = st.integers(1, 6)
LAYERS = st.builds(
    lambda name, bounds, stride, dilation, padding, extra, bits, density, kind, scales: _layer(
        name, bounds, stride, dilation, padding, extra, bits, density, kind, scales
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    st.tuples(*[SIDES] * 8),
    st.tuples(SIDES, SIDES),
    st.tuples(SIDES, SIDES),
    st.tuples(*[st.integers(0, 3)] * 4),
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
    st.tuples(*[st.integers(1, 64)] * 3),
    st.tuples(*[st.floats(0, 1)] * 3),
    st.booleans(),
    st.sampled_from([(0.0, 0.0, 0.0), (0.0, 0.5, 0.0), (0.25, 4.125, 1.0)]),
)


def _layer(
    name: str,
    bounds: tuple[int, ...],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int, int, int],
    extra: tuple[int, int],
    bits: tuple[int, int, int],
    density: tuple[float, float, float],
    kind: bool,
    scales: tuple[float, float, float],
) -> Layer:
    # Room for the windows, and up to a stride less one of rows that no window reaches.
    size = [
        max(
            1,
            (bounds[4 + a] - 1) * stride[a]
            + (bounds[6 + a] - 1) * dilation[a]
            + 1
            - padding[2 * a]
            - padding[2 * a + 1],
        )
        + extra[a] % stride[a]
        for a in (0, 1)
    ]
    outputs = [
        (size[a] + padding[2 * a] + padding[2 * a + 1] - (bounds[6 + a] - 1) * dilation[a] - 1)
        // stride[a]
        + 1
        for a in (0, 1)
    ]
    return Layer(
        name,
        Extents(*bounds)._replace(P=outputs[0], Q=outputs[1]),
        stride=stride,
        dilation=dilation,
        padding=padding,
        input_size=(size[0], size[1]),
        bits=PerOperand(*bits),
        density=PerOperand(*density),
        weight_is_activation=kind,
        scale_bits=PerOperand(*scales),
    )


@given(layers=st.lists(LAYERS, min_size=1, max_size=4, unique_by=lambda layer: layer.name))
@settings(max_examples=150, deadline=None)
def test_every_layer_survives_a_round_trip(layers: list[Layer]) -> None:
    network = Workload("net", tuple(layers), batch=3, not_counted={"a b": 2}, source="s")
    assert parse_table(format_table(network), source="x.csv") == network


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    network = Workload(
        "bert",
        (
            linear("#query, projected", in_features=768, out_features=768, rows=128),
            matmul("scores", rows=128, inner=64, columns=128, heads=12),
            conv(
                " stem\n",
                input_size=(224, 200),
                in_channels=4,
                out_channels=8,
                kernel=(3, 1),
                stride=(2, 1),
                dilation=(1, 3),
                padding=(0, 1, 2, 3),
                groups=2,
            ),
        ),
        not_counted={"Softmax": 12},
        source="by hand",
    )
    path = tmp_path / "bert.csv"
    write_table(network, path)
    assert load(path) == network
    assert load(str(path), name="other").name == "other"
