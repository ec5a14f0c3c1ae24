"""Which results differ from those that are kept: every shipped network on every shipped chip.

    python -m benchmarks.replay               all pairs; most of an hour on two cores
    python -m benchmarks.replay --quick       those of two chips, in less than a minute
    python -m benchmarks.replay --only eyeriss-v2/ --write     renew the rows of one chip
    python -m benchmarks.replay --missing --write              go on with a table that is not whole

``results/replay.csv`` has a row for each pair: energy, cycles, what the search says of its layers,
and a digest of everything else that an estimate holds but the effort of its search, the version,
and what it says of operators and of what lies between the layers. Where the proof of a whole
network takes minutes, only one or two of its small layers are estimated, or none; column ``layers``
says which.

Ends with 1 if a result differs, is not in the table, or is no longer shipped. A change of numbers
that is meant is written with ``--write`` and goes into the same commit as its reason.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import multiprocessing
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import picojoule
from picojoule.accelerator import Published
from picojoule.errors import PicojouleError
from picojoule.files import write_atomically
from picojoule.frontends import shipped_networks
from picojoule.specs import dump_accelerator, load_accelerator, shipped_accelerators
from picojoule.workload import Layer, Workload

TABLE = Path(__file__).parent / "results" / "replay.csv"
QUICK = ("eyeriss-cvpr17", "eyeriss-isca16-nlr")
EIGHT_BITS = (
    *("ethos-u55-128-like", "ethos-u55-256-like", "eyeriss-v2", "eyeriss-v2-pj", "gap9-ne16-like"),
    *("nvdla-2048-like", "nvdla-512-like", "nvdla-64-like", "nvdla-like", "simba-like"),
    "tpu-v1-like",
)  # their arithmetic refuses 16
FEW = 2
# Where time costs energy and much is free, a search of all sizes takes minutes.
DIVIDING = ("eyeriss-v2-pj",)
# Networks of large convolutions, and those of them that one chip proves quickly all the same.
CONVOLUTIONAL = tuple(
    name
    for name in shipped_networks()
    if name.startswith(("bvlc-", "googlenet", "mobilenet", "resnet", "squeezenet", "vgg"))
)
QUICKER = {"bvlc-alexnet-eap-100", "bvlc-alexnet-eap-10d", "squeezenet1.1"}
# Not proved within a minute and a half: whole chips, or networks of a chip.
SLOW = {
    "eyeriss-isca16": ("gpt2", "gpt2-decode"),
    "eyeriss-isca16-512": ("gpt2", "gpt2-decode"),
    "eyeriss-isca16-1024": ("gpt2", "gpt2-decode"),
    "eyeriss-isca16-osb": None,
    "eyeriss-isca16-osc": ("googlenet", "vgg16"),
    "eyeriss-isca16-ws": CONVOLUTIONAL,
    "eyeriss-v2": None,
    "eyeriss-v2-pj": None,
    "simba-like": None,
    # Quick enough each, yet many: all of them take an hour.
    **dict.fromkeys(
        (
            *("ethos-u55-128-like", "ethos-u55-256-like", "gap9-ne16-like"),
            *("nvdla-2048-like", "nvdla-512-like", "nvdla-64-like"),
        )
    ),
    "nvdla-like": ("gpt2",),
    "tpu-v1-like": tuple(sorted({*CONVOLUTIONAL} - QUICKER)),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one network cost on one chip; numbers as text, so that they are compared exactly."""

    accelerator: str
    network: str
    bits: str
    layers: str
    energy: str
    cycles: str
    status: str
    digest: str

    @property
    def pair(self) -> str:
        """``accelerator/network``."""
        return f"{self.accelerator}/{self.network}"


def pairs() -> list[str]:
    """Every ``accelerator/network`` that is shipped."""
    networks = sorted(shipped_networks())
    return [f"{chip}/{network}" for chip in sorted(shipped_accelerators()) for network in networks]


def chosen(chip: str, network: Workload) -> Workload:
    """The network, or the few of its layers that stand for it on a slow chip; perhaps none.

    Quick to prove, and therefore taken, are distinct layers with few multiplications; not those of
    1x1 kernels at many positions or of many rows.
    """
    if chip not in SLOW or network.name not in (SLOW[chip] or (network.name,)):
        return network
    distinct = {layer.signature(): layer for layer in reversed(network.layers)}.values()
    quick = [layer for layer in distinct if _window(layer) > 1 or _positions(layer) == 1]
    few = {layer.name for layer in sorted(quick, key=lambda layer: (layer.macs, layer.name))[:FEW]}
    return replace(network, layers=tuple(layer for layer in network if layer.name in few))


def _window(layer: Layer) -> int:
    return layer.bounds.R * layer.bounds.S


def _positions(layer: Layer) -> int:
    return layer.bounds.N * layer.bounds.P * layer.bounds.Q


