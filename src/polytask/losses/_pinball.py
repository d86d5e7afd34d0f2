"""The loss whose minimum is a quantile."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def pinball(output: Float[Tensor, "n q"], label: Float[Tensor, " n"], levels: Sequence[float]) -> Float[Tensor, " n"]:
    """Mean over levels of the pinball loss: `level * d` where the label is above the estimate by d, else `(1 - level) * -d`.

    For intervals and medians, also under far outliers. Its gradient does not shrink near the optimum: let the rate decay.

    Source: Koenker & Bassett, Regression Quantiles (Econometrica 1978).

    Args:
        output: Estimate of each quantile, in the label's units.
        label: Any real number.
        levels: Share of labels below each quantile, between 0 and 1.

    Raises:
        ValueError: If there are not as many levels as outputs.

    Example:
        >>> pinball(torch.tensor([[0.0, 0.0]]), torch.tensor([2.0]), levels=(0.1, 0.5))
        tensor([0.6000])
    """
    if len(levels) != output.shape[1]:
        raise ValueError(f"One output a level is expected. Received: {output.shape[1]} outputs for {len(levels)} levels.")
    above = (label.to(output.dtype).unsqueeze(1) - output).unbind(1)
    # one column after the other: a tensor of levels would have to be copied to the device in every step
    each = [torch.maximum(level * distance, (level - 1) * distance) for level, distance in zip(levels, above, strict=True)]
    return torch.stack(each).mean(dim=0)
