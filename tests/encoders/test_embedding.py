"""The fused table is `nn.Embedding` of every field, with a gradient of the touched rows only."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from polytask.batch import Ragged
from polytask.encoders import EmbeddingTable, touched_rows
from polytask.errors import ConfigError, DataError

SIZES = (5, 2, 9)


def ids_of(n, seed=0, dtype=torch.int32):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(0, size, (n,), generator=generator) for size in SIZES], dim=1).to(dtype)


def ragged(lists, weights=None):
    flat = torch.tensor([i for values in lists for i in values], dtype=torch.int32)
    offsets = torch.tensor([0, *(len(values) for values in lists)]).cumsum(0)
    return Ragged(flat, offsets, None if weights is None else torch.tensor(weights))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_values_are_those_of_one_embedding_a_field(dtype):
    table, ids = EmbeddingTable(SIZES, 4), ids_of(7, dtype=dtype)
    tables = table.weight.split(SIZES)
    expected = torch.cat([functional.embedding(ids[:, j].long(), tables[j]) for j in range(3)], dim=1)
    assert torch.equal(table(ids), expected)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 60), seed=st.integers(0, 10**6))
def test_gradient_is_the_dense_one_on_touched_rows_and_nothing_else(n, seed):
    table, ids = EmbeddingTable(SIZES, 3).double(), ids_of(n, seed)
    weight = torch.randn(n, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    (table(ids) * weight).sum().backward()
    dense = table.weight.detach().clone().requires_grad_()
    rows = ids.long() + torch.tensor([0, 5, 7])
    (functional.embedding(rows, dense).flatten(1) * weight).sum().backward()
    gradient = table.weight.grad
    assert gradient.is_sparse
    assert gradient._indices().flatten().tolist() == sorted(set(rows.flatten().tolist()))
    torch.testing.assert_close(gradient.to_dense(), dense.grad, rtol=0, atol=1e-13)


def test_gradient_is_the_same_to_the_bit_with_one_thread_and_two():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 700, (4096, 12), generator=generator, dtype=torch.int32)
    weight = torch.randn(4096, 12 * 8, generator=generator)
    gradients = []
    threads = torch.get_num_threads()
    for count in (1, 2, 2):
        torch.set_num_threads(count)
        torch.manual_seed(1)
        table = EmbeddingTable([700] * 12, 8)
        (table(ids) * weight).sum().backward()
        gradients.append(table.weight.grad.to_dense())
    torch.set_num_threads(threads)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[1], gradients[2])


POOLED = [[3, 3, 0], [], [6], [1, 2]]
WEIGHTS = [0.5, 2.0, 1.0, 3.0, 1.0, 4.0]


def pooled_by_hand(weight, pooling, weighted):
    rows, position = [], 0
    for values in POOLED:
        w = torch.tensor(WEIGHTS[position : position + len(values)] if weighted else [1.0] * len(values), dtype=weight.dtype)
        position += len(values)
        if not values:
            rows.append(torch.zeros_like(weight[0]))
            continue
        terms = weight[torch.tensor(values)] * w[:, None]
        rows.append({"sum": terms.sum(0), "mean": terms.sum(0) / w.sum(), "max": terms.amax(0)}[pooling])
    return torch.stack(rows)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("pooling", ["sum", "mean", "max"])
def test_pooled_values_and_their_gradient(pooling, weighted):
    table = EmbeddingTable([5, 7, 4], 3, poolings=[pooling, "sum"])
    bags = [ragged(POOLED, WEIGHTS if weighted else None), ragged([[1], [1], [], [3]])]
    ids = torch.tensor([[4], [0], [0], [2]])
    dense = table.weight.detach().clone().requires_grad_()
    expected = torch.cat([dense[ids.flatten()], pooled_by_hand(dense[5:12], pooling, weighted)], dim=1)
    out = table(ids, bags)
    torch.testing.assert_close(out[:, :6], expected)
    torch.testing.assert_close(out[:, 6:].sum(0), (2 * table.weight[13] + table.weight[15]).detach())
    scale = torch.arange(24.0).view(4, 6)
    (out[:, :6] * scale).sum().backward()
    (expected * scale).sum().backward()
    if pooling == "max":  # two equal values share the gradient one way or another; their sum is what counts
        assert table.weight.grad.to_dense()[8].sum() == pytest.approx(dense.grad[8].sum().item())
    torch.testing.assert_close(table.weight.grad.to_dense(), dense.grad)
    assert (table.weight.grad._indices()[0].diff() > 0).all()


def test_an_empty_batch_and_empty_bags():
    table = EmbeddingTable([5, 7], 3, poolings=["mean"])
    assert table(torch.zeros(0, 1, dtype=torch.int32), [ragged([])]).shape == (0, 6)
    out = table(torch.zeros(2, 1, dtype=torch.int32), [ragged([[], []])])
    assert torch.equal(out[:, 3:], torch.zeros(2, 3))
    out.sum().backward()
    assert touched_rows(table.weight.grad)[0].tolist() == [0]


def test_bad_ids_name_field_row_and_id():
    table = EmbeddingTable([5, 2, 6], 3, poolings=["mean"], names=["city", "device", "genres"])
    good, bag = torch.tensor([[4, 1], [0, 0]]), ragged([[0], [5]])
    table(good, [bag])
    with pytest.raises(DataError, match=r"'device' are from 0 to 1. Received: 2 in row 1"):
        table(torch.tensor([[4, 1], [0, 2]]), [bag])
    with pytest.raises(DataError, match=r"'city' .* Received: -1 in row 0"):
        table(torch.tensor([[-1, 1], [0, 0]]), [bag])
    with pytest.raises(DataError, match=r"'genres' .* Received: 6"):
        table(good, [ragged([[0], [6]])])
    with pytest.raises(DataError, match="2 single-valued and 1 multi-valued"):
        table(torch.tensor([[0], [0]]), [bag])


@pytest.mark.parametrize("arguments", [([], 3), ([3, 0], 3), ([3], 0)])
def test_sizes_are_positive(arguments):
    with pytest.raises(ConfigError, match="positive"):
        EmbeddingTable(*arguments)


def test_a_pooling_is_one_that_exists():
    with pytest.raises(ConfigError, match="'median'"):
        EmbeddingTable([3], 2, poolings=["median"])


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = EmbeddingTable(SIZES, 4)
        self.head = torch.nn.Linear(12, 1)

    def forward(self, ids):
        return self.head(self.table(ids))


def test_export_with_any_number_of_rows():
    model = Small().eval()
    program = torch.export.export(model, (ids_of(6),), dynamic_shapes=({0: torch.export.Dim("n")},))
    assert torch.equal(program.module()(ids_of(11, seed=3)), model(ids_of(11, seed=3)))


def test_copies_of_a_model_at_once():
    models = [Small().eval(), Small().eval()]
    state, ids = torch.func.stack_module_state(models), ids_of(6)
    out = torch.func.vmap(lambda *s: torch.func.functional_call(models[0], s, (ids,)))(*state)
    torch.testing.assert_close(out, torch.stack([model(ids) for model in models]))


def test_gradient_by_transformation_is_that_of_backward():
    model = Small()
    gradient = torch.func.grad(lambda p: torch.func.functional_call(model, p, (ids_of(6),)).square().sum())(
        dict(model.named_parameters())
    )
    model(ids_of(6)).square().sum().backward()
    torch.testing.assert_close(gradient["table.weight"], model.table.weight.grad.to_dense())


def test_gradients_that_were_added_or_are_dense_are_read_the_same():
    table = EmbeddingTable(SIZES, 3)
    weight = torch.randn(8, 9)
    for part in (slice(0, 5), slice(5, 8)):
        (table(ids_of(8)[part]) * weight[part]).sum().backward()
    rows, values = touched_rows(table.weight.grad)
    dense_rows, dense_values = touched_rows(table.weight.grad.to_dense())
    assert torch.equal(rows, dense_rows)
    torch.testing.assert_close(values, dense_values)
    assert (rows.diff() > 0).all()


COMPILED = """
import torch
from polytask.encoders import EmbeddingTable
table, head = EmbeddingTable([5, 9], 4), torch.nn.Linear(8, 1)
model = lambda ids: head(table(ids)).square().sum()
ids = torch.tensor([[1, 2], [4, 8], [1, 0]], dtype=torch.int32)
expected = torch.autograd.grad(model(ids), table.weight)[0].to_dense()
torch.compile(model, backend="aot_eager")(ids).backward()
assert table.weight.grad.is_sparse
torch.testing.assert_close(table.weight.grad.to_dense(), expected)
"""


def test_compiled_training_keeps_the_sparse_gradient():
    # In a process of its own, because the checks of shapes that tests switch on cannot be compiled.
    subprocess.run([sys.executable, "-c", COMPILED], check=True, timeout=300)
