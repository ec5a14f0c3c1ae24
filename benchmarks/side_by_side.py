"""Other mappers beside picojoule: same layers, same machine, same conventions, one core.

    python -m benchmarks.side_by_side                   writes results/peers.{json,md}
    python -m benchmarks.side_by_side --peer zigzag-even --layer bvlc-alexnet/fc8
    python -m benchmarks.side_by_side --recorded        peers as results/peers.json has them

Each peer is installed into an environment of its own under ``.envs/``. One that cannot be
installed, fails, or does not finish a layer within ``--limit`` seconds of CPU time is reported as
such. What is finished stays in ``.work/`` and is not run again (``--again`` runs it all the same).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import picojoule
from benchmarks.builds import ROOT, Build, Question
from benchmarks.machines import varied
from benchmarks.peer_tables import write_tables
from benchmarks.peers.environments import ENVIRONMENTS, prepare
from benchmarks.peers.translation import priced, registers_needed
from benchmarks.record import Record, Row, conditions, progress, write_json
from benchmarks.rows import WARM_UP
from picojoule.accelerator import Accelerator, Array
from picojoule.mapper.cache import fingerprint
from picojoule.workload import Layer

HERE = Path(__file__).parent
LIMIT = 120  # CPU seconds for a layer, the peer's start included
PATIENCE = 10  # times the limit on the wall clock, on a machine with other work to do
BUDGET = 120.0  # seconds for a layer of ours
TURNS = 4  # of ours, of which the quickest counts, where it takes less than a second

LAYERS = {
    "bvlc-alexnet": ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"),
    "resnet50": ("conv1", "layer1.0.conv2", "layer2.0.conv3", "layer4.0.downsample"),
    "mobilenetv2": ("block2/expand", "block2/depthwise", "block2/project"),
    "bert-base": (
        "encoder.0.attention.query",
        "encoder.0.attention.scores",
        "encoder.0.mlp.expand",
    ),
}


class Peer(NamedTuple):
    """One way to run one peer.

    Args:
        environment: where it is installed.
        runner: the script that runs inside.
        machine: the file of the machine whose conventions it counts by.
        options: what else the runner is told.
        bypass: whether it may send operands past the buffer.
        padded: whether it charges the zeros around the input.
        restricted: whether it searches one dataflow only; then ours does, too.
        faster: how many times as long as ours it should take at least, on every layer.
        uneven: whether each operand may have its own tile boundaries.
    """

    environment: str
    runner: str
    machine: str
    options: dict[str, str]
    bypass: bool
    padded: bool
    restricted: bool = False
    faster: float = 10.0
    uneven: bool = False


PEERS = {
    "nn-dataflow-exhaustive": Peer(
        "nn-dataflow",
        "nn_dataflow_runner.py",
        "dearer-end",
        {"solver": "exhaustive"},
        bypass=True,
        padded=True,
        restricted=True,
        faster=1.0,
    ),
    "nn-dataflow-analytic": Peer(
        "nn-dataflow",
        "nn_dataflow_runner.py",
        "dearer-end",
        {"solver": "analytic"},
        bypass=True,
        padded=True,
        restricted=True,
        faster=0.2,
    ),
    "zigzag-even": Peer(
        "zigzag",
        "zigzag_runner.py",
        "both-ends",
        {"mapping": "even"},
        bypass=False,
        padded=False,
    ),
    "zigzag-uneven": Peer(
        "zigzag",
        "zigzag_runner.py",
        "both-ends",
        {"mapping": "uneven"},
        bypass=False,
        padded=False,
        uneven=True,
    ),
    "accelforge": Peer(
        "accelforge",
        "accelforge_runner.py",
        "both-ends",
        {},
        bypass=True,
        padded=True,
        uneven=True,
    ),
}


def machine_of(name: str) -> Accelerator:
    """The common machine with the conventions *name*."""
    return picojoule.load_accelerator(str(HERE / "peers" / f"{name}.yaml"))


def described(machine: Accelerator) -> Row:
    """A common machine as the runners read it."""
    memories, array = machine.memories, machine.arrays[1]
    assert isinstance(array, Array)
    capacity = {
        name: int(memory.capacity // machine.word_bits)
        for name, memory in memories.items()
        if memory.capacity is not None
    }
    return {
        "array": [axis.size for axis in array.axes],
        "word_bits": machine.word_bits,
        "buffer_words": capacity["buffer"],
        "register_words": capacity["register-file"],
        "energy": {
            "dram": memories["dram"].read_energy,
            "buffer": memories["buffer"].read_energy,
            "register": memories["register-file"].read_energy,
            "hop": array.hop_energy,
            "mac": machine.compute.mac_energy,
        },
    }


def shape_of(layer: Layer) -> Row:
    """A layer as the runners read it."""
    return {
        "name": layer.name,
        **layer.bounds._asdict(),
        "stride": list(layer.stride),
        "dilation": list(layer.dilation),
        "padding": list(layer.padding),
        "input_size": list(layer.input_size),
    }


def run_peer(peer: Peer, layer: Layer, machine: Accelerator, limit: int) -> Row:
    """Run one peer on one layer in a process group of its own, which is killed at the limit."""
    job = {"layer": shape_of(layer), "machine": described(machine), **peer.options}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = subprocess.Popen(
        [
            str(ENVIRONMENTS[peer.environment].python),
            str(HERE / "peers" / peer.runner),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(_limited, limit),
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
    )
    try:
        out, messages = child.communicate(json.dumps(job), timeout=limit * PATIENCE)
    except subprocess.TimeoutExpired:
        why = f"not finished in {limit * PATIENCE} s on the wall"
        return {"status": "timeout", "reason": why, "limit": limit}
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return {"status": "timeout", "reason": f"not finished in {limit} s", "limit": limit}
    if child.returncode:
        lines = messages.strip().splitlines() or [f"ended with {child.returncode}"]
        return {"status": "failed", "reason": lines[-1][:300], "process": process}
    return {"status": "done", "process": process, **json.loads(out)}


def _limited(limit: int) -> None:
    """Keep a peer to one core and to the limit of CPU time."""
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def version_of(peer: Peer) -> str:
    """What a peer's answer depends on: its requirements, its runner, the machine."""
    files = (
        ENVIRONMENTS[peer.environment].requirements,
        HERE / "peers" / peer.runner,
        HERE / "peers" / f"{peer.machine}.yaml",
    )
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]


