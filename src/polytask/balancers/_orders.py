"""In which order each task visits the others."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

_SPREAD = 0x9E3779B1  # odd, near 2^32 over the golden ratio: seeds of a few apart do not meet in a few thousand turns
_LOW = 0xFFFFFFFF  # as much of a seed as the generator of the CPU reads


def visiting_orders(tasks: Sequence[str], names: Sequence[str], *, seed: int, turn: int) -> Int[Tensor, "m m"]:
    """A random permutation of m tasks for each of them, drawn from their names.

    Each ordered pair of names has a random key; a task visits the others in the order of their keys. So the order of the
    arguments does not matter, an absent task changes no order of the others, and the state of torch is neither read nor changed.

    Args:
        tasks: Names of all tasks.
        names: The m tasks that are present.
        seed: Runs with the same seed have the same orders.
        turn: Number of the draw.

    Example:
        >>> visiting_orders(["a", "b", "c"], ["a", "c"], seed=0, turn=0).shape
        torch.Size([2, 2])
    """
    places = {name: place for place, name in enumerate(sorted(tasks))}
    rows = torch.tensor([places[name] for name in names], device="cpu")
    generator = torch.Generator().manual_seed((_SPREAD * (seed + 1) + turn) & _LOW)
    keys = torch.rand(len(places), len(places), generator=generator, device="cpu")
    return keys[rows][:, rows].argsort(1)
