import math

import pytest
import torch
from torch import nn

from polytask.batch import Labels
from polytask.losses import LOSSES, hide_unobserved, mean_over_observed

NAN, INF = math.nan, math.inf


def labels(value, weight=None):
    return Labels.of(torch.tensor(value), None if weight is None else torch.tensor(weight))


def test_mean_of_observed_rows():
    assert mean_over_observed(torch.tensor([1.0, 5.0, 9.0]), labels([0.0, NAN, 1.0])).item() == 5.0
    assert mean_over_observed(torch.tensor([1.0, 5.0, 9.0]), labels([0.0, 1.0, 1.0])).item() == 5.0


def test_weighted_mean_divides_by_the_weight_of_observed_rows():
    found = mean_over_observed(torch.tensor([1.0, 5.0, 9.0]), labels([0.0, NAN, 1.0], [3.0, 100.0, 1.0]))
    assert found.item() == 3.0


def test_whole_weights_are_repeated_rows():
    per_row = torch.tensor([0.3, 1.7, 2.9])
    repeated = mean_over_observed(per_row.repeat_interleave(torch.tensor([1, 4, 2])), labels([0.0] * 7))
    torch.testing.assert_close(mean_over_observed(per_row, labels([0.0] * 3, [1.0, 4.0, 2.0])), repeated)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 1.0], [1.0, NAN, 1.0]])
def test_unobserved_rows_reach_neither_value_nor_gradient(bad, weight):
    per_row = torch.tensor([1.0, bad, 9.0], requires_grad=True)
    loss = mean_over_observed(per_row, labels([0.0, NAN, 1.0], weight))
    loss.backward()
    assert loss.item() == 5.0
    assert per_row.grad is not None
    assert per_row.grad.tolist() == [0.5, 0.0, 0.5]


def test_infinite_derivatives_of_hidden_rows_reach_no_gradient():
    output = torch.tensor([[4.0], [0.0], [INF]], requires_grad=True)
    observed = labels([1.0, NAN, NAN])
    loss = mean_over_observed(hide_unobserved(output, observed).add(1e-30).sqrt().squeeze(1), observed)
    loss.backward()
    assert output.grad is not None
    assert output.grad.squeeze(1).tolist() == [0.25, 0.0, 0.0]


def test_a_row_of_weight_zero_is_as_if_absent():
    per_row = torch.tensor([2.0, INF], requires_grad=True)
    loss = mean_over_observed(per_row, labels([0.0, 1.0], [1.0, 0.0]))
    loss.backward()
    assert loss.item() == 2.0
    assert per_row.grad is not None
    assert per_row.grad.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("case", [labels([NAN, NAN]), labels([0.0, 1.0], [0.0, 0.0]), labels([NAN, NAN], [1.0, 1.0])])
def test_nothing_that_counts_gives_zero_and_no_gradient(case):
    per_row = torch.tensor([2.0, INF], requires_grad=True)
    loss = mean_over_observed(per_row, case)
    loss.backward()
    assert loss.item() == 0.0
    assert per_row.grad is not None
    assert per_row.grad.tolist() == [0.0, 0.0]


def test_no_rows_at_all():
    assert mean_over_observed(torch.zeros(0), Labels.of(torch.zeros(0))).item() == 0.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_lifted_and_double_kept(dtype):
    assert hide_unobserved(torch.zeros(2, 1, dtype=dtype), labels([0.0, 1.0])).dtype == torch.float32
    assert hide_unobserved(torch.zeros(2, 1, dtype=torch.float64), labels([0.0, NAN])).dtype == torch.float64


def test_autocast_changes_no_loss_of_the_same_output():
    layer, case = nn.Linear(3, 1), labels([0.0, NAN, 1.0])
    x = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
        assert output.dtype == torch.bfloat16
        inside = mean_over_observed(LOSSES["binary_cross_entropy"](hide_unobserved(output, case), case.value), case)
    outside = mean_over_observed(LOSSES["binary_cross_entropy"](hide_unobserved(output, case), case.value), case)
    assert inside.dtype == torch.float32
    assert inside.item() == outside.item()


def test_vmap_over_replicas_equals_a_loop():
    case = labels([0.0, NAN, 1.0], [1.0, 1.0, 3.0])
    outputs = torch.randn(4, 3, 1, generator=torch.Generator().manual_seed(0))

    def loss(output):
        return mean_over_observed(LOSSES["half_squared_error"](hide_unobserved(output, case), case.value), case)

    torch.testing.assert_close(torch.func.vmap(loss)(outputs), torch.stack([loss(output) for output in outputs]))
