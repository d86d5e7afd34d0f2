import math

import pytest
import torch

from polytask.losses import binary_cross_entropy, cumulative_link, thresholds


def slow(output: list[float], level: int) -> float:
    """The likelihood as it is defined, one row, in plain Python."""
    t, value = [], -output[0]
    for gap in [*output[1:], 0.0]:
        t.append(value)
        value += math.log1p(math.exp(gap))
    sigmoid = [0.0, *(1 / (1 + math.exp(-x)) for x in t), 1.0]
    return -math.log(sigmoid[level + 1] - sigmoid[level])


@pytest.mark.parametrize("levels", [2, 3, 6])
def test_equals_the_direct_formula(levels):
    output = torch.randn(40, levels - 1, dtype=torch.float64, generator=torch.Generator().manual_seed(levels))
    label = torch.arange(40) % levels
    expected = [slow(row, int(level)) for row, level in zip(output.tolist(), label, strict=True)]
    torch.testing.assert_close(cumulative_link(output, label.double()), torch.tensor(expected, dtype=torch.float64))


def test_is_finite_where_the_direct_formula_takes_the_logarithm_of_zero():
    output = torch.tensor([[-200.0, -50.0], [200.0, -50.0], [300.0, 0.0]], requires_grad=True)
    loss = cumulative_link(output, torch.tensor([2.0, 1.0, 0.0]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert output.grad is not None
    assert output.grad.isfinite().all()
    assert loss.detach().tolist() == pytest.approx([200.0, 250.0, 300.0], abs=1.0)


def test_thresholds_rise_and_the_score_lowers_them():
    output = torch.randn(50, 5, generator=torch.Generator().manual_seed(1)) * 5
    t = thresholds(output)
    assert (t.diff(dim=1) >= 0).all()
    higher = output.clone()
    higher[:, 0] += 1
    torch.testing.assert_close(thresholds(higher), t - 1)


def test_two_levels_are_the_binary_loss():
    output, label = torch.tensor([[0.4], [-2.0]]), torch.tensor([1.0, 1.0])
    torch.testing.assert_close(cumulative_link(output, label), binary_cross_entropy(output, label))


def test_gradient():
    output = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: cumulative_link(x, torch.tensor([3.0, 0.0, 1.0, 2.0])), output)
