"""Cross-entropy over classes that exclude one another."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def cross_entropy(output: Float[Tensor, "n c"], label: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Negative log-likelihood of one of c classes: `log sum_j exp(output_j) - output_y`.

    For classes without an order. Where they have one, `cumulative_link` uses it and needs fewer labels.

    Source: Bishop, Pattern Recognition and Machine Learning (2006), eq. 4.108.

    Args:
        output: Unnormalised log-probabilities.
        label: Place of the class, 0 to c - 1, as a float.

    Example:
        >>> import torch
        >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2.0]))
        tensor([1.3863])
    """
    return functional.cross_entropy(output, label.long(), reduction="none")
