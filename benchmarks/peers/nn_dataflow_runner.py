"""Run nn-dataflow 2.1 on one layer. Runs inside nn-dataflow's own environment.

Standard input: ``{"layer": {...}, "machine": {...}, "solver": "exhaustive" | "analytic"}``;
standard output: ``{"energy", "cpu", "wall", "mapping"}``. One group is scheduled and its energy
taken as many times as there are groups, as nn-dataflow's own AlexNet does by hand. Times are the
mean of as many searches as it takes for the clock to tell.

The layer is scheduled by itself, not as a network: a network that fits one segment is treated as
pinned on chip, and its weights then cost nothing to fetch.
"""

import json
import math
import sys
import time

from nn_dataflow.core import (
    ConvLayer,
    Cost,
    DataLayout,
    FmapPosition,
    FmapRange,
    MapStrategyEyeriss,
    MemHierEnum,
    NodeRegion,
    Option,
    ParallelEnum,
    PartitionScheme,
    PhyDim2,
    Resource,
    Scheduling,
    SchedulingCondition,
    SchedulingConstraint,
)

LEAST = 0.2  # seconds to measure


def resource_of(machine):
    """The machine as one node."""
    one = PhyDim2(1, 1)
    here = PhyDim2(0, 0)
    memory = NodeRegion(dim=one, origin=here, type=NodeRegion.DRAM)
    return Resource(
        proc_region=NodeRegion(dim=one, origin=here, type=NodeRegion.PROC),
        dram_region=memory,
        src_data_region=memory,
        dst_data_region=memory,
        dim_array=PhyDim2(*machine["array"]),
        size_gbuf=machine["buffer_words"],
        size_regf=machine["register_words"],
        array_bus_width=float("inf"),
        dram_bandwidth=float("inf"),
        no_time_mux=False,
    )


def cost_of(machine):
    """Costs of one access to each memory, one word to an element, one MAC."""
    energy = machine["energy"]
    levels = [0] * MemHierEnum.NUM
    levels[MemHierEnum.DRAM] = energy["dram"]
    levels[MemHierEnum.GBUF] = energy["buffer"]
    levels[MemHierEnum.ITCN] = energy["hop"]
    levels[MemHierEnum.REGF] = energy["register"]
    return Cost(mac_op=energy["mac"], mem_hier=tuple(levels), noc_hop=0, idl_unit=0)


def main():
    """Schedule the layer that standard input describes."""
    job = json.load(sys.stdin)
    shape, machine = job["layer"], job["machine"]
    if shape["dilation"] != [1, 1]:
        raise SystemExit("nn-dataflow has no dilated convolutions")
    layer = ConvLayer(
        shape["C"],
        shape["M"],
        (shape["P"], shape["Q"]),
        (shape["R"], shape["S"]),
        strd=tuple(shape["stride"]),
    )
    resource = resource_of(machine)
    whole = FmapRange(
        FmapPosition(b=0, n=0, h=0, w=0),
        FmapPosition(b=shape["N"], n=layer.nifm, h=layer.hifm, w=layer.wifm),
    )
    alone = PartitionScheme(order=range(ParallelEnum.NUM), pdims=[(1, 1)] * ParallelEnum.NUM)
    layout = DataLayout(frngs=(whole,), regions=(resource.src_data_region,), parts=(alone,))
    condition = SchedulingCondition(
        resource=resource,
        constraint=SchedulingConstraint(),
        ifmap_layout=layout,
        sched_seq=(0, 0, 0),
    )
    options = Option(
        sw_gbuf_bypass=(True, True, True),
        sw_solve_loopblocking=job["solver"] == "analytic",
        ntops=1,
        nprocesses=1,
    )
    wall, cpu, searches = time.perf_counter(), time.process_time(), 0
    while not searches or time.process_time() - cpu < LEAST:
        # A scheduling remembers its answers, so each search has one of its own.
        scheduling = Scheduling(layer, shape["N"], cost_of(machine), MapStrategyEyeriss)
        schedules = scheduling.schedule_search(condition, options)
        searches += 1
    cpu = (time.process_time() - cpu) / searches
    wall = (time.perf_counter() - wall) / searches
    if not schedules:
        raise SystemExit("nn-dataflow found no schedule")
    scheme = schedules[0].scheme
    strategy = MapStrategyEyeriss(layer, shape["N"], 1, resource.dim_array)
    answer = {
        "energy": scheme["cost"] * shape["G"],
        "cpu": cpu,
        "wall": wall,
        "mapping": {
            "factors": {name: list(scheme[name]) for name in ("ti", "to", "tb")},
            "orders": [list(order) for order in scheme["orders"]],
            "buffered": [scheme["size"][0][data] > 0 for data in range(3)],
            "fold": list(strategy.fold),
            "unit": replication(scheme, strategy),
        },
        "accesses": {
            "dram": scheme["access"][MemHierEnum.DRAM],
            "buffer": scheme["access"][MemHierEnum.GBUF],
            "array": scheme["access"][MemHierEnum.ITCN],
            "register": scheme["access"][MemHierEnum.REGF],
        },
    }
    json.dump(answer, sys.stdout)


def replication(scheme, strategy):
    """Input and output channels side by side in a pass of the array, for the schedule found."""
    counts = [math.prod(scheme[name]) for name in ("ti", "to", "tb")]
    for loops, _, _, (_, inputs, outputs) in strategy._gen_repl():
        if list(loops) == counts:
            return {"C": inputs, "M": outputs}
    raise SystemExit("nn-dataflow's replication could not be recovered")


if __name__ == "__main__":
    main()
