"""Half the squared distance from the label."""

from jaxtyping import Float
from torch import Tensor


def half_squared_error(output: Float[Tensor, "n 1"], label: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Negative log-likelihood of a Gaussian of unit variance, up to a constant: `(y - output)^2 / 2`.

    For real labels whose mean is wanted. Labels with far outliers pull it: consider `pinball`, or a logarithm of the label.

    Source: Kendall, Gal & Cipolla, Multi-Task Learning Using Uncertainty (CVPR 2018), eq. 5 with sigma = 1.

    Args:
        output: Estimate, in the label's units.
        label: Any real number.

    Example:
        >>> import torch
        >>> half_squared_error(torch.tensor([[1.0]]), torch.tensor([4.0]))
        tensor([4.5000])
    """
    return (output.squeeze(1) - label.to(output.dtype)).square() / 2
