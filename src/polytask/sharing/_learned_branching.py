"""A tree of layers that learns where tasks part."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message
from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._mlps import MLPs

_PACE = 10
"""A logit is this many times its parameter, so that it moves at ten times the rate of the weights. An Adam step moves a parameter
by the rate at most; at a rate of 0.001 a choice would need thousands of steps to outgrow its noise."""


@final
class LearnedBranching(Sharing):
    """Levels of branches; every branch, and every task at the top, learns which one branch of the level below it grows from.

    `y_lj = f_lj(Σ_i c_lj,i y_l-1,i)`, `z_k = Σ_i c_k,i y_L,i`, `c = softmax((logits + Gumbel noise) / temperature)`: a choice
    for all rows, drawn anew at each step, that comes the nearer to one branch the lower the temperature. Outside training there
    is no noise.

    Prefer it where tasks fall into groups that nobody knows: groups and weights are learned in one run, and `tree()` shows them.
    Not as a mixture: a task ends with one path. Not for short runs: until the temperature is low, all is a mean of branches.

    Cost: `num_branches` MLPs a level, as many as an MMoE of that many experts, without gates that read the input.

    Source: Guo, Lee and Ulbricht, ICML 2020, "Learning to Branch for Multi-Task Learning": each child draws its
    parent by Gumbel-softmax, the likeliest parent is kept.

    Differs: the temperature falls geometrically over `anneal_steps`; logits learn ten times as fast as weights; what was learned
    is used as it is, not trained anew as a fixed tree.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        levels: Widths of the layers of a branch, for each level.
        num_branches: Branches of each level.
        hard: Takes the one branch drawn, and hands its gradient on as if it were soft; outside training, the likeliest one.
        temperature: Temperature of the first step.
        final_temperature: Temperature after `anneal_steps`.
        anneal_steps: Optimizer steps over which the temperature falls; about two thirds of a run.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of branch units dropped after each layer in training.

    Raises:
        ConfigError: If a size, a temperature, `activation` or `dropout` is not valid.

    Example:
        >>> branching = LearnedBranching(5, ["click", "buy"], levels=[(16,), (8,)], num_branches=2)
        >>> branching(torch.zeros(3, 5)).outputs.shape
        torch.Size([2, 3, 8])
        >>> print(branching.tree())
        level 1, branch 0: click, buy
          level 2, branch 0: click, buy
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        levels: Sequence[Sequence[int]] = ((128,), (128,)),
        num_branches: int = 4,
        hard: bool = False,
        temperature: float = 5.0,
        final_temperature: float = 0.2,
        anneal_steps: int = 2000,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        _check(levels, temperature, final_temperature, anneal_steps)
        self.hard, self.anneal_steps = hard, anneal_steps
        self.first_temperature, self.final_temperature = temperature, final_temperature
        inputs = [in_features, *(hidden[-1] for hidden in levels[:-1])]
        self.levels = nn.ModuleList(
            MLPs(num_branches, width, hidden, activation=activation, dropout=dropout)
            for width, hidden in zip(inputs, levels, strict=True)
        )
        self.parents = nn.ModuleList(_Choices(num_branches, num_branches) for _ in levels[1:])
        self.choices = PerTask({task: _Choices(1, num_branches) for task in self.tasks})
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.steps: Tensor
        self.out_features = levels[-1][-1]

    def forward(self, x: Float[Tensor, "n d"]) -> Shared:
        """Gives each task what it chooses of the last level."""
        branches = self.levels[0](x)
        for parents, level in zip(self._parents(), self.levels[1:], strict=True):
            branches = level(_taken(self._drawn(parents.logits()), branches))
        choices = self._drawn(self._task_logits())
        gates = choices.unsqueeze(1).expand(-1, x.shape[0], -1)
        return Shared(_taken(choices, branches), (branches,), gates)

    def after_step(self, lr: float) -> None:  # noqa: ARG002 - the temperature falls by steps
        """Lowers the temperature."""
        self.steps += 1

    def penalised_parameters(self) -> Iterable[nn.Parameter]:
        """Logits: decay would pull a choice that is made back to none."""
        return (*self.parents.parameters(), *self.choices.parameters())

    def temperature(self) -> Float[Tensor, ""]:
        """The temperature of the next step."""
        progress = (self.steps / self.anneal_steps).clamp(max=1)
        return self.first_temperature * (self.final_temperature / self.first_temperature) ** progress

    def paths(self) -> dict[str, tuple[int, ...]]:
        """The likeliest branch of each task at each level, from the input up."""
        likeliest = [parents.logits().argmax(-1).tolist() for parents in reversed(self._parents())]
        paths = {}
        for task, branch in zip(self.tasks, self._task_logits().argmax(-1).tolist(), strict=True):
            path = [branch]
            for parents in likeliest:
                path.append(parents[path[-1]])
            paths[task] = tuple(reversed(path))
        return paths

    def tree(self) -> str:
        """The tree of likeliest branches, with the tasks that share each."""
        return "\n".join(_drawn_tree(sorted(self.paths().items(), key=lambda item: item[1]), 0))

    def _parents(self) -> "list[_Choices]":
        return cast("list[_Choices]", list(self.parents))

    def _task_logits(self) -> Float[Tensor, "k e"]:
        return torch.cat([cast("_Choices", choice).logits() for choice in self.choices.values()])

    def _drawn(self, logits: Float[Tensor, "c p"]) -> Float[Tensor, "c p"]:
        """How much each child takes of each parent."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.training:
            smallest = torch.finfo(logits.dtype).tiny
            logits = logits - (-torch.rand_like(logits).clamp_min(smallest).log()).log()
        soft = (logits / self.temperature()).softmax(-1)
        if not self.hard:
            return soft
        one = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0)
        return one + soft - soft.detach() if self.training else one


class _Choices(nn.Module):
    """Which parent each of some children takes."""

    def __init__(self, num_children: int, num_parents: int) -> None:
        super().__init__()
        self.tenths = nn.Parameter(torch.zeros(num_children, num_parents))

    def logits(self) -> Float[Tensor, "c p"]:
        return _PACE * self.tenths


def _taken(choices: Float[Tensor, "c p"], parents: Float[Tensor, "p n h"]) -> Float[Tensor, "c n h"]:
    return torch.einsum("cp,pnh->cnh", choices.to(parents.dtype), parents)


def _drawn_tree(paths: Sequence[tuple[str, tuple[int, ...]]], level: int) -> list[str]:
    lines = []
    for branch, group in groupby(paths, key=lambda item: item[1][level]):
        inside = list(group)
        lines.append(f"{'  ' * level}level {level + 1}, branch {branch}: {', '.join(task for task, _ in inside)}")
        lines += _drawn_tree(inside, level + 1) if level + 1 < len(inside[0][1]) else []
    return lines


def _check(levels: Sequence[Sequence[int]], first: float, final: float, anneal_steps: int) -> None:
    if not levels or not all(levels):
        way_out = "Such as [[128], [128]]."
        raise ConfigError(message("A tree needs widths for each level of branches.", received=levels, way_out=way_out))
    if not 0 < final <= first:
        received = f"temperature={first}, final_temperature={final}"
        way_out = "Such as 5.0 and 0.2; two equal ones keep it."
        raise ConfigError(message("A temperature is positive and falls.", received=received, way_out=way_out))
    if anneal_steps < 1:
        expected = "The temperature falls over at least one step."
        raise ConfigError(message(expected, received=f"anneal_steps={anneal_steps}", way_out="About two thirds of the run."))
