"""What PyTorch modules have beside layers: branches, loops, experts, odd inputs, batches."""

from __future__ import annotations

import dataclasses
from collections import UserDict
from collections.abc import Callable
from typing import Any

import pytest

from picojoule.errors import InputError
from picojoule.frontends import load
from picojoule.workload import Extents, Workload

torch = pytest.importorskip("torch")
nn = torch.nn
F = torch.nn.functional
Module: Any = nn.Module
R = torch.randn

pytestmark = pytest.mark.filterwarnings("ignore")


class Small(Module):
    """Two linear layers, one wider, and a matrix, for a function of the module and its inputs."""

    def __init__(self, function: Callable[..., Any], *shape: int) -> None:
        super().__init__()
        self.function = function
        self.l = nn.Linear(8, 8)
        self.wide = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8))
        self.w = nn.Parameter(R(shape or (8, 8)))

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


def read(function: Callable[..., Any], *inputs: Any, shape: tuple[int, ...] = ()) -> Workload:
    return load((Small(function, *shape), inputs))


def work(network: Workload) -> int:
    return sum(layer.macs for layer in network)


# -- control flow ------------------------------------------------------------------------------


def test_of_two_branches_the_dearer_is_priced() -> None:
    network = read(
        lambda m, x: torch.cond(x.sum() > 0, lambda x: m.l(x), lambda x: m.wide(x), (x,)), R(1, 8)
    )
    assert work(network) == 256
    assert [layer.name for layer in network] == ["wide.0", "wide.1"]
    assert any("(64, 256 MACs)" in remark for remark in network.remarks)


def test_branches_alike_need_no_remark() -> None:
    network = read(
        lambda m, x: torch.cond(x.sum() > 0, lambda x: m.l(x), lambda x: x @ m.w, (x,)), R(1, 8)
    )
    assert work(network) == 64
    assert network.remarks == ()


def test_a_scan_runs_for_every_step() -> None:
    from torch._higher_order_ops.scan import scan

    def steps(m: Any, x: Any) -> Any:
        def step(state: Any, row: Any) -> Any:
            state = torch.tanh(m.l(state) + row)
            return state, state.clone()

        return scan(step, torch.zeros(1, 8), x)

    network = read(steps, R(20, 1, 8))
    assert work(network) == 20 * 64
    assert network.batch == 1
    assert any("a recurrence or a loop runs along it" in remark for remark in network.remarks)


def test_a_scan_over_weights_has_other_weights_each_time() -> None:
    from torch._higher_order_ops.scan import scan

    network = read(
        lambda m, x: scan(lambda c, w: (torch.tanh(c @ w), c.sum()), x, m.w),
        R(1, 8),
        shape=(5, 8, 8),
    )
    assert network.layers[0].bounds == Extents(G=5, M=8, C=8)
    assert network.weights == 5 * 64


def test_a_branch_in_a_scan() -> None:
    from torch._higher_order_ops.scan import scan

    def steps(m: Any, x: Any) -> Any:
        def step(state: Any, row: Any) -> Any:
            state = torch.cond(row.sum() > 0, lambda c: m.l(c), lambda c: m.wide(c), (state,))
            return state, state.clone()

        return scan(step, torch.zeros(1, 8), x)

    assert work(read(steps, R(6, 1, 8))) == 6 * 256


@pytest.mark.parametrize(("step", "trips"), [(1, 10), (2, 5), (3, 4)])
def test_a_loop_that_counts_runs_as_often_as_it_counts(step: int, trips: int) -> None:
    loop = torch._higher_order_ops.while_loop
    network = read(
        lambda m, x: loop(
            lambda i, _: i < 10, lambda i, x: (i + step, m.l(x)), (torch.tensor(0), x)
        ),
        R(1, 8),
    )
    assert work(network) == trips * 64
    assert network.complete


