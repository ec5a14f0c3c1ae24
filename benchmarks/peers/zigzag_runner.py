"""Run ZigZag 3.9 on one layer. Runs inside ZigZag's own environment.

Standard input: ``{"layer": {...}, "machine": {...}, "mapping": "even" | "uneven"}``; standard
output: ``{"energy", "cpu", "wall", "mapping"}``.

The stages are those of ZigZag's own entry point with its default limits (three spatial mappings, at
most six loops in time), with two differences: several dimensions may share an axis of the array,
and every read of a register is charged. The entry point fixes the opposite of the latter, under
which repeated reads of one register cost nothing.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import yaml
from zigzag.mapping.temporal_mapping import TemporalMappingType
from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
from zigzag.stages.main import MainStage
from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
from zigzag.stages.mapping.temporal_mapping_generator_stage import TemporalMappingGeneratorStage
from zigzag.stages.parser.accelerator_parser import AcceleratorParserStage
from zigzag.stages.parser.workload_parser import WorkloadParserStage
from zigzag.stages.results.reduce_stages import MinimalEnergyStage
from zigzag.stages.workload_iterator import WorkloadStage

SPATIAL_MAPPINGS, LOOPS = 3, 6  # the defaults of ZigZag's entry point
STAGES = [
    WorkloadParserStage,
    AcceleratorParserStage,
    WorkloadStage,
    MinimalEnergyStage,
    SpatialMappingGeneratorStage,
    MinimalEnergyStage,
    TemporalMappingGeneratorStage,
    CostModelStage,
]
UNBOUNDED = 1 << 40  # bits


def memory(words, energy, bits, everywhere):
    """A memory for all operands; an access is one word."""
    inward = ["I1, tl", "I2, tl", "O, tl", "O, th"]
    outward = ["I1, fh", "I2, fh", "O, fh", "O, fl"]
    return {
        "size": words * bits if words else UNBOUNDED,
        "r_cost": float(energy),
        "w_cost": float(energy),
        "area": 0.0,
        "latency": 1,
        "operands": ["I1", "I2", "O"],
        "ports": [
            {"name": "r_port_1", "type": "read", "allocation": inward, **width(bits)},
            {"name": "w_port_1", "type": "write", "allocation": outward, **width(bits)},
        ],
        "served_dimensions": ["D1", "D2"] if everywhere else [],
    }


def width(bits):
    """A port of one word."""
    return {"bandwidth_min": bits, "bandwidth_max": bits}


def accelerator_of(machine):
    """The machine in ZigZag's form, innermost memory first."""
    energy, bits = machine["energy"], machine["word_bits"]
    return {
        "name": "common",
        "memories": {
            "register": memory(machine["register_words"], energy["register"], bits, False),
            "buffer": memory(machine["buffer_words"], energy["buffer"], bits, True),
            "dram": memory(None, energy["dram"], bits, True),
        },
        "operational_array": {
            "unit_energy": float(energy["mac"]),
            "unit_area": 0.0,
            "dimensions": ["D1", "D2"],
            "sizes": machine["array"],
        },
    }


def workload_of(shape, bits):
    """The layer as ZigZag's own reader of ONNX files would describe it."""
    sizes = {
        "B": shape["N"],
        "K": shape["M"],
        "G": shape["G"],
        "OX": shape["Q"],
        "OY": shape["P"],
        "C": shape["C"],
        "FX": shape["S"],
        "FY": shape["R"],
    }
    top, bottom, left, right = shape["padding"]
    return [
        {
            "id": 0,
            "name": shape["name"],
            "operator_type": "Conv",
            "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
            "dimension_relations": [
                f"ix={shape['stride'][1]}*ox+{shape['dilation'][1]}*fx",
                f"iy={shape['stride'][0]}*oy+{shape['dilation'][0]}*fy",
            ],
            "loop_dims": list(sizes),
            "loop_sizes": list(sizes.values()),
            "operand_precision": {"W": bits, "I": bits, "O": bits, "O_final": bits},
            "operand_source": {},
            "pr_loop_dims": ["IX", "IY"],
            "pr_loop_sizes": [shape["input_size"][1], shape["input_size"][0]],
            "padding": [[left, right], [top, bottom]],
        }
    ]


def main():
    """Map the layer that standard input describes."""
    job = json.load(sys.stdin)
    machine, bits = job["machine"], job["machine"]["word_bits"]
    with tempfile.TemporaryDirectory() as folder:
        accelerator, mapping = Path(folder, "accelerator.yaml"), Path(folder, "mapping.yaml")
        accelerator.write_text(yaml.safe_dump(accelerator_of(machine), sort_keys=False))
        links = {"O": "O", "W": "I2", "I": "I1"}
        mapping.write_text(yaml.safe_dump([{"name": "default", "memory_operand_links": links}]))
        stages = MainStage(
            list_of_callables=STAGES,
            workload=workload_of(job["layer"], bits),
            accelerator=str(accelerator),
            mapping=str(mapping),
            loma_lpf_limit=LOOPS,
            loma_show_progress_bar=False,
            nb_mappings_generated=SPATIAL_MAPPINGS,
            enable_mix_spatial_mapping_generation=True,
            access_same_data_considered_as_no_access=False,
            temporal_mapping_type=TemporalMappingType(job["mapping"]),
        )
        wall, cpu = time.perf_counter(), time.process_time()
        results = stages.run()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    best = results[0][0]
    answer = {
        "energy": float(best.energy_total),
        "cpu": cpu,
        "wall": wall,
        "mapping": {
            "temporal": {
                str(operand): [[[str(dim), float(n)] for dim, n in level] for level in levels]
                for operand, levels in best.temporal_mapping.mapping_dic_origin.items()
            },
            "spatial": {
                str(axis): {str(dim): float(n) for dim, n in unrolled.items()}
                for axis, unrolled in best.layer.spatial_mapping.data.items()
            },
        },
        "energies": {
            str(operand): [float(energy) for energy in levels]
            for operand, levels in best.mem_energy_breakdown.items()
        },
        "mac_energy": float(best.mac_energy),
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
