"""Tables of measurements: what a row says, and every mistake of a file at once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picojoule.accelerator import Accelerator
from picojoule.calibration.measurements import Measurement, parse_measurements, read_measurements
from picojoule.calibration.predictions import mapped
from picojoule.errors import InputError, PicojouleError
from picojoule.processing_passes import chip_mapping
from picojoule.specs import load_accelerator, parse_accelerator
from tests.calibration.conftest import CHIP, TABLE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.csv").write_text(TABLE)
    return tmp_path


def read(folder: Path, machine: Accelerator, text: str) -> tuple[Measurement, ...]:
    path = folder / "rows.csv"
    path.write_text(text)
    return read_measurements(path, machine, cache=False)


def mistakes(folder: Path, machine: Accelerator, text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(folder, machine, text)
    assert caught.value.source == str(folder / "rows.csv")
    return [str(mistake) for mistake in caught.value.mistakes]


@pytest.mark.parametrize(
    "text",
    [
        "network,energy\nnet.csv,27.7 uJ\n",
        "network, energy (µJ)\nnet.csv, 27.7\n",
        "energy [uJ],network\n27.7,net.csv\n",
        "# a comment: kept\nnetwork,energy (nJ)\nnet.csv,27.7e3\n",
        "network,energy (J)\nnet.csv,27.7 uJ\n",
        "\ufeffNetwork,Energy (uJ),Layer,Time\r\nnet.csv,27.7,-,n/a\r\n",
    ],
)
def test_a_unit_stands_in_the_cell_or_the_header(
    folder: Path, machine: Accelerator, text: str
) -> None:
    (row,) = read(folder, machine, text)
    assert row.energy == pytest.approx(27.7e-6)
    assert (row.power, row.time, row.fitted, row.label) == (None, None, True, "net")


def test_a_rate_is_a_time_and_a_power_with_a_time_an_energy(
    folder: Path, machine: Accelerator
) -> None:
    text = "network,power,fps\nnet.csv,20 mW,400\n"
    (row,) = read(folder, machine, text)
    assert row.time == pytest.approx(2.5e-3)
    assert row.energy == pytest.approx(50e-6)


def test_cycles_are_a_time_by_the_clock(folder: Path, machine: Accelerator) -> None:
    (row,) = read(folder, machine, "network,time\nnet.csv,1.5e6 cycles\n")
    assert row.time == pytest.approx(15e-3)
    (row,) = read(folder, machine, "network,latency (cycles)\nnet.csv,1.5e6\n")
    assert row.time == pytest.approx(15e-3)


def test_what_is_of_a_batch_is_divided(folder: Path, machine: Accelerator) -> None:
    text = "network,batch,time,energy,bytes.dram,per\nnet.csv,4,8 ms,8 mJ,4 KiB,batch\n"
    (row,) = read(folder, machine, text)
    assert (row.time, row.energy) == pytest.approx((2e-3, 2e-3))
    assert row.bytes == {"dram": 1024.0}
    assert row.question.network.batch == 4


def test_layers_densities_widths_and_roles(folder: Path, machine: Accelerator) -> None:
    text = (
        "network,layer,bits,bits.weight,density.input,excluding,use,source,energy\n"
        "net.csv,fc,8,4,0.25,dram buffer,check,the bench,1 uJ\n"
    )
    (row,) = read(folder, machine, text)
    (layer,) = row.question.network
    assert layer.bits == (8, 4, 8)
    assert layer.density.input == 0.25
    assert (row.excluding, row.fitted, row.source) == (("dram", "buffer"), False, "the bench")


def test_a_shipped_network_and_a_mapping_beside_the_table(folder: Path) -> None:
    from picojoule.specs import load_accelerator

    mappings = Path(__file__).parents[2] / "src/picojoule/data/mappings"
    mapping = (mappings / "jssc17-alexnet-conv1.yaml").read_text("utf-8")
    (folder / "conv1.yaml").write_text(mapping)
    text = "network,layer,batch,mapping,energy\nbvlc-alexnet,conv1,4,conv1.yaml,1 mJ\n"
    (row,) = read(folder, load_accelerator("eyeriss-pj"), text)
    assert row.nest is not None
    text = "network,layer,batch,mapping,energy\nbvlc-alexnet,conv2,4,conv1.yaml,1 mJ\n"
    (mistake, *_) = mistakes(folder, load_accelerator("eyeriss-pj"), text)
    assert mistake.startswith("line 2, column mapping: not legal here: ")


def test_every_mistake_of_the_header_at_once(folder: Path, machine: Accelerator) -> None:
    text = "netwrok,enrgy,bytes.dran,batch,batch\nnet.csv,1 uJ,,1,1\n"
    assert mistakes(folder, machine, text) == [
        "line 1, column 1: unknown column 'netwrok' (did you mean 'network'?)",
        "line 1, column 2: unknown column 'enrgy' (did you mean 'energy'?)",
        "line 1, column 3: unknown column 'bytes.dran' (did you mean 'bytes.dram'?)",
        "line 1, column 5: batch is there twice",
        mistakes(folder, machine, text)[4],
        "line 1: nothing is measured: no column energy, power, time, inferences_per_second",
    ]


def test_every_mistake_of_the_rows_at_once(folder: Path, machine: Accelerator) -> None:
    text = (
        "network,layer,batch,energy,power,time (ms),excluding,use,dataflow,density.input,mapping\n"
        "net.csv,fcc,,1 uJ,,,,,,,\n"
        "nett.csv,,,1 uJ,,,,,,,\n"
        "net.csv,,0,1,,,drm,fitt,,,\n"
        "net.csv,,,1 kg,-3 W,x,,,rss,2,\n"
        "net.csv,,,,,,,,,,\n"
        "net.csv,,,1 uJ,1 W,1,,,,,\n"
        "net.csv,,,0 uJ,,,,,,,m.yaml\n"
        "net.csv\n"
    )
    told = mistakes(folder, machine, text)
    for line, part in (
        (2, "line 2, column layer: "),
        (3, "line 3, column network: "),
        (4, "line 4, column batch: 0 must be at least 1"),
        (4, "line 4, column energy: '1': an energy needs one of the units"),
        (4, "line 4, column excluding: no memory 'drm' (did you mean 'dram'?)"),
        (4, "line 4, column use: 'fitt' is neither fit nor check (did you mean 'fit'?)"),
        (5, "line 5, column energy: '1 kg': an energy needs one of the units"),
        (5, "line 5, column power: '-3 W' is not above 0"),
        (5, "line 5, column time: cannot read 'x' as a number with a unit"),
        (5, "line 5, column density.input: '2' is not a number from 0 to 1"),
        (6, "line 6: nothing is measured"),
        (7, "line 7, column power: there are energy and time as well"),
        (8, "line 8, column energy: '0 uJ' is not above 0"),
        (8, "line 8, column mapping: a mapping is of one layer"),
        (9, "line 9: 1 cells for 11 columns"),
    ):
        assert any(one.startswith(part) for one in told), (line, part, told)


def test_a_wrong_dataflow_is_told_at_its_column(folder: Path, machine: Accelerator) -> None:
    (told,) = mistakes(folder, machine, "network,dataflow,energy\nnet.csv,rss,1 uJ\n")
    assert told.startswith("line 2, column dataflow: no dataflow 'rss' (did you mean 'rs'?)")


@pytest.mark.parametrize("text", ["", "network,energy\n", "# only: a comment\n", 'network,"energy'])
def test_a_table_without_rows(folder: Path, machine: Accelerator, text: str) -> None:
    assert mistakes(folder, machine, text)


def test_rubbish_is_refused_and_nothing_else_comes_out(machine: Accelerator) -> None:
    for text in ("\0", "network\n\n", "network,energy\n" + "x" * 5000 + ",1 uJ\n", "a,b\n1\n"):
        with pytest.raises(InputError):
            parse_measurements(text, "x.csv", machine, Path())


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet='network,layer\nenergy1 uJ.#"()[]batch%é\0', max_size=120))
def test_whatever_a_table_holds_only_our_errors_come_out(text: str) -> None:
    with suppress(PicojouleError):
        parse_measurements(text, "x.csv", parse_accelerator(CHIP, "metered.yaml"), Path())


def test_the_mappings_of_the_chip(folder: Path, machine: Accelerator) -> None:
    text = "network,layer,batch,mapping,energy\nvgg16,conv3_1,3,published,1 mJ\n"
    chip = load_accelerator("eyeriss-pj")
    (row,) = read(folder, chip, text)
    assert row.published
    (part,) = mapped(row, chip).parts
    assert part.nest == chip_mapping(chip, part.layer)
    (row,) = parse_measurements(
        text.replace("published", ""), "x", chip, folder, policy="published"
    )
    assert row.published
    (told,) = mistakes(folder, machine, "network,mapping,energy\nnet.csv,published,1 mJ\n")
    assert told.startswith("line 2, column mapping: no mapping policy was published for 'metered'")
    (told,) = mistakes(folder, machine, "network,mapping,energy\nnet.csv,publised,1 mJ\n")
    assert told.endswith("nor a file (did you mean 'published'?)")
