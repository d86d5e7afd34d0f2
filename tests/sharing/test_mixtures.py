"""Mixtures of own and common experts: weighted sums, with gradients of their own that are those of the sums."""

import pytest
import torch

from polytask.sharing._mixtures import _plain_of_all, mixture, mixture_of_all


@pytest.fixture(params=[2, 1, None], ids=["two common", "one common", "none common"])
def tensors(request):
    torch.manual_seed(0)
    num_common = request.param
    gates = torch.rand(4, 5, 3 + (num_common or 0), dtype=torch.float64)
    own = torch.randn(4, 5, 3, 2, dtype=torch.float64).transpose(1, 2)  # as they lie after one product
    common = [] if num_common is None else [torch.randn(num_common, 5, 2, dtype=torch.float64)]
    return [tensor.requires_grad_() for tensor in (gates, own, *common)]


def by_hand(gates, own, common=()):
    tasks = zip(gates, own, strict=True)
    return torch.stack([sum(g[:, i, None] * expert for i, expert in enumerate((*experts, *common))) for g, experts in tasks])


def test_is_the_weighted_sum_with_its_gradients(tensors):
    found, expected = mixture(*tensors), by_hand(*tensors)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    gradient = torch.randn_like(expected)
    for mine, other in zip(*(torch.autograd.grad(z, tensors, gradient) for z in (found, expected)), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


def test_gradients_agree_with_differences_twice(tensors):
    assert torch.autograd.gradcheck(mixture, tensors)
    assert torch.autograd.gradgradcheck(mixture, tensors)


def test_many_gradients_at_once_are_one_after_the_other(tensors):
    z = mixture(*tensors)
    gradients = torch.randn(3, *z.shape, dtype=z.dtype)
    at_once = torch.autograd.grad(z, tensors, gradients, retain_graph=True, is_grads_batched=True)
    for place, gradient in enumerate(gradients):
        for many, one in zip(at_once, torch.autograd.grad(z, tensors, gradient, retain_graph=True), strict=True):
            torch.testing.assert_close(many[place], one, rtol=0, atol=1e-12)


def test_replicas_under_vmap_are_each_alone(tensors):
    pairs = [torch.stack([tensor.detach(), tensor.detach().flip(1)]) for tensor in tensors]
    together = torch.func.vmap(torch.func.grad(lambda *parts: mixture(*parts).sin().sum()))(*pairs)
    for place in range(2):
        inputs = [pair[place].clone().requires_grad_() for pair in pairs]
        expected = torch.autograd.grad(mixture(*inputs).sin().sum(), inputs[0])[0]
        torch.testing.assert_close(together[place], expected, rtol=0, atol=1e-12)


def of_all():
    torch.manual_seed(0)
    gates, own, common = torch.rand(3, 5, 3 * 2 + 2), torch.randn(3, 2, 5, 4), torch.randn(2, 5, 4)
    return [tensor.double().requires_grad_() for tensor in (gates, own, common)]


def test_a_mixture_of_all_sends_gradients_to_own_and_common_experts_alone():
    gates, own, common = of_all()
    experts = [*own.flatten(0, 1), *common]
    z = mixture_of_all(gates, own, common)
    torch.testing.assert_close(z, sum(gates[..., i : i + 1] * expert for i, expert in enumerate(experts)), rtol=0, atol=1e-12)
    only_second = torch.zeros_like(z)
    only_second[1] = torch.randn(5, 4, dtype=torch.float64)
    to_gates, to_own, to_common = torch.autograd.grad(z, (gates, own, common), only_second)
    assert not to_own[[0, 2]].any()
    for place in range(2):
        torch.testing.assert_close(to_own[1, place], gates[1, :, 2 + place, None] * only_second[1])
        torch.testing.assert_close(to_common[place], gates[1, :, 6 + place, None] * only_second[1])
    expected = torch.stack([(expert * only_second[1]).sum(-1) for expert in experts], dim=1)
    torch.testing.assert_close(to_gates[1], expected, rtol=0, atol=1e-12)


def test_second_gradients_of_a_mixture_of_all_are_those_of_plain_products():
    inputs = of_all()
    found = []
    for way in (mixture_of_all, _plain_of_all):
        first = torch.autograd.grad(way(*inputs).sin().sum(), inputs, create_graph=True)
        found.append((*first, *torch.autograd.grad(sum(part.square().sum() for part in first), inputs)))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-11)