def theirs(name: str, rows: list[Row], limit: int, *, again: bool) -> list[Row]:
    """What a peer answers for each layer."""
    peer = PEERS[name]
    record = Record(HERE / ".work" / "peers.jsonl", version_of(peer), again=again)
    kept = {
        (row["network"], row["layer"]): row
        for row in record.rows(name)
        if row["status"] != "timeout" or row.get("limit", LIMIT) >= limit
    }
    machine = machine_of(peer.machine)
    missing = [row for row in rows if (row["network"], row["layer"]) not in kept]
    reason = prepare(ENVIRONMENTS[peer.environment]) if missing else None
    for row in missing:
        if reason is not None:
            kept[row["network"], row["layer"]] = {
                **row,
                "status": "not installed",
                "reason": reason,
            }
            continue
        progress(f"{name}: {row['network']}/{row['layer']}")
        layer = picojoule.load(row["network"])[row["layer"]]
        answer = {**row, **run_peer(peer, layer, machine, limit)}
        record.add(name, answer)
        kept[row["network"], row["layer"]] = answer
    return [kept[row["network"], row["layer"]] for row in rows]


def recorded(name: str, rows: list[Row], before: Row) -> list[Row]:
    """What a peer answered in the run whose results are kept."""
    kept = {(row["network"], row["layer"]): row for row in before["peers"][name]["theirs"]}
    return [kept[row["network"], row["layer"]] for row in rows]


