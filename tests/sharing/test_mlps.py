"""Stacked MLPs: a slow reference, the same numbers whichever way they are computed, and where they start."""

import math

import pytest
import torch

from polytask.errors import ConfigError
from polytask.sharing import MLPs, _mlps, side_by_side, together


@pytest.fixture(params=[True, False], ids=["one at a time", "batched"])
def way(request, monkeypatch):
    monkeypatch.setattr(_mlps, "one_at_a_time", lambda *_: request.param)
    return request.param


@pytest.mark.parametrize("widths", [(5,), (5, 3), (5, 3, 2)])
@pytest.mark.parametrize("own_inputs", [False, True])
def test_equals_a_slow_reference_both_ways(way, slow, scrambled, widths, own_inputs):
    mlps = scrambled(MLPs(3, 4, widths, linear_last=True, last_bias=len(widths) == 2))
    x = torch.randn(*([3] if own_inputs else []), 6, 4, dtype=torch.float64)
    found = mlps(x)
    for e in range(3):
        rows = x[e] if own_inputs else x
        expected = torch.tensor([slow.mlp(mlps, e, row) for row in rows.tolist()], dtype=torch.float64)
        torch.testing.assert_close(found[e], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("own_inputs", [False, True])
@pytest.mark.parametrize("num", [1, 2])
def test_side_by_side_is_each_group_alone(way, scrambled, own_inputs, num):
    groups = [scrambled(MLPs(num, 4, (5, 3)), seed) for seed in (1, 2, 3)]
    x = torch.randn(*([3] if own_inputs else []), 6, 4, dtype=torch.float64, requires_grad=True)
    found = side_by_side(groups, x)
    gradient = torch.autograd.grad(sum(part.sin().sum() for part in found), x)[0]
    alone = [group(x[i] if own_inputs else x) for i, group in enumerate(groups)]
    for part, expected in zip(found, alone, strict=True):
        torch.testing.assert_close(part, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, torch.autograd.grad(sum(part.sin().sum() for part in alone), x)[0])


@pytest.mark.parametrize("own_inputs", [False, True])
@pytest.mark.parametrize("num", [1, 2])
def test_together_is_side_by_side_in_one_tensor(way, scrambled, own_inputs, num):
    groups = [scrambled(MLPs(num, 4, (5, 3)), seed) for seed in range(3)]
    x = torch.randn(*([3] if own_inputs else []), 6, 4, dtype=torch.float64)
    torch.testing.assert_close(together(groups, x), torch.cat(side_by_side(groups, x)), rtol=0, atol=1e-12)
    first = x[0] if own_inputs else x
    expected = torch.cat([group(first) for group in groups])
    torch.testing.assert_close(together(groups, first.expand(3, 6, 4)), expected, rtol=0, atol=1e-12)


def test_gradients_agree_with_differences(way):
    mlps = MLPs(2, 3, (4, 2), activation="silu").double()
    names = [name for name, _ in mlps.named_parameters()]
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)

    def run(x, *parameters):
        return torch.func.functional_call(mlps, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *mlps.parameters()))


def test_the_decision_follows_the_cache_and_the_device():
    assert not _mlps.one_at_a_time(torch.empty(1024, 3), 256)
    assert _mlps.one_at_a_time(torch.empty(4096, 3), 2048)
    assert _mlps.one_at_a_time(torch.empty(2, 4096, 3), 128)
    assert not _mlps.one_at_a_time(torch.empty(4096, 3, device="meta"), 2048)


def test_start_is_glorot_for_each_mlp():
    torch.manual_seed(0)
    mlps = MLPs(8, 300, (200,))
    bound = math.sqrt(6 / 500)
    weight = mlps.layers[0].weight
    assert weight.abs().max().item() <= bound
    for one in weight:
        assert one.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not mlps.layers[0].bias.any()


def test_last_bias():
    mlps = MLPs(2, 3, (4, 2), linear_last=True)
    mlps.set_last_bias((0.5, -1.0))
    assert mlps(torch.zeros(1, 3)).tolist() == [[[0.5, -1.0]]] * 2
    with pytest.raises(ConfigError, match="no bias to set"):
        MLPs(1, 3, (2,), last_bias=False).set_last_bias((1.0,))
