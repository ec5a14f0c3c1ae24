"""Accelerator files: all mistakes with their places, nothing lost, only InputError."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from picojoule.accelerator import Array, Charging, Format, HopCharge, ZeroSkip
from picojoule.errors import InputError
from picojoule.specs import (
    dump_accelerator,
    load_accelerator,
    parse_accelerator,
    shipped_accelerators,
)
from picojoule.workload import Dim, Operand

DATA = Path(__file__).parent.parent / "src" / "picojoule" / "data" / "accelerators"
SHIPPED = shipped_accelerators()

MACHINE = """\
name: my-chip
compute: {mac_energy: 1 MAC}
nest:
  - memories:
      - {name: dram, keeps: [input, weight, output], access_energy: 200 MAC}
  - memories:
      - name: buffer
        keeps: [input, output]
        capacity: {value: 108 KiB, source: "JSSC'17 Table IV", status: published}
        access_energy: 6 MAC
  - array: pe-array
    axes: [{name: rows, size: 12}, {name: columns, size: 14, loops: [M, P]}]
    hop_energy: 2 MAC
  - memories:
      - {name: spads, keeps: [input, weight, output], capacity: 512 B, access_energy: 1 MAC}
"""


def mistakes(text: str, source: str = "chip.yaml") -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        parse_accelerator(text, source)
    assert caught.value.source == source
    return {mistake.path: mistake.message for mistake in caught.value.mistakes}


def edited(old: str, new: str) -> str:
    assert MACHINE.count(old) == 1
    return MACHINE.replace(old, new)


# -- what is shipped -------------------------------------------------------------------------------


def test_the_promised_machines_are_there() -> None:
    promised = {"eyeriss-isca16", "eyeriss-isca16-512", "eyeriss-isca16-1024", "eyeriss"}
    promised |= {"eyeriss-cvpr17", "eyeriss-v2", "tpu-v1-like", "nvdla-like"}
    assert promised <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_number_of_a_shipped_file_has_a_source(name: str) -> None:
    machine = load_accelerator(name)
    assert machine.name == name
    assert machine.description
    assert machine.sources
    for constant in machine.sources:
        assert constant.source, constant.path
        assert constant.status in ("published", "derived", "assumed", "fitted"), constant.path


@pytest.mark.parametrize("name", SHIPPED)
def test_no_scalar_of_a_shipped_file_hides_a_number(name: str) -> None:
    """Whatever begins with a digit is the value of a number with a source."""

    def walk(node: object, key: str) -> None:
        if isinstance(node, dict):
            assert "value" not in node or set(node) == {"value", "source", "status"}
            for inner, value in node.items():
                walk(value, inner)
        elif isinstance(node, list):
            for value in node:
                walk(value, key)
        elif key not in ("value", "source", "description"):
            assert not re.match(r"[\d.+-]", str(node)), f"{key}: {node}"

    walk(yaml.safe_load((DATA / f"{name}.yaml").read_text("utf-8")), "")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_machines_survive_writing_and_reading(name: str) -> None:
    machine = load_accelerator(name)
    again = parse_accelerator(dump_accelerator(machine), "copy")
    assert again == machine
    assert again.sources == machine.sources


def test_published_sizes() -> None:
    chip = load_accelerator("eyeriss")
    assert chip.elements == 168
    on_chip = chip.memories["buffer"].capacity, chip.memories["filter-buffer"].capacity
    assert on_chip == (100 * 8192, 8 * 8192)
    # JSSC'17 Table IV: 181.5 kB of SRAM on the chip = 108 kB + 168 x 448 B of filters.
    assert (sum(on_chip) + 168 * chip.memories["weight-spad"].capacity) / 8192 == 181.5
    baseline = load_accelerator("eyeriss-isca16")
    energies = [memory.read_energy for memory in baseline.memories.values()]
    array = baseline.arrays[1]
    assert array is not None
    assert (*energies, array.hop_energy, baseline.compute.mac_energy) == (200, 6, 1, 2, 1)
    for name, elements in (("eyeriss-isca16-512", 512), ("eyeriss-isca16-1024", 1024)):
        larger = load_accelerator(name)
        assert larger.elements == elements
        # ISCA'16 Eq. 2: 512 B of buffer for each PE.
        assert larger.memories["buffer"].capacity == elements * 4096
        assert larger.memories["register-file"] == baseline.memories["register-file"]


def test_the_chip_in_picojoules_differs_in_energies_only() -> None:
    chip, joules = load_accelerator("eyeriss"), load_accelerator("eyeriss-pj")
    assert joules.static_power == 0.03
    assert joules.memories["dram"].read_energy == 460
    assert joules.energy_unit == "pJ"
    assert joules.arrays[1] != chip.arrays[1]
    assert joules.sparse == chip.sparse
    assert [m.capacity for m in joules.memories.values()] == [
        m.capacity for m in chip.memories.values()
    ]


# -- reading ---------------------------------------------------------------------------------------


def test_short_numbers_and_defaults() -> None:
    machine = parse_accelerator(MACHINE, "chip.yaml")
    assert machine.word_bits == 16
    assert machine.charging is Charging.DEARER_END
    assert machine.default_dataflow == "flexible"
    assert machine.sparse.zeros is ZeroSkip.NONE
    assert machine.memories["dram"].capacity is None
    assert machine.memories["spads"].capacity == 4096
    array = machine.arrays[1]
    assert array is not None
    assert array.axes[0].dims == set(Dim)
    assert array.axes[1].dims == {Dim.M, Dim.P}
    status = {constant.path: constant.status for constant in machine.sources}
    assert status["$.nest[1].memories[0].capacity"] == "published"
    assert status["$.nest[1].memories[0].access_energy"] == "unstated"


def test_every_option() -> None:
    machine = parse_accelerator(
        """