def repriced(peer: Peer, answers: list[Row]) -> list[Row]:
    """The same answers with what our cost model says of each mapping."""
    target = varied(machine_of(peer.machine), bypass=peer.bypass, padded=peer.padded)
    for answer in answers:
        if answer["status"] == "done":
            layer = picojoule.load(answer["network"])[answer["layer"]]
            answer["repriced"] = priced(peer.environment, layer, target, answer["mapping"])
            if peer.restricted:
                answer["registers"] = registers_needed(layer, answer["mapping"], answer["accesses"])
    return answers


def ours(
    peer: Peer, rows: list[Row], build: Build, *, again: bool, dataflow: str, space: str = "even"
) -> list[Row]:
    """What picojoule answers on the same machine in a *space*, of several turns the quickest."""
    path = HERE / "peers" / f"{peer.machine}.yaml"
    version = f"{fingerprint()}{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    record = Record(HERE / ".work" / "peers.jsonl", version, again=again)
    answers = []
    for row in rows:
        question = {
            **row,
            "chip": str(path),
            "machine": {"bypass": peer.bypass, "padded": peer.padded},
            "dataflow": dataflow,
            "space": space,
            "budget": BUDGET,
        }
        part = json.dumps({**question, "chip": peer.machine}, sort_keys=True)
        answer = record.once(part, partial(_quickest, build, question))
        answers.append({**row, "energy": answer.get("value"), **answer})
        progress(f"{dataflow} {row['layer']} {answer.get('cpu')}")
    return answers


def _quickest(build: Build, question: Question) -> Row:
    answer = build.ask(question)
    for _ in range(TURNS if answer.get("cpu", 1.0) < 1.0 else 0):
        answer = min(answer, build.ask(question), key=lambda one: float(one["cpu"]))
    return answer


def chosen(names: list[str] | None) -> list[Row]:
    """The layers to run, as rows."""
    pairs = [(network, layer) for network, layers in LAYERS.items() for layer in layers]
    if names:
        pairs = [(network, layer) for network, _, layer in (name.partition("/") for name in names)]
    return [{"network": network, "layer": layer} for network, layer in pairs]


def main() -> None:
    """Run what the command line asks for."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", action="append", choices=list(PEERS), help="only this one")
    parser.add_argument("--layer", action="append", help="NETWORK/LAYER; only this one")
    parser.add_argument("--again", action="store_true", help="run what is finished, too")
    parser.add_argument("--quick", action="store_true", help="AlexNet's fully connected layers")
    parser.add_argument("--limit", type=int, default=LIMIT, help="CPU seconds a layer of a peer")
    parser.add_argument("--recorded", action="store_true", help="run ours alone")
    args = parser.parse_args()
    rows = chosen(args.layer)
    if args.quick:
        rows = [row for row in rows if row["layer"] in ("fc6", "fc7", "fc8")]
    before = json.loads((HERE / "results" / "peers.json").read_text(encoding="utf-8"))
    answer: Row = {"conditions": conditions(), "limit": args.limit, "peers": {}}
    if args.recorded:
        answer["recorded"] = before.get("recorded", before["conditions"])
        answer["limit"] = before["limit"]
    build = Build(ROOT / "src", warm_up=WARM_UP)
    for name in args.peer or list(PEERS):
        peer = PEERS[name]
        if args.recorded:
            answered = recorded(name, rows, before)
        else:
            answered = theirs(name, rows, args.limit, again=args.again)
        part: Row = {
            "peer": peer._asdict(),
            "theirs": repriced(peer, answered),
            "ours": ours(peer, rows, build, again=args.again, dataflow="flexible"),
        }
        if peer.restricted:
            part["ours_rs"] = ours(peer, rows, build, again=args.again, dataflow="rs")
        if peer.uneven:
            part["ours_uneven"] = ours(
                peer, rows, build, again=args.again, dataflow="flexible", space="uneven"
            )
        answer["peers"][name] = part
    build.end()
    few = args.quick or args.peer or args.layer
    folder = HERE / ".work" / "partial" if few else HERE / "results"
    write_json(folder / "peers.json", answer)
    write_tables(folder, answer)
    sys.stdout.write((folder / "peers.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
