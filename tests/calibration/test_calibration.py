"""Constants come back from rows that were made with them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from picojoule.accelerator import Accelerator
from picojoule.calibration.calibration import ROUNDS, calibrate
from picojoule.calibration.constants import named
from picojoule.calibration.machine import chip_file
from picojoule.calibration.records import rms
from picojoule.errors import InputError, PicojouleError
from picojoule.estimation import estimate
from picojoule.specs import load_accelerator, parse_accelerator
from tests import server_files
from tests.calibration.conftest import CHIP, TABLE, Metered


def with_values(machine: Accelerator, **values: float) -> Accelerator:
    for name, value in values.items():
        (key,) = named([name.replace("__", ".")], machine)
        machine = key.put(machine, value)
    return machine


def test_constants_come_back(machine: Accelerator, rows: Metered) -> None:
    truth = with_values(machine, control__per_cycle=50.0, compute__mac=9.0)
    result = calibrate(machine, rows(truth), fit="control.per_cycle,compute.mac", cache=False)
    values = {one.key: one.value for one in result.constants}
    assert values["control.per_cycle"] == pytest.approx(50, rel=1e-3)
    assert values["compute.mac"] == pytest.approx(9, rel=1e-3)
    assert result.settling.circle == 1
    assert result.ambiguities == ()
    assert all(abs(row.error) < 1e-3 for row in result.compared)
    assert all(abs(row.left_out_error) < 1e-3 for row in result.of("energy"))
    assert max(abs(row.constant_power_error) for row in result.of("energy")) > 0.03


def test_rows_that_move_alike_cannot_tell_two_memories_apart(
    machine: Accelerator, rows: Metered
) -> None:
    truth = with_values(machine, control__per_cycle=50.0)
    result = calibrate(truth, rows(truth), fit="dram.access,buffer.access", cache=False)
    (ambiguity,) = result.ambiguities
    assert ambiguity.keys == ("dram.access", "buffer.access")
    assert not ambiguity.exactly
    assert "cannot be told apart by these rows, which are alike: " in str(ambiguity)


def test_what_is_fitted_says_so_in_the_machine(machine: Accelerator, rows: Metered) -> None:
    truth = with_values(machine, buffer__read=20.0)
    result = calibrate(machine, rows(truth), fit="buffer.read", cache=False)
    sources = {origin.path: origin for origin in result.machine.sources}
    fitted = sources["$.nest[1].memories[0].read_energy"]
    assert fitted.status == "fitted"
    assert "rows.csv: net conv1, fc, point, wide" in fitted.source
    assert sources["$.nest[1].memories[0].write_energy"].value == "12 pJ"
    assert "$.nest[1].memories[0].access_energy" not in sources
    assert result.machine.memories["buffer"].write_energy == 12.0


def test_one_row_and_two_constants(machine: Accelerator, rows: Metered) -> None:
    truth = with_values(machine, control__per_cycle=50.0)
    result = calibrate(
        machine, rows(truth, ["conv1"]), fit="control.per_cycle,static_power", cache=False
    )
    (control, static) = result.constants
    assert control.value == pytest.approx(50, rel=1e-3)
    assert static.kept  # its published 2 mW
    assert any(
        text.startswith("under-determined: 1 row for 2 constants") for text in result.remarks
    )
    (ambiguity,) = result.ambiguities
    assert ambiguity.exactly
    # at 100 MHz, 1 pJ per cycle is 0.1 mW; 50 pJ and 2 mW together are 7 mW
    assert str(ambiguity) == (
        "control.per_cycle and static_power cannot be told apart by these rows: "
        "0.1 mW/pJ x control.per_cycle + static_power = 7 mW is determined"
    )
    assert control.low == 0
    assert all(row.left_out is None for row in result.compared)
    assert "$.static_power" not in {x.path for x in result.machine.sources if x.status == "fitted"}


def test_a_row_kept_aside_is_predicted(machine: Accelerator, rows: Metered) -> None:
    truth = with_values(machine, control__per_cycle=50.0)
    path = rows(truth)
    lines = path.read_text().splitlines()
    head, *rest = lines
    rest = [f"{line},{'fit' if n == 0 else 'check'}" for n, line in enumerate(rest)]
    path.write_text("\n".join([f"{head},use", *rest]))
    result = calibrate(machine, path, fit="control.per_cycle", cache=False)
    assert [row.role for row in result.of("energy")] == ["fitted", "checked", "checked", "checked"]
    assert all(abs(row.error) < 1e-3 for row in result.of("energy", "checked"))


def test_bandwidths_come_from_times(machine: Accelerator, rows: Metered) -> None:
    truth = with_values(machine, dram__bandwidth=11.0)
    result = calibrate(machine, rows(truth), fit="dram.bandwidth", cache=False)
    (bandwidth,) = result.constants
    assert bandwidth.value == pytest.approx(11, rel=0.02)
    assert bandwidth.low < 11 < bandwidth.high
    assert bandwidth.seen
    assert all(abs(row.error) < 0.01 for row in result.of("time"))
    assert all(row.role == "predicted" for row in result.of("energy"))


def test_times_and_energies_are_fitted_together(machine: Accelerator, rows: Metered) -> None:
    truth = with_values(machine, dram__bandwidth=4.0, control__per_cycle=30.0)
    result = calibrate(
        machine, rows(truth), fit=["dram.bandwidth", "control.per_cycle"], cache=False
    )
    values = {one.key: one.value for one in result.constants}
    assert values["dram.bandwidth"] == pytest.approx(4, rel=0.02)
    assert values["control.per_cycle"] == pytest.approx(30, rel=0.03)


def test_measured_times(machine: Accelerator, rows: Metered) -> None:
    truth = with_values(machine, control__per_cycle=50.0, dram__bandwidth=4.0)
    path = rows(truth)
    predicted = calibrate(machine, path, fit="control.per_cycle", cache=False)
    measured = calibrate(machine, path, fit="control.per_cycle", measured_time=True, cache=False)
    assert measured.constants[0].value == pytest.approx(50, rel=1e-2)
    assert predicted.constants[0].value > 60  # too little time for the same energy
    path.write_text(path.read_text().replace(",time (us)", ",bytes.dram"))
    with pytest.raises(InputError):
        calibrate(machine, path, fit="control.per_cycle", measured_time=True, cache=False)


def test_mappings_are_searched_again(machine: Accelerator, rows: Metered) -> None:
    truth = with_values(machine, dram__access=10.0, buffer__access=100.0)
    result = calibrate(machine, rows(truth), fit="dram.access,buffer.access", cache=False)
    assert result.settling.rounds > 1
    values = [one.value for one in result.constants]
    assert values == pytest.approx([10, 100], rel=1e-2)


def test_mappings_that_go_in_a_circle(machine: Accelerator, rows: Metered) -> None:
    """The rows were measured under control that the fit knows nothing of."""
    path = rows(with_values(machine, control__per_cycle=50.0))
    result = calibrate(machine, path, fit="dram.access,buffer.access", cache=False)
    assert result.settling.circle != 1
    assert result.settling.rounds <= ROUNDS
    assert result.settling.spread > 0
    assert "the fit of the least errors is given" in str(result.settling)
    assert rms(row.error for row in result.of("energy", "fitted")) < 0.1


@pytest.mark.parametrize("based", [True, False])
def test_the_file_reads_as_the_machine(
    machine: Accelerator, rows: Metered, tmp_path: Path, based: bool
) -> None:
    (tmp_path / "machines").mkdir()
    base = tmp_path / "machines" / "metered.yaml"
    base.write_text(CHIP)
    truth = with_values(machine, control__per_cycle=50.0, dram__read=250.0, dram__bandwidth=4.0)
    result = calibrate(
        base, rows(truth), fit="control.per_cycle,dram.read,dram.bandwidth", cache=False
    )
    output = tmp_path / "chip.yaml"
    output.write_text(chip_file(result, str(base) if based else None, output, ["a", "comment"]))
    again = load_accelerator(output)
    assert again == replace(result.machine, name="chip", description=again.description)
    fitted = {origin.path for origin in again.sources if origin.status == "fitted"}
    assert fitted == {
        "$.control.per_cycle",
        "$.nest[0].memories[0].read_energy",
        "$.nest[0].memories[0].bandwidth",
    }
    assert output.read_text().startswith("# a\n# comment\n")


def test_a_name_that_no_machine_may_have(machine: Accelerator, rows: Metered) -> None:
    result = calibrate(machine, rows(machine, ["fc"]), fit="compute.mac", cache=False)
    text = chip_file(result, None, Path("été .yaml"))
    assert parse_accelerator(text, "x").name == "metered-calibrated"


def test_what_no_row_depends_on(machine: Accelerator, rows: Metered) -> None:
    path = rows(machine, ["fc"])
    path.write_text(path.read_text().replace("network,", "excluding,network,", 1))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(f"dram,{line}" for line in lines[1:])]))
    result = calibrate(machine, path, fit="dram.read", cache=False)
    assert not result.constants[0].seen
    assert result.constants[0].kept
    assert "no row depends on dram.read: as the machine has it" in result.remarks


def test_rows_that_cannot_answer_are_refused_at_once(machine: Accelerator, rows: Metered) -> None:
    path = rows(machine, ["fc"])
    path.write_text("network,bytes.dram\nnet.csv,1 KiB\n")
    with pytest.raises(InputError, match="nothing is measured"):
        calibrate(machine, path, fit="control.per_cycle", cache=False)
    path.write_text("network,time,power\nnet.csv,1 ms,\n")
    with pytest.raises(InputError, match=r"no row has energy or power to fit control\.per_cycle"):
        calibrate(machine, path, fit="control.per_cycle", cache=False)
    path.write_text("network,energy\nnet.csv,1 uJ\n")
    with pytest.raises(InputError, match=r"no row has a time to fit dram\.bandwidth"):
        calibrate(machine, path, fit="dram.bandwidth", cache=False)


def test_multiples_of_a_mac_need_joules(machine: Accelerator, rows: Metered) -> None:
    path = rows(machine, ["fc"])
    relative = parse_accelerator(server_files.CHIP, "tiny.yaml")
    with pytest.raises(PicojouleError, match="nobody says what one is in joules"):
        calibrate(relative, path, fit="compute.mac", cache=False)


def test_the_record_is_plain(machine: Accelerator, rows: Metered) -> None:
    result = calibrate(machine, rows(machine), fit="static_power,control.per_cycle", cache=False)
    record = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert record["identifiability"]["condition"] is None
    assert record["constants"][0]["key"] == "static_power"
    assert repr(result).startswith("<Calibration of metered: static_power = 0.002 W")


def test_a_network_takes_what_its_layers_take(machine: Accelerator, tmp_path: Path) -> None:
    """Equal layers are priced once and count as often as they are there."""
    (tmp_path / "net.csv").write_text(TABLE + "again,8,8,4,4,1,1\n")
    rows = tmp_path / "rows.csv"
    lines = ["network,batch,energy,time,bytes.dram", "net.csv,2,1 uJ,1 ms,1 KiB"]
    rows.write_text("\n".join(lines))
    result = calibrate(machine, rows, fit="control.per_cycle", cache=False)
    whole = estimate(tmp_path / "net.csv", result.machine, batch=2, cache=False)
    energy, time, moved = result.compared
    assert energy.predicted == pytest.approx(whole.energy * 1e-12, rel=1e-6)
    assert time.predicted >= whole.cycles / machine.clock
    words = [w for layer in whole.layers for w in layer.accesses["dram"].values()]
    assert moved.predicted == pytest.approx(sum(w["read"] + w["write"] for w in words) * 2)


def test_a_power_without_a_time_is_over_ours(machine: Accelerator, rows: Metered) -> None:
    truth = with_values(machine, control__per_cycle=50.0)
    path = rows(truth)
    head, *lines = path.read_text().splitlines()
    assert head == "network,layer,energy (pJ),time (us)"
    powers = []
    for line in lines:
        network, layer, energy, time = line.split(",")
        powers.append(f"{network},{layer},{float(energy) / float(time)!r}")
    path.write_text("\n".join(["network,layer,power (uW)", *powers]))
    result = calibrate(machine, path, fit="control.per_cycle", cache=False)
    assert result.constants[0].value == pytest.approx(50, rel=1e-3)
    assert all(abs(row.error) < 1e-3 for row in result.compared)


def test_a_clock_comes_from_times(machine: Accelerator, rows: Metered) -> None:
    truth = with_values(machine, clock=250e6, static_power=0.01)
    result = calibrate(machine, rows(truth), fit="clock,static_power", cache=False)
    values = {one.key: one.value for one in result.constants}
    assert values["clock"] == pytest.approx(250e6, rel=1e-3)
    assert values["static_power"] == pytest.approx(0.01, rel=1e-2)


def test_a_bandwidth_that_nobody_stated(machine: Accelerator, rows: Metered) -> None:
    truth = with_values(machine, spad__bandwidth=3.0)
    result = calibrate(machine, rows(truth), fit="spad.bandwidth", cache=False)
    (bandwidth,) = result.constants
    assert bandwidth.before is None
    assert bandwidth.value == pytest.approx(3.0, rel=0.02)


def test_a_bandwidth_that_no_row_waits_for(machine: Accelerator, rows: Metered) -> None:
    truth = with_values(machine, buffer__bandwidth=2.0**40)
    result = calibrate(truth, rows(truth), fit="buffer.bandwidth", cache=False)
    (bandwidth,) = result.constants
    assert not bandwidth.seen
    assert bandwidth.kept
    assert bandwidth.high == math.inf
    assert bandwidth.to_dict()["high"] is None


def test_multiples_of_a_mac_that_are_worth_joules(rows: Metered) -> None:
    relative = parse_accelerator(server_files.CHIP + "unit_energy: 2 pJ\n", "tiny.yaml")
    truth = with_values(relative, control__per_element=7.0)
    result = calibrate(relative, rows(truth), fit="control.per_element", cache=False)
    (constant,) = result.constants
    assert constant.unit == "MAC"
    assert constant.value == pytest.approx(7, rel=1e-3)


def test_a_latency_comes_from_times(machine: Accelerator, rows: Metered) -> None:
    truth = with_values(machine, buffer__latency=40.0)
    result = calibrate(machine, rows(truth), fit="buffer.latency", cache=False)
    (latency,) = result.constants
    assert (latency.before, latency.unit) == (0.0, "cycles")
    assert latency.value == pytest.approx(40, rel=0.02)
    assert latency.low < 40 < latency.high
