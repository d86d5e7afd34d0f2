"""Experts that give hardly anything but zeros."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from polytask.batch import Features
from polytask.monitors._findings import Finding
from polytask.monitors._modes import evaluating
from polytask.sharing import Sharing

COLLAPSED: Final = 0.9
"""Share of zeros in an expert's output above which it has collapsed: the measure of HoME (arXiv 2408.05430). A healthy expert
with ReLU has about a half."""


class ExpertZeros(NamedTuple):
    """What one expert gave on some rows.

    Args:
        stack: Name in the model of the module that computes it.
        place: Its place among that module's experts.
        num: How many they are.
        zeros: Share of its outputs that are 0, over rows and units.
    """

    stack: str
    place: int
    num: int
    zeros: float

    @property
    def name(self) -> str:
        """Stack and place."""
        return f"{self.stack}/{self.place}"

    def findings(self) -> list[Finding]:
        """Names the expert, the cause and a way out where it has collapsed."""
        if self.zeros <= COLLAPSED:
            return []
        who = f"expert {self.place} of {self.stack!r}" if self.num > 1 else f"{self.stack!r}"
        start = f"Expert collapse: {self.zeros:.0%} of what {who} gives is 0, so gates have nothing to weigh."
        cause = "its units were pushed below 0 by too large a step, or its outputs are of another scale than those beside it."
        way_out = "Lower the learning rate, use silu or leaky_relu as activation, or sharing 'home', which normalises experts."
        return [Finding("expert collapse", self.name, self.zeros, f"{start} Cause: {cause} {way_out}")]


def expert_zeros(model: nn.Module, features: Features) -> list[ExpertZeros]:
    """Share of zeros in what each expert gives, of every mixture in the model. The model is left as it was.

    Experts are modules of a sharing that say so (`gives_experts = True`) and give `e n h`, or `n h` for one: `MLPs` with an
    activation at the end do. Where the model's gates are None, nothing is a mixture and the list is empty.

    Cost: one forward pass without gradients.

    Args:
        model: Anything that takes `Features` and gives `Outputs`.
        features: The rows to look at.
    """
    seen: dict[str, Tensor] = {}
    handles = [stack.register_forward_hook(_watch(seen, name)) for name, stack in _stacks(model).items()]
    try:
        with evaluating(model), torch.no_grad():
            outputs = model(features)
    finally:
        for handle in handles:
            handle.remove()
    shared = getattr(outputs, "shared", None)
    if shared is None or shared.gates is None:
        return []
    return [
        ExpertZeros(name, place, len(shares), share)
        for name, shares in seen.items()
        for place, share in enumerate(shares.tolist())
    ]


def _stacks(model: nn.Module) -> dict[str, nn.Module]:
    """Modules that give experts' outputs, but none inside another."""
    within = [name for name, module in model.named_modules() if isinstance(module, Sharing)]
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():  # a module comes before what is inside it
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if getattr(module, "gives_experts", False) and not inside and any(name.startswith(f"{part}.") for part in within):
            found[name] = module
    return found


def _watch(seen: dict[str, Tensor], name: str) -> Callable[..., None]:
    def watch(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        zeros = (output == 0).float()
        seen[name] = zeros.flatten(1).mean(1) if output.dim() > 2 else zeros.mean().reshape(1)

    return watch