def row_of(pair: str) -> Row:
    """Estimate a pair, nothing recalled from the disk."""
    chip, _, name = pair.partition("/")
    whole = picojoule.load(name)
    network = chosen(chip, whole)
    bits = 8 if chip in EIGHT_BITS else None
    known = {
        "accelerator": chip,
        "network": name,
        "bits": str(bits or ""),
        "layers": "all" if network is whole else ";".join(layer.name for layer in network),
    }
    if not network.layers:
        return Row(**known, energy="", cycles="", status="not run", digest="")
    try:
        factors = "perfect" if chip in DIVIDING else "all"
        found = picojoule.estimate(network, chip, bits=bits, factors=factors, cache=False)
    except PicojouleError as error:
        digest = _digest(str(error))
        return Row(**known, energy="", cycles="", status="refused", digest=digest)
    everything = found.to_dict()
    # Neither numbers nor mappings; the first is another one for every version.
    for name in ("picojoule", "complete", "unmodelled", "remarks", "mapping_policy", "stands_for"):
        everything.pop(name, None)
    # What lies between the layers, beside their totals, is newer than the rows.
    for name in ("others", "between", "graph"):
        everything.pop(name, None)
    # What a unit is in joules, a node, how a compiler would map and what published mappings keep to
    # change nothing of the best ones.
    del everything["joules"], everything["total"]["times_arithmetic"], everything["mapping_rules"]
    everything.pop("node", None)
    machine = replace(
        load_accelerator(chip), unit_energy=None, node=None, compiler=None, published=Published()
    )
    everything["machine"] = dump_accelerator(machine)
    for layer in everything["layers"]:
        for effort in ("seconds", "explored", "pruned"):
            del layer["search"][effort]
        del layer["bytes_moved"]  # newer than the rows
    return Row(
        **known,
        energy=repr(float(found.energy)),
        cycles=repr(float(found.cycles)),
        status=" ".join(sorted({layer["search"]["status"] for layer in everything["layers"]})),
        digest=_digest(json.dumps(everything, sort_keys=True)),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rows_of(wanted: Iterable[str], jobs: int) -> Iterator[Row]:
    """Estimate pairs, as many at once as *jobs*; each row as soon as it is there."""
    if jobs == 1:
        yield from map(row_of, wanted)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for done in as_completed([pool.submit(row_of, pair) for pair in wanted]):
            yield done.result()


def read(table: Path) -> dict[str, Row]:
    """The rows that are kept, by pair; none, if there is no table yet."""
    if not table.exists():
        return {}
    with table.open(encoding="utf-8", newline="") as file:
        rows = [Row(**line) for line in csv.DictReader(file)]
    return {row.pair: row for row in rows}


def write(table: Path, rows: Iterable[Row]) -> None:
    """Write the rows in the order of their pairs."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in sorted(rows, key=lambda row: row.pair))
    write_atomically(table, text.getvalue())


def difference(old: Row | None, new: Row) -> str | None:
    """What of a result is not what it was, in one line; None where all is the same."""
    if old == new:
        return None
    if old is None:
        return f"{new.pair}: not in the table"
    changes = []
    for name in ("bits", "layers", "status"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            changes.append(f"{name} {before or '(none)'} -> {after or '(none)'}")
    for name in ("energy", "cycles"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            ratio = f" (x {float(after) / float(before):.6g})" if before and after else ""
            changes.append(f"{name} {before or '(none)'} -> {after or '(none)'}{ratio}")
    return f"{new.pair}: {'; '.join(changes) or 'the same totals, other parts or mappings'}"


def main() -> int:
    """Run the pairs asked for and say which results differ."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"the chips {' and '.join(QUICK)}")
    parser.add_argument("--only", default="", help="pairs CHIP/NETWORK that hold this text")
    parser.add_argument("--missing", action="store_true", help="pairs that are not in the table")
    parser.add_argument("--jobs", type=int, default=1, help="pairs at once")
    parser.add_argument("--write", action="store_true", help="renew the rows that are run")
    parser.add_argument("--table", type=Path, default=TABLE, help="where the rows are kept")
    asked = parser.parse_args()
    kept, shipped = read(asked.table), pairs()
    wanted = [
        pair
        for pair in shipped
        if asked.only in pair
        and (not asked.quick or pair.partition("/")[0] in QUICK)
        and not (asked.missing and pair in kept)
    ]
    rows, differences = dict(kept), []
    for number, row in enumerate(rows_of(wanted, asked.jobs), 1):
        said = difference(kept.get(row.pair), row)
        if said is not None:
            differences.append(said)
            sys.stdout.write(f"{said}\n")
            rows[row.pair] = row
            if asked.write:
                write(asked.table, rows.values())
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{number}/{len(wanted)} {row.pair}")
    for pair in sorted(kept.keys() - set(shipped)):
        differences.append(f"{pair}: no longer shipped")
        sys.stdout.write(f"{differences[-1]}\n")
        del rows[pair]
        if asked.write:
            write(asked.table, rows.values())
    sys.stdout.write(f"{len(wanted)} results, {len(differences)} of them other than kept\n")
    return int(bool(differences) and not asked.write)


if __name__ == "__main__":
    sys.exit(main())
