"""Layers whose rows and columns may change places: of two mirrored mappings one is searched."""

from __future__ import annotations

from picojoule.accelerator import Accelerator
from picojoule.dataflow import Dataflow
from picojoule.workload import DIMS, Dim, Layer, WindowAxis

N, G, M, C, P, Q, R, S = DIMS
MIRROR = {P: Q, Q: P, R: S, S: R}  # rows and columns changed


def _mirror(dims: frozenset[Dim]) -> frozenset[Dim]:
    return frozenset(MIRROR.get(dim, dim) for dim in dims)


def mirrored(
    layer: Layer, accelerator: Accelerator, dataflow: Dataflow, axes: tuple[WindowAxis, WindowAxis]
) -> bool:
    """Whether rows and columns may change places: layer, arrays and dataflow are the same.

    Args:
        axes: of the layer's window, rows and columns.
    """
    reuse = accelerator.input_reuse
    if axes[0] != axes[1] or layer.padding[:2] != layer.padding[2:]:
        return False
    if any(dims != _mirror(dims) for dims in (*reuse.refetches, *reuse.handed_on)):
        return False
    for array in accelerator.arrays:
        sides = [] if array is None else [(axis.size, axis.dims) for axis in array.axes]
        if any(sides.count((n, _mirror(dims))) != sides.count((n, dims)) for n, dims in sides):
            return False
    return (
        all(
            dims == _mirror(dims)
            for dims in (
                dataflow.spatial,
                dataflow.unrolled,
                dataflow.spanned,
                dataflow.on_array,
            )
        )
        and all(
            tile.get(dim) == tile.get(MIRROR.get(dim, dim))
            for tile in (dataflow.element_tile, dataflow.buffer_tile)
            for dim in DIMS
        )
        and dataflow.inner_loop not in MIRROR
    )
