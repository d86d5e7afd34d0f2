"""One dense layer of many MLPs, with the products of its gradients as a CPU computes them best."""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

rectify_gradient = torch.ops.aten.threshold_backward


def dense(
    x: Float[Tensor, "*e n d"], weight: Float[Tensor, "e o d"], bias: Float[Tensor, "e o"] | None, *, rectified: bool
) -> Float[Tensor, "e n o"]:
    """`x Wᵀ + b` of e layers on the input of all or one each, then `max(0, ·)` where `rectified`; rows of one layer lie together.

    Autograd computes the gradient of `bmm(x, Wᵀ)` for W as `xᵀ g`, whose rows are as short as the output is narrow: 32 heads of
    one unit on 4096 rows of 32 take 3.4 ms so, and 0.3 as `gᵀ x` (one thread, MKL). Where all read one input, its gradient is
    summed in place.
    """
    if ordinary(x, weight):
        found: Tensor = _Dense.apply(x, weight, bias, rectified)  # type: ignore[no-untyped-call]
        return found
    inputs = x if x.dim() == 3 else x.expand(len(weight), -1, -1)
    y = torch.bmm(inputs, weight.mT) if bias is None else torch.baddbmm(bias.unsqueeze(1), inputs, weight.mT)
    return y.relu() if rectified else y


def ordinary(*tensors: Tensor) -> bool:
    """Whether plain numbers on a CPU are computed with: no graph is traced, no type cast, no axis of replicas hidden."""
    if torch.compiler.is_compiling() or tensors[0].device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    return not any(_hides_an_axis(tensor) for tensor in tensors)


def _hides_an_axis(tensor: Tensor) -> bool:
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    return wrapped or torch._C._functorch.is_legacy_batchedtensor(tensor)  # the latter: `is_grads_batched`


@final
class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rectified: bool) -> Tensor:
        inputs = x if x.dim() == 3 else x.expand(len(weight), -1, -1)
        y = torch.bmm(inputs, weight.mT) if bias is None else torch.baddbmm(bias.unsqueeze(1), inputs, weight.mT)
        ctx.save_for_backward(x, weight, y.relu_() if rectified else None)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        g = gradients[0] if y is None else rectify_gradient(gradients[0], y, 0)
        inputs = x if x.dim() == 3 else x.expand(len(weight), -1, -1)
        to_x = _to_input(x, weight, g) if ctx.needs_input_grad[0] else None
        to_weight = torch.bmm(g.mT, inputs) if ctx.needs_input_grad[1] else None
        to_bias = g.sum(1) if ctx.needs_input_grad[2] else None
        return to_x, to_weight, to_bias, None


def _to_input(x: Tensor, weight: Tensor, g: Tensor) -> Tensor:
    if x.dim() == 3:
        return torch.bmm(g, weight)
    found = torch.mm(g[0], weight[0])
    for one, by in zip(g[1:], weight[1:], strict=True):
        found = found.addmm_(one, by) if not torch.is_grad_enabled() else torch.addmm(found, one, by)
    return found
