"""The losses of a batch once more, after the step."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from polytask.batch import Batch
from polytask.model import MultiTaskModel
from polytask.precision import precision_context

Draws = dict[str, Tensor]
"""States of torch's generators that a forward pass draws from: of the host, and of the batch's device."""


def draws(device: torch.device) -> Draws:
    """States as they are now; nothing waits for the device, which keeps them on the host."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        found["mps"] = torch.mps.get_rng_state()
    return found


@torch.no_grad()
def losses_again(
    model: MultiTaskModel, batch: Batch, before: Draws, *, precision: str = "float32", apart: bool = False
) -> dict[str, Tensor]:
    """Losses of a batch with the draws of its first pass: the same units are dropped, so only the step makes a difference.

    Layers that normalise by the batch do so again, as they did in the first pass. What they, or anything else, keep in buffers
    stays as the first pass left it: a batch is counted once. Generators go on where they were.

    Args:
        model: In the mode of the first pass.
        batch: Rows and labels.
        before: States of the generators when the first pass began.
        precision: As of the first pass.
        apart: As of the first pass: towers that are computed apart draw apart.
    """
    device = batch.features.categorical.device
    with _drawing(before, device), _buffers_kept(model), precision_context(precision, device):
        return model.losses(model(batch.features, apart=apart), batch.labels)


@contextmanager
def _drawing(before: Draws, device: torch.device) -> Iterator[None]:
    later = draws(device)
    _draw_from(before, device)
    try:
        yield
    finally:
        _draw_from(later, device)


def _draw_from(states: Draws, device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if "mps" in states:
        torch.mps.set_rng_state(states["mps"])


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, value in kept:
            buffer.copy_(value)
