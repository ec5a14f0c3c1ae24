"""Networks that clients bring: one file or several, and which are refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.frontends.test_gguf import header_of, llama, settings_of
from tests.frontends.test_hugging_face import config_of, write_folder
from tests.frontends.test_hugging_face import llama as tensors_of_llama
from tests.frontends.test_tflite import connected
from tests.frontends.tflite_files import INT8, Tensor
from tests.server.conftest import Server
from tests.server_files import CHIP


def bring(server: Server, files: Mapping[str, bytes], **query: Any) -> Any:
    """Upload *files* as the page does: one body, and the size of each."""
    named = {"file": list(files), "size": [len(content) for content in files.values()], **query}
    return server.call("POST", "/api/networks", params=named, content=b"".join(files.values()))


def onnx_files(folder: Path, data: str = "net.onnx.data") -> dict[str, bytes]:
    """A product of 8 by 4 whose weights, half of them zeros, stand in a file of their own."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    values = np.zeros((8, 4), np.float32)
    values[:4] = 1
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "fc")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 5, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5, 4])],
        [numpy_helper.from_array(values, "w")],
    )
    place = folder / "net.onnx"
    onnx.save(
        helper.make_model(graph),
        place,
        save_as_external_data=True,
        location=data,
        size_threshold=0,
    )
    return {"net.onnx": place.read_bytes(), data: (folder / data).read_bytes()}


def densities(server: Server, id_: str) -> dict[str, float]:
    job = server.finished({"network": id_, "chip_yaml": CHIP})
    assert job["state"] == "done", job
    result = server.call("GET", f"/api/results/{job['id']}").json()
    found: dict[str, float] = result["layers"][0]["density"]
    return found


# Also a name that the server uses itself.
@pytest.mark.parametrize("data", ["net.onnx.data", "network.onnx.data", "the weights.bin"])
def test_onnx_with_its_data_file(server: Server, tmp_path: Path, data: str) -> None:
    files = onnx_files(tmp_path, data)
    answer = bring(server, files)
    assert answer.status_code == 201, answer.text
    record = answer.json()
    assert (record["name"], record["macs"], record["remarks"]) == ("net", 5 * 8 * 4, [])
    assert densities(server, record["id"])["weight"] == 0.5
    turned = dict(reversed(files.items()))
    assert bring(server, turned).json()["name"] == "net"


def test_the_structure_alone_is_at_density_1_and_said(server: Server, tmp_path: Path) -> None:
    answer = server.upload("net.onnx", onnx_files(tmp_path)["net.onnx"])
    assert answer.status_code == 201, answer.text
    (remark,) = answer.json()["remarks"]
    assert "net.onnx.data" in remark
    assert "density is taken for 1" in remark
    assert densities(server, answer.json()["id"])["weight"] == 1.0
    # and stays said on the page of a result
    job = server.finished({"network": answer.json()["id"], "chip_yaml": CHIP})
    assert "density is taken for 1" in server.call("GET", f"/r/{job['id']}").text


def test_tflite(server: Server) -> None:
    weights = Tensor(name="w", shape=(3, 4), kind=INT8, data=np.ones((3, 4), np.int8))
    answer = server.upload("tiny.tflite", connected(weights))
    assert answer.status_code == 201, answer.text
    assert answer.json()["bits"]["weight"] == 8


def test_gguf_of_which_only_the_head_is_sent(server: Server) -> None:
    head = header_of(settings_of(), llama())
    whole = bring(server, {"llama.gguf": head}, phase="decode", context=64)
    assert whole.status_code == 201, whole.text
    prompt = bring(server, {"llama.gguf": head}, phase="prefill", context=64)
    assert prompt.json()["macs"] > 10 * whole.json()["macs"]
    assert prompt.json()["id"] != whole.json()["id"]


def test_a_hugging_face_folder(server: Server, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", config_of(), tensors_of_llama())
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    answer = bring(server, files, name="my-llama")
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == "my-llama"
    weights = {name: x for name, x in files.items() if name.endswith(".safetensors")}
    refused = bring(server, weights)
    assert refused.status_code == 422
    assert "bring the config.json beside it" in refused.text


@pytest.mark.parametrize(
    ("files", "sizes", "status", "part"),
    [
        (["a.onnx", "b.tflite"], [1, 1], 422, "one network at a time: a.onnx and b.tflite"),
        (["a.onnx.data"], [2], 422, "bring the .onnx beside it"),
        (["a.exe"], [2], 422, "the name must end in .onnx"),
        (["a.onnx", "w"], [], 422, "2 files need as many sizes"),
        (["a.onnx", "w"], [1], 422, "2 files need as many sizes"),
        (["a.onnx", "a.onnx"], [1, 1], 422, "the same name"),
        (["a.onnx", ".."], [1, 1], 422, "cannot be the name of a file"),
        (["a.onnx", "ü" * 200], [1, 1], 422, "cannot be the name of a file"),
        (["a.onnx", "w"], [1, 0], 422, "longer than the sizes"),
        (["a.onnx", "w"], [1, 2], 400, "shorter than the sizes"),
        (["a.onnx", "w", "v"], [2, 0, 1], 400, "shorter than the sizes"),
        ([], [], 422, ""),
    ],
)
def test_files_that_are_no_network(
    server: Server, files: list[str], sizes: list[int], status: int, part: str
) -> None:
    query = {"file": files, "size": sizes}
    answer = server.call("POST", "/api/networks", params=query, content=b"xy")
    assert answer.status_code == status, answer.text
    assert part in answer.text


def test_a_table_is_counted_before_it_is_read(server: Server) -> None:
    # the last line is wrong, which who reads it all would say
    table = "name,in_channels,out_channels\n" + "a,1,1\n" * 200_000 + "wrong\n"
    answer = server.upload("long.csv", table)
    assert answer.status_code == 422
    assert "200001 layers; at most 2000 are taken here" in answer.text


def test_only_the_structure_is_kept(server: Server, tmp_path: Path) -> None:
    files = onnx_files(tmp_path)
    id_ = bring(server, files).json()["id"]
    (table,) = (
        sqlite3.connect(server.store)
        .execute("SELECT content FROM networks WHERE id = ?", (id_,))
        .fetchone()
    )
    assert len(table) < 2000