def test_a_loop_on_data_is_incomplete_until_its_runs_are_given() -> None:
    loop = torch._higher_order_ops.while_loop
    module = Small(
        lambda m, x: loop(
            lambda _, x: x.sum() < 10, lambda i, x: (i + 1, m.l(x)), (torch.tensor(0), x)
        )
    )
    network = load((module, (R(1, 8),)))
    assert dict(network.unmodelled) == {"while_loop": 1}
    assert any("while_loop=N" in remark for remark in network.remarks)
    given = load((module, (R(1, 8),)), dims={"while_loop": 7})
    assert work(given) == 7 * 64
    assert given.complete


def test_a_map_does_all_its_runs() -> None:
    from functorch.experimental.control_flow import map as mapped

    network = read(lambda m, x: mapped(lambda row: m.l(row), x), R(20, 1, 8))
    assert work(network) == 20 * 64
    assert network.batch == 20


def test_regions_that_only_carry_a_setting() -> None:
    def settings(m: Any, x: Any) -> Any:
        with torch.no_grad():
            x = m.l(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = x @ m.w
        return torch.utils.checkpoint.checkpoint(m.wide, x, use_reentrant=False)

    network = read(settings, R(1, 8))
    assert [layer.name for layer in network] == ["l", "w", "wide.0", "wide.1"]


def test_norms_of_values_have_no_products() -> None:
    network = read(lambda m, x: torch.linalg.norm(m.l(x)) + torch.linalg.norm(x, 2, 1), R(1, 8))
    assert network.complete
    assert dict(network.not_counted)["linalg_norm"] == 2


# -- what is not modelled ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda m, x: torch.fft.rfft(m.l(x)).abs(), "fft_rfft"),
        (lambda m, x: torch.linalg.solve(m.w, m.l(x).mT), "linalg_solve"),
        (lambda m, x: torch.linalg.inv(m.l(x).T @ x + torch.eye(8)), "linalg_inv"),
        (lambda m, x: torch.linalg.matrix_norm(m.l(x), 2), "linalg_matrix_norm"),
        (lambda m, x: torch.linalg.norm(m.l(x), "nuc"), "linalg_norm"),
    ],
)
def test_what_multiplies_and_is_no_layer_is_said(function: Any, operator: str) -> None:
    network = read(function, R(1, 8))
    assert dict(network.unmodelled) == {operator: 1}
    assert not network.complete
    assert work(network) >= 64


def test_an_unknown_operator_is_said_unless_it_has_only_weights() -> None:
    with torch.library._scoped_library("picojoule_test", "DEF") as library:
        library.define("odd(Tensor x, Tensor w) -> Tensor")
        library.impl("odd", lambda x, w: x @ w, "CompositeExplicitAutograd")
        torch.library.register_fake("picojoule_test::odd", lambda x, w: x @ w, lib=library)
        odd = torch.ops.picojoule_test.odd
        network = read(lambda m, x: odd(m.l(x), m.w), R(1, 8))
        assert dict(network.unmodelled) == {"picojoule_test.odd": 1}
        assert read(lambda m, x: x @ odd(m.w, m.w), R(1, 8)).complete


@pytest.mark.parametrize("module", [nn.ReLU(), nn.MaxPool1d(2), nn.LayerNorm(8)])
def test_a_network_without_products_is_an_error(module: Any) -> None:
    with pytest.raises(InputError, match="nothing in it multiplies"):
        load((module, (R(1, 8),)))


# -- experts and other sizes that depend on data -----------------------------------------------


