"""Gate weights: sums, precision, renormalised dropout; mixtures."""

import pytest
import torch

from polytask.sharing._gates import few_softmax, gate_weights, mix


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_rows_sum_to_one_in_at_least_float32(dtype, drop):
    torch.manual_seed(0)
    gates = gate_weights(20 * torch.randn(2, 300, 5, dtype=dtype), drop)
    assert gates.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(gates.sum(-1), torch.ones_like(gates[..., 0]))


def test_dropped_experts_send_no_gradient_and_no_nan():
    torch.manual_seed(0)
    logits = torch.randn(1, 50, 4, dtype=torch.float64, requires_grad=True)
    gates = gate_weights(logits, 0.6)
    gradient = torch.autograd.grad(gates.square().sum(), logits)[0]
    assert torch.isfinite(gradient).all()
    assert not gradient[gates == 0].any()


def test_mix_is_the_weighted_sum():
    gates, experts = torch.rand(2, 5, 3, dtype=torch.float64), torch.randn(3, 5, 4, dtype=torch.float64)
    expected = torch.stack([sum(gates[k, :, e, None] * experts[e] for e in range(3)) for k in range(2)])
    torch.testing.assert_close(mix(gates, experts), expected)


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3), (1, 5, 1)])
def test_few_softmax_is_a_softmax_over_the_last_axis(shape):
    logits = 30 * torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(few_softmax(logits), logits.softmax(-1), rtol=0, atol=1e-15)
    assert few_softmax(logits).is_contiguous()