name: full
description: "a: chip"
energy_unit: pJ
word_bits: 8 bit
charging: both-ends
charge_padding: true
fold_strides: true
winograd: true
clock: 0.2 GHz
static_power: 30 mW
default_dataflow: ws
sparse: {zeros: skip, of: [input, weight], run_bits: 4 bit, count_bits: 3 bit,
         charge_register_reads_of: [input]}
compute: {mac_energy: 200 fJ, per_cycle: 2, cycles: 8, psum_bits: 20 bit}
nest:
  - memories:
      - {name: dram, keeps: [input, weight, output], read_energy: 1 nJ, write_energy: 2 nJ,
         bandwidth: 8 B/cycle, formats: {input: run-length, weight: csc}}
  - array: pes
    axes: [{name: x, size: 2}]
    hop_charge: every
    bandwidth: 16 bit/cycle
  - memories:
      - {name: rf, keeps: [input, weight], may_bypass: [weight], capacity: 64 x 8 bit,
         access_energy: 0 pJ}
      - {name: acc, keeps: [output], access_energy: 1 pJ, prefetched: true,
         latency: 12 cycles}
""",
        "full.yaml",
    )
    dram, rf = machine.memories["dram"], machine.memories["rf"]
    assert (dram.read_energy, dram.write_energy, dram.bandwidth) == (1000, 2000, 64)
    assert dram.formats == (Format.RUN_LENGTH, Format.CSC, Format.DENSE)
    assert (rf.capacity, rf.may_bypass) == (512.0, frozenset({Operand.WEIGHT}))
    assert machine.arrays[0] == Array(
        "pes", machine.arrays[0].axes, hop_energy=0.0, hop_charge=HopCharge.EVERY, bandwidth=16
    )
    assert (machine.compute.mac_energy, machine.compute.per_cycle) == (0.2, 2)
    assert (machine.compute.cycles, machine.compute.rate, machine.peak) == (8, 0.25, 0.5)
    assert (machine.memories["acc"].prefetched, machine.memories["acc"].latency) == (True, 12)
    assert (machine.fold_strides, machine.winograd) == (True, True)
    assert machine.psum_bits(8) == 20
    assert (machine.clock, machine.static_power) == (2e8, 0.03)
    assert (machine.sparse.run_bits, machine.sparse.count_bits) == (4, 3)
    again = parse_accelerator(dump_accelerator(machine), "copy")
    assert again == machine
    assert again.sources == machine.sources


def test_an_accelerator_is_returned_as_it_is_and_paths_are_read(tmp_path: Path) -> None:
    file = tmp_path / "chip.yaml"
    file.write_text("\ufeff" + MACHINE, "utf-8")
    machine = load_accelerator(file)
    assert load_accelerator(str(file)) == machine
    assert load_accelerator(machine) is machine


def test_a_changed_number_loses_its_source() -> None:
    machine = parse_accelerator(MACHINE, "chip.yaml")
    level = machine.nest[1]
    assert not isinstance(level, Array)
    memory = replace(level.memories[0], capacity=1e6 / 3)
    changed = replace(
        machine, nest=(machine.nest[0], replace(level, memories=(memory,)), *machine.nest[2:])
    )
    text = dump_accelerator(changed)
    assert "JSSC" not in text
    assert parse_accelerator(text, "copy") == changed


# -- mistakes --------------------------------------------------------------------------------------


def test_all_mistakes_at_once() -> None:
    text = """\