class Experts(Module):
    def __init__(self, style: str, count: int = 8, chosen: int = 2) -> None:
        super().__init__()
        self.style, self.count, self.chosen = style, count, chosen
        self.gate = nn.Linear(16, count, bias=False)
        self.experts = nn.ModuleList(nn.Linear(16, 16, bias=False) for _ in range(count))

    def forward(self, x: Any) -> Any:
        weight, chosen = torch.softmax(self.gate(x), -1).topk(self.chosen, -1)
        out = torch.zeros_like(x)
        one_hot = F.one_hot(chosen, num_classes=self.count).permute(2, 1, 0)
        for n, expert in enumerate(self.experts):
            if self.style == "one hot":
                _, row = torch.where(one_hot[n])
                out.index_add_(0, row, expert(x[None, row].reshape(-1, 16)))
            elif self.style == "mask":
                mask = (chosen == n).any(-1)
                out[mask] = out[mask] + expert(x[mask])
            elif self.style == "nonzero":
                row = (chosen == n).nonzero()[:, 0]
                out.index_add_(0, row, expert(x[row]))
            else:
                row, k = torch.where(chosen == n)
                out[row] += weight[row, k, None] * expert(x[row])
        return out


@pytest.mark.parametrize("style", ["where", "one hot", "mask", "nonzero"])
@pytest.mark.parametrize(("count", "chosen", "tokens"), [(8, 2, 16), (8, 2, 10), (4, 1, 3)])
def test_experts_share_what_is_routed(style: str, count: int, chosen: int, tokens: int) -> None:
    network = load((Experts(style, count, chosen), (R(tokens, 16),)))
    assert work(network) == tokens * 16 * count + tokens * chosen * 256
    assert any("equal shares are assumed" in remark for remark in network.remarks)


def test_a_size_that_depends_on_data_is_the_most_or_as_given() -> None:
    module = Small(lambda m, x: m.l(x[torch.nonzero(x[:, 0] > 0.5)[:, 0]]))
    network = load((module, (R(10, 8),)))
    assert work(network) == 640
    assert any("u0" in remark and "10" in remark for remark in network.remarks)
    assert work(load((module, (R(10, 8),)), dims={"u0": 3})) == 3 * 64


def test_grouped_products_share_their_rows() -> None:
    network = read(
        lambda m, x: torch._grouped_mm(
            x.bfloat16(),
            m.w.bfloat16(),
            offs=torch.tensor([3, 4, 9, 10], dtype=torch.int32),
        ),
        R(10, 8),
        shape=(4, 8, 8),
    )
    assert work(network) == 10 * 64
    assert network.weights == 4 * 64


