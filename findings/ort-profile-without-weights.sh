#!/bin/sh
# onnxruntime 1.32.0, CPU: the profile's input_type_shape of a node lacks the inputs that were
# packed beforehand, and says nowhere that they are missing.
#
# Expected: "input_type_shape" has an entry for each input that the node has. A constant weight of
# MatMul, Gemm or Conv whose kernel packs it when the session starts is dropped from the list, so
# whoever multiplies the shapes counts another operator: Gemm's bias stands where its weight was.
# With session.disable_prepacking=1 all are there. Seen on 2026-11-28, Python 3.11:
#
#   packed   MatMul [[2, 8]], Gemm [[2, 8], [4]]
#   unpacked MatMul [[2, 8], [8, 4]], Gemm [[2, 8], [8, 4], [4]]
#
# Ends with 1 when that changes. Takes less than a minute; not part of CI.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import json

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

weights = [
    numpy_helper.from_array(np.ones(shape, np.float32), name)
    for name, shape in {"w": (8, 4), "v": (8, 4), "b": (4,)}.items()
]
value = helper.make_tensor_value_info
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Gemm", ["x", "v", "b"], ["g"])],
    "products",
    [value("x", TensorProto.FLOAT, [2, 8])],
    [value(name, TensorProto.FLOAT, [2, 4]) for name in "mg"],
    weights,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
seen = {}
for name, off in {"packed": "0", "unpacked": "1"}.items():
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", off)
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    session.run(None, {"x": np.ones((2, 8), np.float32)})
    with open(session.end_profiling()) as file:
        events = [x["args"] for x in json.load(file) if x.get("cat") == "Node"]
    seen[name] = {
        x["op_name"]: [shape for entry in x["input_type_shape"] for shape in entry.values()]
        for x in events
        if "input_type_shape" in x
    }
    print(name, seen[name])
expected = {
    "packed": {"MatMul": [[2, 8]], "Gemm": [[2, 8], [4]]},
    "unpacked": {"MatMul": [[2, 8], [8, 4]], "Gemm": [[2, 8], [8, 4], [4]]},
}
raise SystemExit(seen != expected)
PYTHON
