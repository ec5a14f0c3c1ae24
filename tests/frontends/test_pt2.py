"""Programs saved by torch.export: read, and refused where reading could do more than read."""

from __future__ import annotations

import contextlib
import io
import json
import pickle  # noqa: TID251 - to see it refused
import random
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from picojoule.errors import InputError
from picojoule.frontends import load

torch = pytest.importorskip("torch")

from picojoule.frontends.torch_single import set_for_one  # noqa: E402

nn = torch.nn
Module: Any = nn.Module

pytestmark = pytest.mark.filterwarnings("ignore")


def network() -> Any:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
    with torch.no_grad():
        made[3].weight[:, ::2] = 0
    return made.eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("pt2") / "small.pt2"
    free = ({0: torch.export.Dim("batch", max=64)},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network(), (torch.randn(2, 3, 8, 8),), dynamic_shapes=free)
        torch.export.save(program, path)
    return path


@pytest.fixture
def changed(saved: Path, tmp_path: Path) -> Callable[..., Path]:
    """The archive with other contents of some of its members."""

    def change(**members: Any) -> Path:
        path = tmp_path / "changed.pt2"
        with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                key = name.partition("/")[2].replace("/", "_").partition(".")[0]
                edit = members.pop(key, None)
                content = old.read(name)
                new.writestr(name, content if edit is None else edit(content))
            for name, content in members.items():
                new.writestr(f"{old.namelist()[0].partition('/')[0]}/{name}", content)
        return path

    return change


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(path)
    assert len(str(caught.value)) < 3000
    return str(caught.value)


def test_a_saved_program_is_the_module(saved: Path) -> None:
    ours = load(saved)
    module = load((network(), (torch.randn(2, 3, 8, 8),)))
    assert ours.layers == module.layers
    assert ours.batch == 2
    assert ours.name == "small"
    assert ours["3"].density.weight == 0.5
    assert any("taken for the batch" in remark for remark in ours.remarks)


def test_an_open_size_can_be_given(saved: Path) -> None:
    assert load(saved, dims={"input[0]": 7}).batch == 7
    assert (
        load(saved, dims={"input[0]": 1}).layers
        == load((network(), (torch.ones(1, 3, 8, 8),))).layers
    )
    with pytest.raises(InputError, match=r"input\[0\]"):
        load(saved, dims={"input[2]": 7})


class Tokens(Module):
    """A picture's patches and one more token, through attention; or rows of tokens alone."""

    def __init__(self, *, image: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4) if image else None
        self.first = nn.Parameter(torch.zeros(1, 1, 16))
        self.block = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        if self.patches is not None:
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1)
        with torch.no_grad():
            start = torch.zeros(*x.shape)
        return self.head(self.block(x + start)[:, 0])


