"""Units that no row activates any more."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from polytask.batch import Features
from polytask.monitors._findings import Finding
from polytask.monitors._modes import evaluating
from polytask.sharing import PerTask

ACTIVATIONS: Final = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.ELU, nn.Mish)
FLAGGED: Final = 0.5
"""Share of dead units above which a layer is worth a word; a healthy ReLU layer has a few per cent."""


class LayerUnits(NamedTuple):
    """What the units of one activation did on some rows.

    Args:
        layer: Name of the activation in the model.
        owner: Task that the layer is private to, or "shared".
        num_units: Number of units.
        dead: Share of units that are 0 on every row.
        starved: Share of units whose input is the same on every row: what lies before them is dead.
    """

    layer: str
    owner: str
    num_units: int
    dead: float
    starved: float

    def finding(self, optimizer: Any = None) -> str:
        """Names the layer, the cause and a way out, or "" where half of the units live.

        Args:
            optimizer: Its `param_groups` ("name", "lr") say how fast the layer learned.
        """
        if self.dead <= FLAGGED:
            return ""
        start = f"{self.dead:.0%} of the {self.num_units} units of {self.layer!r} are dead: 0 on every row, so they cannot learn."
        if self.starved > self.dead / 2:
            way_out = "Look at the layers before it, or for features that are constant."
            return f"{start} Cause: their inputs are the same on every row. {way_out}"
        cause = f"too large a step{self._rate(optimizer)} pushed what goes into them below 0 for all rows."
        way_out = f"Lower the learning rate of {self.owner!r}, warm up, clip gradients, or use leaky_relu or silu as activation."
        return f"{start} Cause: {cause} {way_out}"

    def findings(self, optimizer: Any = None) -> list[Finding]:
        """The finding as others have it; none where half of the units live."""
        name = "starved units" if self.starved > self.dead / 2 else "dead units"  # another cause is another finding
        text = self.finding(optimizer)
        return [Finding(name, self.layer, self.dead, text)] if text else []

    def _rate(self, optimizer: Any) -> str:
        groups = {} if optimizer is None else {group.get("name"): group for group in optimizer.param_groups}
        group = groups.get(self.owner)
        return "" if group is None else f" (learning rate {group.get('initial_lr', group['lr']):g})"


def dead_units(model: nn.Module, features: Features) -> list[LayerUnits]:
    """Activity of every activation layer on some rows, in the order of the model's modules. The model is left as it was.

    The rows should be a few thousand: a unit that answers to one row in a thousand is not dead.

    Prefer it after a run that is worse than it should be, and at each validation of a new set-up.
    Cost: one forward pass without gradients.

    Args:
        model: Anything that takes `Features`.
        features: The rows to look at.
    """
    modules: dict[str, nn.Module] = {name: module for name, module in model.named_modules() if isinstance(module, ACTIVATIONS)}
    owners = _owners(model)
    seen: defaultdict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    with _watching(modules, seen, features.num_rows), evaluating(model), torch.no_grad():
        model(features)
    return [_layer(name, owners.get(name, "shared"), seen[name]) for name in modules if name in seen]


def _layer(name: str, owner: str, calls: Sequence[tuple[Tensor, Tensor]]) -> LayerUnits:
    """One module may be called for several groups of units, one after the other."""
    dead = torch.cat([part for part, _ in calls])
    starved = torch.cat([part for _, part in calls])
    return LayerUnits(name, owner, dead.numel(), dead.float().mean().item(), (dead & starved).float().mean().item())


@contextmanager
def _watching(modules: dict[str, nn.Module], seen: dict[str, list[tuple[Tensor, Tensor]]], num_rows: int) -> Iterator[None]:
    given: list[Tensor] = []

    def before(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given.append(_same(inputs[0], num_rows))  # now: the activation may work in place

    def after(name: str) -> Any:
        def watch(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name].append((_dead(output, num_rows), given.pop()))

        return watch

    handles = [module.register_forward_pre_hook(before) for module in modules.values()]
    handles += [module.register_forward_hook(after(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _dead(output: Tensor, num_rows: int) -> Bool[Tensor, " u"]:
    """Which units are 0 on every row."""
    return ~(output != 0).any(dim=_rows(output, num_rows)).flatten()


def _same(value: Tensor, num_rows: int) -> Bool[Tensor, " u"]:
    """Which units are given the same on every row."""
    rows = _rows(value, num_rows)
    return (value.amax(dim=rows) == value.amin(dim=rows)).flatten()


def _rows(value: Tensor, num_rows: int) -> int:
    """Dimension of the rows: stacked layers have them next to last."""
    return value.dim() - 2 if value.shape[-2] == num_rows else 0


def _owners(model: nn.Module) -> dict[str, str]:
    """Task of every module that is private to one."""
    names = {module: name for name, module in model.named_modules()}
    return {
        names[inner]: task
        for container in model.modules()
        if isinstance(container, PerTask) and container.private
        for task in container.names
        for inner in container.of(task).modules()
    }
