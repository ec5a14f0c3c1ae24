"""How many inferences one run of an ONNX graph makes: its batch, and how that is known."""

from __future__ import annotations

from onnx import GraphProto

from picojoule.frontends.onnx_inputs import BATCH_NAME, first_sizes
from picojoule.frontends.onnx_shapes import Traced


def batch_of(graph: GraphProto, traced: Traced) -> tuple[int, str]:
    """The batch, and a remark if it had to be taken from sizes alone."""
    firsts = first_sizes(graph, traced)
    sizes = {size for _, size, _ in firsts}
    if len(sizes) != 1:
        return 1, ""
    (size,) = sizes
    if size <= 1:
        return 1, ""
    if all(BATCH_NAME.search(word) for _, _, word in firsts):
        return size, ""
    return size, f"the first dimension of the inputs, {size}, is taken for the batch"