class Mean(Module):
    """Nothing is left of the first dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(16, 16)

    def forward(self, x: Any) -> Any:
        return self.inner(x).mean(0)


STATIC: dict[str, tuple[Any, tuple[int, ...], int]] = {
    "convolutions": (network(), (8, 3, 8, 8), 8),
    "attention": (Tokens(image=False), (8, 5, 16), 8),
    "as many tokens as inferences": (Tokens(image=False), (8, 8, 16), 8),
    "a picture": (Tokens(image=True), (8, 3, 16, 16), 8),
    "a recurrence within": (nn.LSTM(6, 7, batch_first=True), (8, 5, 6), 8),
    "a recurrence along it": (nn.LSTM(6, 7), (8, 1, 6), 1),
    "attention along it": (nn.TransformerEncoderLayer(16, 4, 32), (8, 1, 16), 1),
    "a mean over it": (Mean(), (8, 16), 1),
}


@pytest.mark.parametrize("name", STATIC)
def test_a_batch_that_the_program_is_written_for(name: str, tmp_path: Path) -> None:
    module, shape, batch = STATIC[name]
    module, inputs = module.eval(), (torch.randn(shape),)
    path = tmp_path / "static.pt2"
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        torch.export.save(torch.export.export(module, inputs), path)
        ours, theirs = load(path), load((module, inputs))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    assert ours.layers == theirs.layers
    assert ours.batch == theirs.batch == batch
    (said,) = [remark for remark in ours.remarks if "first dimension of the inputs, 8" in remark]
    assert ("taken for the batch" in said) is (batch == 8)


def test_shapes_for_one_are_asked_of_arithmetic_only() -> None:
    """A program may come from anybody: another function of Python is not called for its shapes."""
    program = torch.export.export(network(), (torch.randn(8, 3, 8, 8),))
    first = next(node for node in program.graph.nodes if node.op == "call_function")
    called: list[object] = []
    with program.graph.inserting_before(first):
        program.graph.call_function(called.append, (1,))
    assert not set_for_one(program, 8)
    assert not called


def test_recurrence_and_attention_of_a_saved_program(tmp_path: Path) -> None:
    class Both(Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(8, 8)
            self.attention = nn.MultiheadAttention(8, 2)

        def forward(self, x: Any) -> Any:
            y = self.rnn(x)[0]
            return self.attention(y, y, y)[0]

    path = tmp_path / "both.pt2"
    torch.export.save(torch.export.export(Both().eval(), (torch.randn(6, 1, 8),)), path)
    ours = load(path)
    assert ours.macs == 6 * 3 * 8 * 16 + 6 * 4 * 64 + 2 * 36 * 8
    assert ours.batch == 1


def test_an_example_that_is_not_plain_is_refused(
    changed: Callable[..., Path], tmp_path: Path
) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    buffer = io.BytesIO()
    torch.save(((Trap(),), {}), buffer)
    assert "pickled" in refusal(changed(data_sample_inputs_model=lambda _: buffer.getvalue()))
    assert not (tmp_path / "sprung").exists()


def test_pickled_tensors_are_refused(changed: Callable[..., Path]) -> None:
    def pickled(content: bytes) -> bytes:
        config = json.loads(content)
        config["config"]["0.weight"]["use_pickle"] = True
        return json.dumps(config).encode()

    assert "pickled" in refusal(changed(data_weights_model_weights_config=pickled))


def test_objects_are_refused(changed: Callable[..., Path]) -> None:
    entry = {
        "path_name": "opaque_obj_0",
        "is_param": False,
        "use_pickle": True,
        "tensor_meta": None,
    }
    config = json.dumps({"config": {"x": entry}}).encode()
    path = changed(
        data_constants_model_constants_config=lambda _: config,
        **{"data/constants/opaque_obj_0": pickle.dumps(1)},
    )
    assert "pickled" in refusal(path)


def test_legacy_weights_are_refused(changed: Callable[..., Path]) -> None:
    assert "pickled" in refusal(changed(**{"data/weights/model.pt": b"x"}))


def test_compiled_code_is_refused(changed: Callable[..., Path]) -> None:
    assert "compiled" in refusal(changed(**{"data/aotinductor/model/a.so": b"x"}))


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').getpid()",
        "Symbol('s1').__class__",
        "9**9**9",
        "Pow(Pow(Pow(Pow(9, 8), 8), 8), 8)",
        "Pow(9, 99999999)",
        "(lambda: 1)()",
        "open('x')",
        "[1 for _ in range(9)]",
    ],
)
def test_a_size_that_is_code_is_refused(changed: Callable[..., Path], expression: str) -> None:
    def edited(content: bytes) -> bytes:
        graph = json.loads(content)
        values = graph["graph_module"]["graph"]["tensor_values"]
        values["input"]["sizes"][0]["as_expr"]["expr_str"] = expression
        return json.dumps(graph).encode()

    assert "not arithmetic" in refusal(changed(models_model=edited))


def test_a_shape_larger_than_the_file_is_refused(changed: Callable[..., Path]) -> None:
    def larger(content: bytes) -> bytes:
        config = json.loads(content)
        config["config"]["3.weight"]["tensor_meta"]["sizes"][0]["as_int"] = 1 << 40
        return json.dumps(config).encode()

    assert "not in the file" in refusal(changed(data_weights_model_weights_config=larger))
    path = changed(data_weights_model_weights_config=larger, data_weights_weight_2=lambda _: b"")
    assert "not in the file" in refusal(path)


def test_a_program_that_calls_other_functions_does_not_run_them(
    changed: Callable[..., Path], tmp_path: Path
) -> None:
    # A node on weights only: its value would be asked for to count its zeros.
    def calling(content: bytes) -> bytes:
        graph = json.loads(content)
        nodes = graph["graph_module"]["graph"]["nodes"]
        nodes.insert(
            0,
            {
                "target": "torch.save",
                "inputs": [
                    {"name": "", "arg": {"as_tensor": {"name": "p_3_weight"}}, "kind": 1},
                    {"name": "", "arg": {"as_string": str(tmp_path / "written")}, "kind": 1},
                ],
                "outputs": [{"as_tensor": {"name": "p_4_weight"}}],
                "metadata": {},
                "is_hop_single_tensor_return": None,
                "name": "p_4_weight",
            },
        )
        values = graph["graph_module"]["graph"]["tensor_values"]
        values["p_4_weight"] = values["p_3_weight"]
        for node in nodes[1:]:
            for given in node["inputs"]:
                if given["arg"] == {"as_tensor": {"name": "p_3_weight"}}:
                    given["arg"] = {"as_tensor": {"name": "p_4_weight"}}
        return json.dumps(graph).encode()

    with contextlib.suppress(InputError):
        load(changed(models_model=calling))
    assert not (tmp_path / "written").exists()


def test_rubbish_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt2"
    for content in (b"", b"PK", b"not an archive at all", b"PK\x05\x06" + bytes(18)):
        path.write_bytes(content)
        refusal(path)
    assert "no such file" in refusal(tmp_path / "missing.pt2")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/models/model.json", b"[" * 5_000_000)
    refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/models/model.json", b"[" * 100_000)
    refusal(path)


def damages(whole: bytes) -> Iterator[bytes]:
    chance = random.Random(1)
    for _ in range(60):
        damaged = bytearray(whole)
        kind = chance.randrange(3)
        if kind == 0:
            for _ in range(chance.randint(1, 8)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        elif kind == 1:
            del damaged[chance.randrange(len(damaged)) :]
        else:
            start = chance.randrange(len(damaged))
            del damaged[start : start + chance.randint(1, 400)]
        yield bytes(damaged)


def test_operators_that_do_not_suit_their_operands(changed: Callable[..., Path]) -> None:
    def edited(content: bytes) -> bytes:
        graph = json.loads(content)
        for node in graph["graph_module"]["graph"]["nodes"]:
            if "conv2d" in node["target"]:
                (weight,) = (given["arg"] for given in node["inputs"] if given["name"] == "weight")
                weight["as_tensor"]["name"] = "p_3_weight"
        return json.dumps(graph).encode()

    assert "do not suit" in refusal(changed(models_model=edited))


def test_damaged_archives(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt2"
    for content in damages(saved.read_bytes()):
        path.write_bytes(content)
        try:
            assert load(path).macs > 0
        except InputError as error:
            assert 0 < len(str(error)) < 20_000


def test_damaged_graphs(saved: Path, changed: Callable[..., Path]) -> None:
    with zipfile.ZipFile(saved) as archive:
        graph = next(archive.read(name) for name in archive.namelist() if "models/" in name)
    chance = random.Random(2)
    for _ in range(60):
        text = graph.decode()
        digits = [i for i, c in enumerate(text) if c.isdigit()]
        names = [i for i, c in enumerate(text) if c.isalpha()]
        for place in (chance.choice(digits), *chance.sample(names, chance.randint(0, 2))):
            text = text[:place] + chance.choice("0123456789ax") + text[place + 1 :]
        made = text.encode()
        try:
            assert load(changed(models_model=lambda _, made=made: made)).macs >= 0
        except InputError as error:
            assert 0 < len(str(error)) < 20_000
