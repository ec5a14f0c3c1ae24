"""Run AccelForge on one layer. Runs inside AccelForge's own environment.

Standard input: ``{"layer": {...}, "machine": {...}}``; standard output: ``{"energy", "cpu", "wall",
"mapping"}``.

The layer is one Einsum; the mapper's defaults apply (tile sizes that divide) with one process and
energy as the only metric. The detailed evaluation that draws each mapping is left out: it needs
Graphviz and adds nothing to the search.
"""

import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import accelforge
import yaml
from accelforge.mapper.FFM.main import map_workload_to_arch


def memory(name, words, energy, bits, keep, may_keep):
    """A memory in AccelForge's form; an action is one word."""
    actions = [
        {"name": action, "energy": energy, "bits_per_action": bits, "throughput": "inf"}
        for action in ("read", "write")
    ]
    tensors = {"keep": keep}
    if may_keep:
        tensors["may_keep"] = may_keep
    return {
        "tag": "Memory",
        "name": name,
        "size": words * bits if words else "inf",
        "leak_power": 0,
        "area": 0,
        "tensors": tensors,
        "actions": actions,
    }


def architecture_of(machine):
    """The machine, outermost first, as the nodes of AccelForge's tree."""
    energy, bits = machine["energy"], machine["word_bits"]
    rows, columns = machine["array"]
    return [
        memory("MainMemory", None, energy["dram"], bits, "All", None),
        memory("Buffer", machine["buffer_words"], energy["buffer"], bits, "~All", "All"),
        {
            "tag": "Container",
            "name": "Element",
            "spatial": [{"name": "rows", "fanout": rows}, {"name": "columns", "fanout": columns}],
        },
        memory("Registers", machine["register_words"], energy["register"], bits, "All", None),
        {
            "tag": "Compute",
            "name": "MAC",
            "leak_power": 0,
            "area": 0,
            "actions": [{"name": "compute", "energy": energy["mac"], "throughput": 1}],
        },
    ]


def workload_of(shape, bits):
    """The layer as one Einsum; dimensions of size one are left out."""
    sizes = {name: shape[name.upper()] for name in "ngmcpqrs"}
    used = [name for name, size in sizes.items() if size > 1]
    plain = [name for name in ("n", "g", "c") if name in used]
    rows = {name.upper(): name for name in plain}
    for axis, (out, tap) in enumerate((("p", "r"), ("q", "s"))):
        steps, gaps = shape["stride"][axis], shape["dilation"][axis]
        terms = [
            name if factor == 1 else f"{factor}*{name}"
            for name, factor in ((out, steps), (tap, gaps))
            if name in used
        ]
        if terms:
            rows["HW"[axis]] = " + ".join(terms)
    return {
        "iteration_space_shape": {name: f"0 <= {name} < {sizes[name]}" for name in used},
        "bits_per_value": {"All": bits},
        "einsums": [
            {
                "name": "Layer",
                "tensor_accesses": [
                    {"name": "I", "projection": rows},
                    {"name": "W", "projection": [x for x in "gmcrs" if x in used]},
                    {"name": "O", "projection": [x for x in "ngmpq" if x in used], "output": True},
                ],
                "renames": {"input": "I", "weight": "W", "output": "O"},
            }
        ],
    }


def write(folder, shape, machine):
    """The two files that AccelForge reads; its tags of nodes are YAML tags."""
    paths = [Path(folder, name) for name in ("machine.yaml", "layer.yaml")]
    lines = ["arch:", "  nodes:"]
    for node in architecture_of(machine):
        lines.append(f"  - !{node.pop('tag')}")
        lines += ["    " + line for line in yaml.safe_dump(node, sort_keys=False).splitlines()]
    paths[0].write_text("\n".join(lines) + "\n")
    paths[1].write_text(yaml.safe_dump({"workload": workload_of(shape, machine["word_bits"])}))
    return paths


def main():
    """Map the layer that standard input describes."""
    job = json.load(sys.stdin)
    answer_to = os.dup(1)  # the mapper prints what it does to standard output
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as folder:
        paths = write(folder, job["layer"], job["machine"])
        os.chdir(folder)  # it writes pictures of mappings into the working directory
        accelforge.set_n_parallel_jobs(1)
        spec = accelforge.Spec.from_yaml(*paths)
        spec.mapper.metrics = accelforge.mapper.Metrics.ENERGY
        wall, cpu = time.perf_counter(), time.process_time()
        mappings = map_workload_to_arch(spec, print_progress=False, eval_in_detail=False)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        best = mappings.data.iloc[0]
        energy = float(best["Total<SEP>energy"])
        if not math.isfinite(energy):
            raise SystemExit("AccelForge gave no finite energy")
        answer = {
            "energy": energy,
            "cpu": cpu,
            "wall": wall,
            "mapping": best["Total<SEP>mapping"]().compact_str(),
        }
    with os.fdopen(answer_to, "w") as out:
        json.dump(answer, out)


if __name__ == "__main__":
    main()
