"""Experts of several kinds in one mixture, and a user's own."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message, nearest
from polytask.sharing._cross_experts import CrossNetworks
from polytask.sharing._history_experts import Attentions, GRUs, mean_of_steps
from polytask.sharing._mlps import MLPs


class ExpertKind(NamedTuple):
    """A kind of expert.

    Args:
        build: Makes e of them side by side: `build(num, in_features, widths, *, activation, dropout)`.
        reads_steps: Whether they read a history `n t d`; others read a vector a row `n d`.
    """

    build: Callable[..., nn.Module]
    reads_steps: bool


EXPERTS: dict[str, ExpertKind] = {
    "mlp": ExpertKind(MLPs, False),
    "cross": ExpertKind(CrossNetworks, False),
    "attention": ExpertKind(Attentions, True),
    "recurrent": ExpertKind(GRUs, True),
}


class ExpertPlan(NamedTuple):
    """Which experts a mixture has.

    Args:
        num: Number e of experts.
        hidden: Width of each layer of an expert.
        kinds: Name in `EXPERTS` of each expert; () where all are MLPs.
        step_width: Width of the steps into which experts that read a history cut a flat input; 0: the input is a history.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of expert units dropped after each layer in training.
    """

    num: int
    hidden: Sequence[int]
    kinds: Sequence[str] = ()
    step_width: int = 0
    activation: str = "relu"
    dropout: float = 0.0

    def build(self, in_features: int) -> "MLPs | MixedExperts":
        """The experts of an input of width d.

        Raises:
            ConfigError: If a size or a kind is not valid, or kinds are not as many as experts.
        """
        if self.kinds:
            return MixedExperts(in_features, self)
        if self.step_width:
            way_out = "Name the experts' kinds too (`expert_kinds`)."
            raise ConfigError(message("MLPs read no steps.", received=f"step_width={self.step_width}", way_out=way_out))
        return MLPs(self.num, in_features, self.hidden, activation=self.activation, dropout=self.dropout)


@final
class MixedExperts(nn.Module):
    """Experts of several kinds, those of one kind side by side.

    Args:
        in_features: Width d of the input, or of each of its steps.
        plan: The experts.

    Raises:
        ConfigError: If a kind is unknown, or kinds are not as many as experts.

    Example:
        >>> plan = ExpertPlan(3, (4,), ["recurrent", "mlp", "recurrent"])
        >>> MixedExperts(5, plan)(torch.ones(6, 7, 5)).shape
        torch.Size([3, 6, 4])
    """

    gives_experts = True  # `polytask.monitors` looks at what comes out

    def __init__(self, in_features: int, plan: ExpertPlan) -> None:
        super().__init__()
        _check_kinds(plan)
        self.kinds, self.step_width, self.num = tuple(plan.kinds), plan.step_width, plan.num
        names = list(dict.fromkeys(self.kinds))
        options: dict[str, Any] = {"activation": plan.activation, "dropout": plan.dropout}
        widths = {name: plan.step_width or in_features if EXPERTS[name].reads_steps else in_features for name in names}
        made = {name: EXPERTS[name].build(self.kinds.count(name), widths[name], plan.hidden, **options) for name in names}
        self.groups = nn.ModuleDict(made)
        self.out_features = plan.hidden[-1]
        places = [place for name in names for place, kind in enumerate(self.kinds) if kind == name]
        self.order = None if places == sorted(places) else [places.index(place) for place in range(plan.num)]

    def forward(self, x: Float[Tensor, "n *t d"]) -> Float[Tensor, "e n h"]:
        """Output of each expert, in the order in which kinds were named."""
        flat = mean_of_steps(x)
        parts = [group(self._steps(x, name) if EXPERTS[name].reads_steps else flat) for name, group in self.groups.items()]
        outputs = torch.cat(parts)
        return outputs if self.order is None else torch.stack([outputs[place] for place in self.order])

    def _steps(self, x: Tensor, kind: str) -> Tensor:
        if x.dim() == 3 and not self.step_width:
            return x
        if x.dim() == 2 and self.step_width and x.shape[1] % self.step_width == 0:
            return torch.unflatten(x, 1, (-1, self.step_width))
        if self.step_width:
            expected = f"Experts that cut steps of width {self.step_width} read rows of a whole number of them."
        else:
            expected = f"Experts of kind {kind!r} read a history: rows, steps, width."
        way_out = "Set `step_width` for a flat input, such as the width of a column's embedding; leave it 0 for a history."
        raise ConfigError(message(expected, received=f"an input of shape {tuple(x.shape)}", way_out=way_out))


@final
class GivenExperts(nn.Module):
    """A user's own modules as experts, one after the other on the same input.

    Args:
        modules: Each maps the mixture's input to `n h`.
        out_features: Width h that each gives.

    Raises:
        ConfigError: If there is no module, or one gives another width.
    """

    gives_experts = True

    def __init__(self, modules: Iterable[nn.Module], out_features: int) -> None:
        super().__init__()
        self.modules_given = nn.ModuleList(modules)
        self.num, self.out_features = len(self.modules_given), out_features
        if not self.num:
            raise ConfigError(message("A mixture has at least one expert.", received="no module"))

    def forward(self, x: Float[Tensor, "n *any"]) -> Float[Tensor, "e n h"]:
        """Output of each module."""
        outputs = [cast("Tensor", module(x)) for module in self.modules_given]
        for place, output in enumerate(outputs):
            if output.dim() != 2 or output.shape[1] != self.out_features:
                expected = f"Expert {place} ({type(self.modules_given[place]).__name__}) gives rows of width {self.out_features}."
                way_out = "Pool and project inside the expert, or change `out_features`."
                raise ConfigError(message(expected, received=f"shape {tuple(output.shape)}", way_out=way_out))
        return torch.stack(outputs)


def _check_kinds(plan: ExpertPlan) -> None:
    for kind in plan.kinds:
        if kind not in EXPERTS:
            raise ConfigError(message("Unknown kind of expert.", received=repr(kind), way_out=nearest(kind, EXPERTS)))
    if len(plan.kinds) != plan.num:
        expected = f"{plan.num} experts have a kind each."
        way_out = f"Set num_experts = {len(plan.kinds)}."
        raise ConfigError(message(expected, received=f"{len(plan.kinds)} kinds", way_out=way_out))
    if plan.step_width < 0 or (plan.step_width and not any(EXPERTS[kind].reads_steps for kind in plan.kinds)):
        expected = "A width of steps is positive, and for experts that read steps."
        received = f"step_width={plan.step_width}, kinds {list(plan.kinds)}"
        raise ConfigError(message(expected, received=received, way_out="Leave it 0."))
