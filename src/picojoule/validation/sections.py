"""All comparisons, figure by figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from picojoule.validation.components import hwcomponents, isca16_areas, nvdla_areas
from picojoule.validation.cvpr17 import asilomar, cvpr17_fig4, cvpr17_table1
from picojoule.validation.cvpr17_networks import cvpr17_networks
from picojoule.validation.eie import eie
from picojoule.validation.eyeriss_v2 import eyeriss_v2
from picojoule.validation.figures import PublishedNumber
from picojoule.validation.isca16 import isca16_fig10, isca16_fig12, worked_examples
from picojoule.validation.jssc17 import jssc17_table3, jssc17_table5, jssc17_table6
from picojoule.validation.mlperf_tiny import mlperf_tiny
from picojoule.validation.nvdla import nvdla
from picojoule.validation.vela import vela

SECTIONS: Sequence[Callable[[], Iterator[PublishedNumber]]] = (
    worked_examples,
    isca16_fig10,
    isca16_fig12,
    jssc17_table3,
    jssc17_table5,
    jssc17_table6,
    asilomar,
    cvpr17_table1,
    cvpr17_networks,
    cvpr17_fig4,
    vela,
    nvdla,
    hwcomponents,
    nvdla_areas,
    isca16_areas,
    mlperf_tiny,
    eie,
    eyeriss_v2,
)


def validate() -> Iterator[PublishedNumber]:
    """All comparisons, figure by figure; takes about a minute or two on one core."""
    for section in SECTIONS:
        yield from section()
