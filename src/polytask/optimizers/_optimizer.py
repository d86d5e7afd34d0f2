"""Updates a model and its balancer: a rate per task, touched rows of tables only, state by name."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.encoders import huge_pages, touched_rows
from polytask.errors import CheckpointError, ConfigError, message
from polytask.optimizers._base import Entry, Rule
from polytask.optimizers._groups import Group, Member
from polytask.optimizers._rows import update_rows

_STEP = "step"


@final
class Optimizer:
    """Applies one rule to groups of parameters, each at its rate.

    A parameter without a gradient is left bit for bit as it was, and so is what is remembered of it. The result does not depend
    on how parameters are grouped: equal rates give what one rate gives.

    Args:
        groups: Parameters and rates (`parameter_groups`).
        rule: What one step does.
        weight_decay: Decay of weights; biases and balancers have none, tables on touched rows.

    Raises:
        ConfigError: If `weight_decay` is negative.
    """

    def __init__(self, groups: Sequence[Group], rule: Rule, *, weight_decay: float = 0.0) -> None:
        if weight_decay < 0:
            raise ConfigError(message("Weight decay cannot be negative.", received=weight_decay))
        self.rule, self.weight_decay = rule, weight_decay
        self._members = {group.name: group.members for group in groups}
        self._state: dict[str, dict[str, Tensor]] = {}
        self.param_groups: list[dict[str, Any]] = [
            {
                "name": group.name,
                "lr": group.lr,
                "initial_lr": group.lr,
                "params": [member.parameter for member in group.members],
            }
            for group in groups
        ]

    def zero_grad(self) -> None:
        """Removes all gradients."""
        for member in self._all():
            member.parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Updates every parameter that has a gradient."""
        for group in self.param_groups:
            alike: defaultdict[tuple[Any, ...], list[Entry]] = defaultdict(list)
            for member in self._members[group["name"]]:
                if member.parameter.grad is None:
                    continue
                decay = self.weight_decay if member.decays else 0.0
                if member.is_table:
                    rows, values = touched_rows(member.parameter.grad)
                    update_rows(self.rule, self._entry(member, values), rows, lr=group["lr"], weight_decay=decay)
                else:
                    entry = self._entry(member, member.parameter.grad)
                    alike[decay, entry.value.device, entry.value.dtype].append(entry)
            for (decay, *_), entries in alike.items():
                self.rule.update(entries, lr=group["lr"], weight_decay=decay)

    @torch.no_grad()
    def clip(self, max_norm: float) -> Float[Tensor, ""]:
        """Scales all gradients so that their joint norm is at most `max_norm`; gives the norm before."""
        present = [member.parameter for member in self._all() if member.parameter.grad is not None]
        values = [_compact(parameter) for parameter in present]
        if not values:
            return torch.zeros(())
        norm = nn.utils.get_total_norm(values)
        factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)  # 1e-6 as in torch
        for value in values:
            value.mul_(factor.to(value.device))
        return norm

    def state_dict(self) -> dict[str, Any]:
        """What is remembered of each parameter, by its name, and each group's rate."""
        rates = {group["name"]: {"lr": group["lr"], "initial_lr": group["initial_lr"]} for group in self.param_groups}
        return {"rule": type(self.rule).__name__, "rates": rates, "state": {name: dict(of) for name, of in self._state.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what another optimizer of the same model remembered.

        Raises:
            CheckpointError: If the rule, a name or a shape is another; nothing is changed then.
        """
        self._check(state)
        for group in self.param_groups:
            group.update(state["rates"][group["name"]])
        members = {member.name: member.parameter for member in self._all()}
        self._state = {
            name: {slot: _like(members[name], slot, value) for slot, value in slots.items()}
            for name, slots in state["state"].items()
        }

    def _all(self) -> Iterator[Member]:
        return (member for members in self._members.values() for member in members)

    def _entry(self, member: Member, gradient: Tensor) -> Entry:
        value = member.parameter
        if member.name not in self._state:
            slots = {slot: huge_pages(torch.empty_like(value)).zero_() for slot in self.rule.slots}
            self._state[member.name] = slots | {_STEP: torch.zeros((), device=value.device)}
        state = self._state[member.name]
        if not member.is_table and gradient.stride() != value.stride():
            gradient = torch.empty_like(value).copy_(gradient)  # fused rules walk through memory, not through indices
        return Entry(value, gradient, tuple(state[slot] for slot in self.rule.slots), state[_STEP])

    def _check(self, state: Mapping[str, Any]) -> None:
        if state["rule"] != type(self.rule).__name__:
            raise CheckpointError(message(f"The optimizer is {type(self.rule).__name__!r}.", received=repr(state["rule"])))
        if set(state["rates"]) != set(self._members):
            raise CheckpointError(message(f"Groups must be {sorted(self._members)}.", received=sorted(state["rates"])))
        members = {member.name: member for member in self._all()}
        for name, slots in state["state"].items():
            if name not in members:
                raise CheckpointError(message("The checkpoint knows a parameter that the model has not.", received=repr(name)))
            if set(slots) != {*self.rule.slots, _STEP}:
                raise CheckpointError(message(f"State of {name!r} must hold {self.rule.slots}.", received=sorted(slots)))
            shape = members[name].parameter.shape
            for slot in self.rule.slots:
                if slots[slot].shape != shape:
                    expected = f"{slot!r} of {name!r} must have the shape {list(shape)}."
                    raise CheckpointError(message(expected, received=list(slots[slot].shape)))


def _gradient(parameter: nn.Parameter) -> Tensor:
    return cast("Tensor", parameter.grad)


def _compact(parameter: nn.Parameter) -> Tensor:
    """The numbers of a gradient that may be scaled in place: of a sparse one, each touched row once."""
    gradient = _gradient(parameter)
    if not gradient.is_sparse:
        return gradient
    rows, values = touched_rows(gradient)
    parameter.grad = torch.sparse_coo_tensor(rows.unsqueeze(0), values, gradient.shape, is_coalesced=True, check_invariants=False)
    return values


def _like(parameter: Tensor, slot: str, value: Tensor) -> Tensor:
    """A copy where the parameter is, laid out as it is."""
    fresh = torch.zeros((), device=parameter.device) if slot == _STEP else huge_pages(torch.empty_like(parameter))
    return fresh.copy_(value.detach())
