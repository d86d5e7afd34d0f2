"""A dense layer with gradients of its own: those of plain products, twice differentiable, under every transformation."""

import pytest
import torch

from polytask.sharing._dense import dense

SIZES = {"an input for each": (3, 1), "one input": (1, 3), "inputs of several": (2, 3)}


def plain(x, weight, bias, rectified):
    y = torch.einsum("gnd,gtod->gtno", x, weight)
    y = y if bias is None else y + bias.unsqueeze(2)
    return y.clamp_min(0) if rectified else y


@pytest.fixture(params=SIZES)
def tensors(request):
    torch.manual_seed(0)
    layers = SIZES[request.param]
    x, weight, bias = torch.randn(layers[0], 6, 4), torch.randn(*layers, 2, 4), torch.randn(*layers, 2)
    return tuple(tensor.double().requires_grad_() for tensor in (x, weight, bias))


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
def test_equals_plain_products_forwards_and_backwards(tensors, rectified, with_bias):
    inputs = tensors if with_bias else (*tensors[:2], None)
    learn = [tensor for tensor in inputs if tensor is not None]
    found, expected = dense(*inputs, rectified=rectified), plain(*inputs, rectified)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    gradient = torch.randn_like(expected)
    for mine, other in zip(*(torch.autograd.grad(y, learn, gradient) for y in (found, expected)), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rectified", [True, False])
def test_gradients_agree_with_differences_twice(tensors, rectified):
    def run(*inputs):
        return dense(*inputs, rectified=rectified).square()

    assert torch.autograd.gradcheck(run, tensors)
    assert torch.autograd.gradgradcheck(run, tensors)


def test_many_gradients_at_once_are_one_after_the_other(tensors):
    y = dense(*tensors, rectified=True)
    gradients = torch.randn(5, *y.shape, dtype=y.dtype)
    at_once = torch.autograd.grad(y, tensors, gradients, retain_graph=True, is_grads_batched=True)
    for place, gradient in enumerate(gradients):
        for many, one in zip(at_once, torch.autograd.grad(y, tensors, gradient, retain_graph=True), strict=True):
            torch.testing.assert_close(many[place], one, rtol=0, atol=1e-12)


def test_only_what_is_asked_for_is_computed(tensors):
    x, weight, bias = (tensor.detach() for tensor in tensors)
    dense(x, weight.requires_grad_(), bias, rectified=True).sum().backward()
    assert weight.grad is not None
    assert x.grad is None
    assert bias.grad is None
