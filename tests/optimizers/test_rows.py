"""Updating touched rows only: what is exact, and what lazy Adam is."""

import pytest
import torch
from torch import nn

from polytask.encoders import EmbeddingTable, touched_rows
from polytask.optimizers import OPTIMIZERS, build_optimizer
from polytask.optimizers._rows import _BYTES_AT_ONCE


def gradients(steps, rows=40, touched=7, dim=4):
    generator = torch.Generator().manual_seed(3)
    for _ in range(steps):
        some = torch.randint(0, rows, (touched,), generator=generator).unique()
        yield some, torch.randn(len(some), dim, generator=generator)


def table_of(rows=40, dim=4, seed=0):
    torch.manual_seed(seed)
    return EmbeddingTable([rows], dim)


def sparse(rows, values, table):
    return torch.sparse_coo_tensor(rows[None], values, table.weight.shape, check_invariants=True).coalesce()


def run(table, name, steps=20, weight_decay=0.0, **options):
    optimizer = build_optimizer(table, nn.Identity(), lr=0.05, weight_decay=weight_decay, name=name)
    for rows, values in gradients(steps, **options):
        table.weight.grad = sparse(rows, values, table)
        optimizer.step()
    return optimizer


@pytest.mark.parametrize(("name", "rival"), [("adagrad", torch.optim.Adagrad), ("sgd", torch.optim.SGD)])
def test_without_memory_of_the_gradient_it_is_the_dense_rule(name, rival):
    table, dense = table_of(), table_of()
    run(table, name)
    optimizer = rival(dense.parameters(), lr=0.05)
    for rows, values in gradients(20):
        dense.weight.grad = sparse(rows, values, dense).to_dense()
        optimizer.step()
    torch.testing.assert_close(table.weight, dense.weight)


def test_adam_is_the_sparse_adam_of_torch():
    table, other = table_of(), table_of()
    run(table, "adamw")
    optimizer = torch.optim.SparseAdam(other.parameters(), lr=0.05)
    for rows, values in gradients(20):
        other.weight.grad = sparse(rows, values, other)
        optimizer.step()
    torch.testing.assert_close(table.weight, other.weight, rtol=1e-4, atol=1e-6)


def test_adam_is_dense_adam_where_all_rows_are_touched():
    table, dense = table_of(), table_of()
    optimizer = build_optimizer(table, nn.Identity(), lr=0.05, weight_decay=0.1)
    rival = torch.optim.AdamW(dense.parameters(), lr=0.05, weight_decay=0.1, fused=True)
    for _ in range(10):
        values = torch.randn(40, 4)
        table.weight.grad, dense.weight.grad = sparse(torch.arange(40), values, table), values.clone()
        optimizer.step()
        rival.step()
    torch.testing.assert_close(table.weight, dense.weight, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_untouched_rows_stay_to_the_bit_and_so_does_their_state(name):
    table = table_of()
    optimizer = run(table, name, weight_decay=0.3)
    weight = table.weight.detach().clone()
    state = {slot: value.clone() for slot, value in optimizer.state_dict()["state"]["model.weight"].items()}
    rows = torch.tensor([3, 17, 39])
    table.weight.grad = sparse(rows, torch.ones(3, 4), table)
    optimizer.step()
    others = torch.ones(40, dtype=torch.bool).index_fill(0, rows, value=False)
    assert torch.equal(table.weight[others], weight[others])
    assert (table.weight[rows] != weight[rows]).all()
    for slot in set(state) - {"step"}:
        assert torch.equal(optimizer.state_dict()["state"]["model.weight"][slot][others], state[slot][others])
    assert optimizer.state_dict()["state"]["model.weight"]["step"] == state["step"] + 1


def test_many_rows_at_once_are_as_few(monkeypatch):
    size = 2 * _BYTES_AT_ONCE // 12 + 77
    results = []
    for at_once in (_BYTES_AT_ONCE, 10**9):
        monkeypatch.setattr("polytask.optimizers._rows._BYTES_AT_ONCE", at_once)
        table = table_of(rows=size + 5, dim=3)
        run(table, "adamw", steps=3, rows=size + 5, touched=3 * size, dim=3)
        results.append(table.weight.detach())
    torch.testing.assert_close(*results, rtol=0, atol=1e-7)


def test_the_value_that_backward_saved_is_known_to_have_changed():
    table = table_of()
    squared = table.weight.square().sum()
    table.weight.grad = sparse(torch.tensor([1]), torch.ones(1, 4), table)
    build_optimizer(table, nn.Identity()).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        squared.backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_number_formats(dtype):
    table = table_of().to(dtype)
    before = table.weight.detach().clone()
    table(torch.tensor([[2], [5], [2]])).sum().backward()
    build_optimizer(table, nn.Identity(), lr=0.1, weight_decay=0.0).step()
    assert touched_rows(table.weight.grad)[0].tolist() == [2, 5]
    torch.testing.assert_close((before - table.weight)[[2, 5]], torch.full((2, 4), 0.1, dtype=dtype), rtol=0.05, atol=0)
