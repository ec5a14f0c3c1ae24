"""Accelerators as YAML: read with all mistakes at once, written back without loss.

A file names the machine's parts as :mod:`accelerator` does, outermost first::

    name: my-chip
    energy_unit: MAC                       # or pJ
    word_bits: 16 bit                      # the width that every energy refers to
    compute: {mac_energy: 1 MAC}
    nest:
      - memories:
          - {name: dram, keeps: [input, weight, output], access_energy: 200 MAC}
      - memories:
          - name: buffer
            keeps: [input, output]
            capacity: {value: 108 KiB, source: "JSSC'17 Table IV", status: published}
            access_energy: 6 MAC           # or read_energy and write_energy
            bandwidth: 64 bit/cycle        # left out: unbounded
            double_buffered: true          # the next tile arrives while this one is in use
            prefetched: true               # and the first one while the layer before runs
            charge_drains: false           # sums that come and go cost no access of their own
            refetches: [M]                 # each step of these loops fetches all inputs anew
      - array: pe-array
        axes:
          - {name: rows, size: 12, loops: [M, P, R]}
          - {name: columns, size: 14, loops: [Q], forwards: [input]}  # from neighbour to neighbour
        hop_energy: 2 MAC
        network: multicast                 # or unicast, systolic, hierarchical-mesh
        bandwidths: {input: 16 bit/cycle}  # of each operand's own network; bandwidth: of a shared
      - memories:
          - {name: spads, keeps: [input, weight, output], capacity: 512 B, access_energy: 1 MAC}

Every number is a text with its unit, or a mapping ``{value, source, status}`` with the status
``published``, ``derived``, ``assumed`` or ``fitted``; shipped files always say where a number
comes from.

A machine that differs from another in a few numbers says only these. A change names the part (a
memory, an array and its axis, or a key of the file) and the number::

    name: my-chip-large
    based_on: my-chip.yaml                 # beside this file, or the name of a shipped machine
    changes:
      buffer.capacity: 216 KiB
      pe-array.rows.size: 24

What published mappings do with a machine (``--mapping published``) stands under ``published``,
each rule and change with its source: rules that mappings keep to (:class:`dataflow.RuleKind`)
beside those of the machine's dataflow, and what of the machine they use differently, named as in
``changes``::

    published:
      rules:
        - {rule: on-array-only, loops: [M], source: "a paper, §4", status: published}
      changes:
        buffer.capacity: {to: 64 KiB, source: "a paper, §5: half is never used", status: published}

A change of ``nest`` arranges the parts anew: its ``to`` is a whole nest.
"""

from __future__ import annotations

from picojoule.specs.machines import (
    dump_accelerator,
    in_use,
    load_accelerator,
    parse_accelerator,
    shipped_accelerators,
)

__all__ = [
    "dump_accelerator",
    "in_use",
    "load_accelerator",
    "parse_accelerator",
    "shipped_accelerators",
]