name: my chip
enery_unit: MAC
word_bits: 16.5 bit
compute: {mac_energy: {value: 1 MAC, sauce: x}}
nest:
  - memories:
      - {name: dram, keeps: [input, wait, output], access_energy: -200 MAC}
  - memories:
      - name: compute
        keeps: [input, output]
        capcity: 4
        capacity: {value: 108 KiBB, source: "JSSC'17 Table IV", status: guessed}
  - array: pe-array
    axes: [{name: rows, size: 0}, {name: columns, size: 14, loops: [M, X]}]
  - []
"""
    assert mistakes(text) == {
        "$.name": "'my chip' is not a name: letters, digits, - and _, at most 64 (line 1)",
        "$.enery_unit": "unknown key (did you mean 'energy_unit'?) (line 2)",
        "$.word_bits": "'16.5 bit' is not a whole number (line 3)",
        "$.compute.mac_energy.source": "is missing (line 4)",
        "$.compute.mac_energy.status": "is missing (line 4)",
        "$.compute.mac_energy.sauce": "unknown key (did you mean 'source'?) (line 4)",
        "$.nest[0].memories[0].keeps[1]": (
            "'wait' is not one of input, weight, output (did you mean 'weight'?) (line 7)"
        ),
        "$.nest[0].memories[0].access_energy": "'-200 MAC' is not within 0 to 1e+15 MAC (line 7)",
        "$.nest[1].memories[0].name": (
            "'compute' is a word of the results; choose another name (line 9)"
        ),
        "$.nest[1].memories[0].capcity": "unknown key (did you mean 'capacity'?) (line 11)",
        "$.nest[1].memories[0].capacity.value": (
            "'108 KiBB': a capacity needs one of the units bit, bits, b, B, byte, bytes, kB, KB, "
            "KiB, MB, MiB, GB, GiB, Kibit, Mibit (line 12)"
        ),
        "$.nest[1].memories[0].capacity.status": (
            "'guessed' is not one of published, derived, assumed, fitted (line 12)"
        ),
        "$.nest[2].axes[0].size": "'0' is not within 1 to 65536 (line 14)",
        "$.nest[2].axes[1].loops[1]": "'X' is not one of N, G, M, C, P, Q, R, S (line 14)",
        "$.nest[3]": "must be a mapping of keys, not a list (line 15)",
    }


BUFFER = "$.nest[1].memories[0]"
SPADS = "$.nest[3].memories[0]"


@pytest.mark.parametrize(
    ("old", "new", "path", "part"),
    [
        ("[input, output]", "[input, input]", f"{BUFFER}.keeps", "listed twice"),
        ("[input, output]", "[]", BUFFER, "keeps nothing"),
        ("512 B,", "512 B, may_bypass: [input, input],", f"{SPADS}.may_bypass", "twice"),
        ("access_energy: 6 MAC", "read_energy: 6 MAC", BUFFER, "write_energy"),
        ("access_energy: 6 MAC", "access_energy: 6 pJ", f"{BUFFER}.access_energy", "MAC"),
        ("access_energy: 6 MAC", "access_energy: .nan", f"{BUFFER}.access_energy", "read"),
        ("access_energy: 6 MAC", "access_energy: 1e999 MAC", f"{BUFFER}.access_energy", "finite"),
        ("access_energy: 6 MAC", "access_energy: 6", f"{BUFFER}.access_energy", "unit"),
        ("access_energy: 6 MAC", "access_energy: [6]", f"{BUFFER}.access_energy", "number"),
        ("512 B", "0 B", f"{SPADS}.capacity", "within"),
        ("512 B", "-1 B", f"{SPADS}.capacity", "within"),
        ("512 B", "512 B, formats: {output: zip}", f"{SPADS}.formats.output", "run-length"),
        ("name: spads", "name: buffer", "$.nest", "used twice"),
        ("size: 14", "size: 1e3", "$.nest[2].axes[1].size", "whole number"),
        ("name: columns", "name: rows", "$.nest[2].axes", "two axes"),
        (
            "size: 14",
            "size: 14, forwards: [weight]",
            "$.nest[2].axes[1].forwards",
            "only the input is handed",
        ),
        ("size: 14", "size: 14, forwards: [input]", "$.nest[2].axes", "P may run along an axis"),
        (
            "keeps: [input, output]",
            "keeps: [input, output], refetches: [C]".replace(", r", "\n        r"),
            BUFFER,
            "refetches lists C",
        ),
        (
            "keeps: [input, output]",
            "keeps: [output]\n        refetches: [M]",
            BUFFER,
            "which it does not keep",
        ),
        ("  - array: pe-array\n", "  - arry: pe-array\n", "$.nest[2].arry", "'array'"),
    ],
)
def test_one_mistake(old: str, new: str, path: str, part: str) -> None:
    found = mistakes(edited(old, new))
    assert path in found
    assert part in found[path]


@pytest.mark.parametrize(
    ("line", "path", "part"),
    [
        ("name:", "$.name", "must be a text"),
        ("name: c\ncharge_padding: maybe", "$.charge_padding", "true or false"),
        ("name: c\nenergy_unit: J", "$.energy_unit", "MAC, pJ"),
        ("name: c\nclock: 200", "$.clock", "Hz"),
        ("name: c\nstatic_power: 1 W", "$.static_power", "no effect"),
        ("name: c\ndefault_dataflow: flexibel", "$.default_dataflow", "did you mean 'flexible'"),
        ("name: c\ncontrol: {per_cylce: 1 MAC}", "$.control.per_cylce", "did you mean 'per_cycle'"),
        ("name: c\ncontrol: 1 MAC", "$.control", "a mapping of keys"),
        ("name: c\nsparse: {zeros: gate}", "$.sparse", "belong together"),
        ("name: c\nsparse: {run_bits: 5 bit}", "$.sparse.run_bits", "no effect"),
        ("name: c\nsparse: {zeros: gate, of: [output]}", "$.sparse.of[0]", "input, weight"),
    ],
)
def test_one_mistake_at_the_top(line: str, path: str, part: str) -> None:
    found = mistakes(edited("name: my-chip", line))
    assert list(found) == [path]
    assert part in found[path]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "mapping of keys, not nothing"),
        ("- a\n", "mapping of keys, not a list"),
        ("a: 1\na: 2\n", "given twice (line 2)"),
        ("a: &x [1]\nb: *x\n", "aliases"),
        ("<<: {a: 1}\n", "plain word"),
        ("? [a]\n: 1\n", "plain word"),
        ("a: !!python/object:os.system x\n", "the tag"),
        ("a: " + "[" * 100, "nested"),
        ("a: [1", "not readable as YAML"),
        ("a: 1\n---\nb: 2\n", "not readable as YAML"),
        ('a: "\\U00110000"\n', "not readable as YAML"),
        ('a: "\\ud800"\n', "surrogate"),
        ("a: \0\n", "not readable as YAML"),
        ("#" * 300_000, "more than 256 KiB"),
    ],
)
def test_texts_that_are_refused(text: str, part: str) -> None:
    assert any(part in message for message in mistakes(text).values())


def test_many_mistakes_are_cut() -> None:
    text = MACHINE + "".join(f"key{n}: 1\n" for n in range(500))
    found = mistakes(text)
    assert len(found) == 51
    assert found["$"] == "and 450 more mistakes"


def test_unusable_sources(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(MACHINE.encode() + b"# \xe9\n")
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * 2_000_000)
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    for source, part in (
        (latin, "not UTF-8"),
        (huge, "more than"),
        (folder, "a folder"),
        (tmp_path / "absent.yaml", "no such file"),
        ("nul\0.yaml", "no such file"),
        ("x" * 5000 + ".yaml", "cannot be read"),
    ):
        with pytest.raises(InputError, match=part):
            load_accelerator(source)
    with pytest.raises(InputError, match=r"did you mean 'eyeriss'.*eyeriss-isca16.*\.yaml"):
        load_accelerator("eyerris")


# -- variants --------------------------------------------------------------------------------------


def variant(tmp_path: Path, changes: str) -> Path:
    (tmp_path / "base.yaml").write_text(MACHINE, "utf-8")
    file = tmp_path / "variant.yaml"
    file.write_text(f"name: variant\nbased_on: base.yaml\nchanges:\n{changes}", "utf-8")
    return file


def test_a_variant_changes_what_it_names(tmp_path: Path) -> None:
    file = variant(
        tmp_path,
        "  buffer.capacity: {value: 216 KiB, source: me, status: assumed}\n"
        "  pe-array.rows.size: 24\n"
        "  pe-array.hop_charge: every\n"
        "  compute.per_cycle: 2\n"
        "  spads.capacity:\n"
        "  default_dataflow: rs\n",
    )
    base, machine = load_accelerator(tmp_path / "base.yaml"), load_accelerator(file)
    assert machine.name == "variant"
    assert machine.memories["buffer"].capacity == 2 * 108 * 8192
    assert machine.memories["spads"].capacity is None
    assert machine.elements == 24 * 14
    assert machine.arrays[1].hop_charge is HopCharge.EVERY
    assert machine.compute.per_cycle == 2
    assert machine.default_dataflow == "rs"
    assert machine.memories["dram"] == base.memories["dram"]
    source = {constant.path: constant.source for constant in machine.sources}
    assert source["$.nest[1].memories[0].capacity"] == "me"
    assert parse_accelerator(dump_accelerator(machine), "copy") == machine


def test_mistakes_of_a_variant_are_told_where_it_makes_them(tmp_path: Path) -> None:
    file = variant(
        tmp_path,
        "  bufer.capacity: 216 KiB\n"
        "  buffer.capacity: 216 KiBB\n"
        "  pe-array.rowz.size: 24\n"
        "  pe-array.hop_charg: every\n"
        "  dram.capacity: 1 GB\n"
        "  buffer.name: b\n"
        "  pe-array: 4\n",
    )
    with pytest.raises(InputError) as caught:
        load_accelerator(file)
    found = {mistake.path: mistake.message for mistake in caught.value.mistakes}
    assert "did you mean 'buffer'" in found['$.changes["bufer.capacity"]']
    assert "(line 5)" in found['$.changes["buffer.capacity"]']
    assert "did you mean 'rows'" in found['$.changes["pe-array.rowz.size"]']
    assert "did you mean 'hop_charge'" in found['$.changes["pe-array.hop_charg"]']
    assert "can be changed" in found['$.changes["buffer.name"]']
    assert "can be changed" in found["$.changes.pe-array"]
    assert len(found) == 6


def test_what_a_change_breaks_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\$\.changes: \$\.nest\[0\] the outermost level"):
        load_accelerator(variant(tmp_path, "  dram.capacity: 1 GB\n"))


def test_bases_that_cannot_be_used(tmp_path: Path) -> None:
    loop = tmp_path / "loop.yaml"
    loop.write_text("name: loop\nbased_on: loop.yaml\nchanges: {}\n", "utf-8")
    with pytest.raises(InputError, match="has no end"):
        load_accelerator(loop)
    for number in range(12):
        text = f"name: c\nbased_on: chain{number + 1}.yaml\nchanges: {{}}\n"
        (tmp_path / f"chain{number}.yaml").write_text(text, "utf-8")
    with pytest.raises(InputError, match="has no end"):
        load_accelerator(tmp_path / "chain0.yaml")
    (tmp_path / "bad.yaml").write_text("name: bad\n", "utf-8")
    assert "$.based_on" in mistakes(
        "name: v\nbased_on: bad.yaml\nchanges: {}\n", str(tmp_path / "v.yaml")
    )
    found = mistakes("name: v\nbased_on: eyerris\nnest: []\n")
    assert found["$.changes"] == "is missing (line 1)"
    assert found["$.nest"].startswith("unknown key; there are name, based_on")
    assert "did you mean" in mistakes("name: v\nbased_on: eyerris\nchanges: {}\n")["$.based_on"]


# -- rubbish ---------------------------------------------------------------------------------------

TEXTS = [(DATA / f"{name}.yaml").read_text("utf-8") for name in SHIPPED] + [MACHINE]
TOKENS = sorted({token for text in TEXTS for token in re.findall(r"[\w-]+|[^\w\s]", text)})
ODD = ["&a ", "*a", "!!int ", "<<: ", "- ", "? ", "%YAML 1.1\n", "\0", "\t", "null", "~", ".inf"]
ODD += ["1" * 90, "-1", "'", '"', "{", "]", "\ud7ff", "0x10", "1:30", "no", "\n", "---\n", "|\n"]


def never_crashes(text: str) -> None:
    try:
        machine = parse_accelerator(text, "fuzz.yaml")
    except InputError as error:
        str(error).encode()  # fit to be printed
    else:
        again = parse_accelerator(dump_accelerator(machine), "copy")
        assert again == machine
        assert set(machine.sources) <= set(again.sources)  # defaults are written out


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    never_crashes(text)


KEYS = st.sampled_from([t for t in TOKENS if re.fullmatch(r"[a-z_]+", t)]) | st.text(max_size=5)
NODES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | KEYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(NODES)
def test_any_yaml(node: object) -> None:
    never_crashes(yaml.safe_dump(node))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TEXTS), st.data())
def test_mutated_files(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 30))
        piece = data.draw(st.sampled_from(["", *TOKENS, *ODD]) | st.text(max_size=4))
        text = text[:start] + piece + text[start + length :]
    never_crashes(text)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([MACHINE, *TEXTS]), NODES, st.data())
def test_machines_with_one_part_replaced(text: str, node: object, data: st.DataObject) -> None:
    root = yaml.safe_load(text)
    place, key = root, data.draw(st.sampled_from(sorted(root)))
    while isinstance(place[key], dict | list) and data.draw(st.booleans()):
        inner = place[key]
        keys = sorted(inner) if isinstance(inner, dict) else list(range(len(inner)))
        if not keys:
            break
        place, key = inner, data.draw(st.sampled_from(keys))
    place[key] = node
    never_crashes(yaml.safe_dump(root))
