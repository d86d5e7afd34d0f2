"""Cross-entropy of a probability given as log-odds."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def binary_cross_entropy(output: Float[Tensor, "n 1"], label: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Negative log-likelihood of a yes or no.

    `-y log p - (1 - y) log(1 - p)` with `p = 1 / (1 + exp(-output))`, computed as `softplus(output) - y output`.

    For labels 0 and 1, or probabilities between. Not for classes that exclude one another: use `cross_entropy`.

    Source: Bernoulli likelihood; see Bishop, Pattern Recognition and Machine Learning (2006), eq. 4.90.

    Args:
        output: Log-odds.
        label: 0, 1 or between.

    Example:
        >>> import torch
        >>> binary_cross_entropy(torch.zeros(2, 1), torch.tensor([0.0, 1.0]))
        tensor([0.6931, 0.6931])
    """
    return functional.binary_cross_entropy_with_logits(output.squeeze(1), label.to(output.dtype), reduction="none")