def test_experts_do_not_hide_the_batch() -> None:
    """2 experts for each of 7 tokens of 3 inferences: of 8 experts, 2 have one row, 6 have two."""

    def routed(m: Any, x: Any) -> Any:
        rows = x.reshape(-1, 8).repeat(2, 1).bfloat16()
        ends = torch.arange(1, 9, dtype=torch.int32) * (len(rows) // 8)
        return torch._grouped_mm(rows, m.w.bfloat16(), offs=ends).reshape(x.shape[0], -1, 8)

    network = read(routed, R(3, 7, 8), shape=(8, 8, 8))
    assert (network.batch, network.macs) == (3, 7 * 2 * 64)
    assert [(x.bounds.N, x.bounds.G, x.bounds.P) for x in network] == [(3, 2, 1), (3, 6, 2)]


def test_inferences_that_visit_more_experts_together_are_read_as_one() -> None:
    """7 rows of one inference visit 7 of 8 experts, 21 rows of three visit all."""

    def routed(m: Any, x: Any) -> Any:
        ends = torch.arange(1, 9, dtype=torch.int32) * 2
        return torch._grouped_mm(x.reshape(-1, 8).bfloat16(), m.w.bfloat16(), offs=ends)

    network = read(routed, R(3, 7, 8), shape=(8, 8, 8))
    assert (network.batch, network.macs) == (1, 21 * 64)
    assert network.weights == 8 * 64


# -- inputs and outputs ------------------------------------------------------------------------


class Plain:
    def __init__(self, logits: Any, cache: Any) -> None:
        self.logits, self.cache = logits, cache


class Slotted:
    __slots__ = ("cache", "logits")

    def __init__(self, logits: Any, cache: Any) -> None:
        self.logits, self.cache = logits, cache


@dataclasses.dataclass(frozen=True)
class Frozen:
    logits: Any
    cache: Any


class Cache:
    def __init__(self, *keys: Any) -> None:
        self.keys = list(keys)


@pytest.mark.parametrize("kind", [Plain, Slotted, Frozen, dict, UserDict])
def test_outputs_of_any_class(kind: Any) -> None:
    network = read(lambda m, x: kind(logits=m.l(x), cache=Cache(m.wide(x))), R(1, 8))
    assert work(network) == 64 + 256


def test_a_cache_goes_in_and_comes_out() -> None:
    def step(m: Any, x: Any, past: Any) -> Any:
        past.keys[0] = torch.cat([past.keys[0], m.l(x)])
        return Plain(x @ past.keys[0].T, past)

    given = Cache(R(5, 8))
    network = load((Small(step), (R(1, 8), given)))
    assert work(network) == 64 + 6 * 8
    assert given.keys[0].shape == (5, 8)


class Model(Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(100, 8), nn.Linear(8, 8)

    def forward(self, ids: Any = None, mask: Any = None, **_: Any) -> Any:
        x = self.out(self.embed(ids))
        return x if mask is None else x * mask[..., None]


IDS, MASK = torch.zeros(1, 10, dtype=torch.long), torch.ones(1, 10)


@pytest.mark.parametrize(
    "given",
    [
        ({"ids": IDS, "mask": MASK},),
        (UserDict(ids=IDS, mask=MASK),),
        ((IDS,), {"mask": MASK}),
        ((IDS, MASK),),
        (IDS,),
        ({"ids": IDS, "other": MASK},),
    ],
)
def test_inputs_by_keyword(given: Any) -> None:
    assert work(load((Model(), *given))) == 10 * 64


def test_one_dictionary_may_be_the_only_input() -> None:
    class Takes(Module):
        def __init__(self) -> None:
            super().__init__()
            self.l = nn.Linear(8, 8)

        def forward(self, batch: Any) -> Any:
            return self.l(batch["x"])

    assert work(load((Takes(), {"x": R(1, 8)}))) == 64
    assert work(load((Takes(), ({"x": R(1, 8)},)))) == 64


def test_an_exported_program_is_a_module_again() -> None:
    program = torch.export.export(Model().eval(), (IDS,))
    assert work(load((program.module(), (IDS,)))) == 10 * 64


def test_the_module_is_left_as_it_was() -> None:
    module = Model()
    before = dict(vars(module))
    load((module, {"ids": IDS}))
    assert vars(module).keys() == before.keys()
    assert module(IDS).shape == (1, 10, 8)


# -- the batch ---------------------------------------------------------------------------------


class Tokens(Module):
    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.embed = nn.Embedding(10, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=first)
        self.out = nn.Linear(8, 3)

    def forward(self, ids: Any) -> Any:
        return self.out(self.layer(self.embed(ids)).mean(1 if self.first else 0))


IMAGE = (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)), (R(4, 3, 8, 8),))


