"""Gates: how much of each expert each task takes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.errors import ConfigError, message
from polytask.sharing._mlps import MLPs


def gate_network(in_features: int, num_experts: int, hidden: Sequence[int], activation: str, *, num: int = 1) -> MLPs:
    """Logits of one gate, or of `num`, from its input: linear and without bias as published, or with hidden layers before."""
    return MLPs(num, in_features, (*hidden, num_experts), activation=activation, linear_last=True, last_bias=False)


def gate_weights(logits: Float[Tensor, "k n e"], drop: float = 0.0) -> Float[Tensor, "k n e"]:
    """Softmax over the experts, at least in float32; with `drop`, over the experts that a draw leaves.

    Each expert of each row and task is left out with probability `drop` and the rest renormalised: the cure of gate polarisation
    in "Recommending What Video to Watch Next" (RecSys 2019). A draw that would leave none leaves all.
    """
    if drop:
        keep = torch.rand_like(logits, dtype=torch.float32) >= drop
        logits = logits.masked_fill(~(keep | ~keep.any(-1, keepdim=True)), float("-inf"))
    return few_softmax(logits)


def few_softmax(logits: Float[Tensor, "*k n e"]) -> Float[Tensor, "*k n e"]:
    """Softmax over a short last axis, at least in float32.

    Over rows that lie beside each other vectors are full: 8 tasks, 4096 rows, 8 experts take 0.4 ms in place of 5.5.
    """
    return logits.mT.contiguous().softmax(-2, dtype=torch.promote_types(logits.dtype, torch.float32)).mT.contiguous()


def mix(gates: Float[Tensor, "k n e"], experts: Float[Tensor, "e n h"]) -> Float[Tensor, "k n h"]:
    """Each task's mixture of the experts.

    One batched product over rows: 5 times faster than adding scaled experts (4096 rows, 8 experts of 128: 7.6 ms against 23
    forward and backward, one thread).
    """
    return torch.bmm(gates.to(experts.dtype).transpose(0, 1), experts.transpose(0, 1)).transpose(0, 1)


def check_drop(drop: float) -> float:
    """Returns the probability of leaving out an expert.

    Raises:
        ConfigError: If it is outside [0, 1).
    """
    if not 0 <= drop < 1:
        raise ConfigError(
            message("Expert dropout is a probability in [0, 1).", received=drop, way_out="0.1 is the published value.")
        )
    return drop