@pytest.mark.parametrize(
    ("source", "batch", "said"),
    [
        (IMAGE, 4, "first dimension of the inputs, 4, is taken for the batch"),
        ((nn.Linear(8, 8), (R(6, 8),)), 6, "one inference is 1 x 8"),
        ((nn.TransformerEncoderLayer(8, 2, 16), (R(6, 1, 8),)), 1, "does not grow in step"),
        ((nn.TransformerEncoderLayer(8, 2, 16), (R(6, 3, 8),)), 3, "second dimension"),
        ((nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (R(3, 6, 8),)), 3, "first"),
        ((Tokens(first=False), (torch.zeros(7, 1).long(),)), 1, "all of 7 x 1"),
        ((Tokens(first=False), (torch.zeros(7, 3).long(),)), 3, "one inference is 7 x 1"),
        ((Tokens(first=True), (torch.zeros(3, 7).long(),)), 3, "one inference is 1 x 7"),
        ((nn.GRU(8, 8), (R(12, 1, 8),)), 1, "a recurrence"),
        ((nn.LSTM(8, 8), (R(12, 2, 8),)), 2, "one inference is 12 x 1 x 8"),
        ((nn.LSTM(8, 8, batch_first=True), (R(2, 12, 8),)), 2, "one inference is 1 x 12 x 8"),
        ((Small(lambda m, x: m.l(x).mean(0)), (R(12, 8),)), 1, "no output has it"),
        ((Small(lambda m, x: m.w @ x), (R(8, 5),)), 1, "does not take one alone"),
        ((Small(lambda m, x: x @ m.l(x).T), (R(5, 8),)), 1, "does not grow in step"),
        (
            (Small(lambda m, x, t: m.l(x) * t[:, None]), (R(4, 8), torch.rand(4))),
            4,
            "one inference is 1 x 8, 1",
        ),
        ((Small(lambda m, x, y: (m.l(x), m.l(y))), (R(4, 8), R(6, 8))), 1, "differ"),
    ],
)
def test_what_one_inference_is(source: Any, batch: int, said: str) -> None:
    network = load(source)
    assert network.batch == batch
    assert any(said in remark for remark in network.remarks)


def test_one_inference_costs_the_same_whichever_dimension_comes_first() -> None:
    first, second = (
        load((nn.TransformerEncoderLayer(8, 2, 16, batch_first=first), (R(shape),)))
        for first, shape in ((True, (1, 6, 8)), (False, (6, 1, 8)))
    )
    assert [layer.bounds for layer in first] == [layer.bounds for layer in second]


def test_no_remark_where_there_is_no_doubt() -> None:
    assert load((nn.Linear(8, 8), (R(1, 8),))).remarks == ()


# -- operands that repeat ----------------------------------------------------------------------


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("interleaved", [True, False])
def test_keys_written_out_for_every_query_are_those_of_the_group(
    fused: bool, interleaved: bool
) -> None:
    def attention(_: Any, q: Any, k: Any) -> Any:
        if interleaved:
            k = k.repeat_interleave(4, 1)
        else:
            k = k[:, :, None].expand(1, 2, 4, 6, 8).reshape(1, 8, 6, 8)
        if fused:
            return F.scaled_dot_product_attention(q, k, k)
        return torch.softmax(q @ k.transpose(2, 3), -1) @ k

    network = read(attention, R(1, 8, 6, 8), R(1, 2, 6, 8))
    assert [layer.bounds for layer in network] == [
        Extents(G=2, M=6, C=8, P=24),
        Extents(G=2, M=8, C=6, P=24),
    ]


# -- sparse tensors ----------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "COO": lambda w: w.to_sparse(),
    "CSR": lambda w: w.to_sparse_csr(),
    "CSC": lambda w: w.to_sparse_csc(),
    "BSR": lambda w: w.to_sparse_bsr((4, 4)),
    "BSC": lambda w: w.to_sparse_bsc((4, 4)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "multiply",
    [
        lambda w, x: (w @ x.t()).t(),
        lambda w, x: torch.sparse.mm(w, x.t()),
        lambda w, x: F.linear(x, w),
    ],
)
def test_sparse_weights_have_their_density(layout: str, multiply: Any) -> None:
    weight = torch.zeros(16, 8)
    weight[:, :2] = R(16, 2)
    module = Small(lambda m, x: multiply(m.sparse, x))
    module.register_buffer("sparse", LAYOUTS[layout](weight))
    network = load((module, (R(4, 8),)))
    assert work(network) == 4 * 128
    assert network["sparse"].density.weight == 0.25


def test_a_sparse_input_is_an_activation() -> None:
    network = read(lambda m, x: torch.sparse.mm(x, m.w), R(16, 8).to_sparse_csr())
    assert work(network) == 16 * 64
