"""Which parameter belongs to whom, and at which rate it learns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from torch import nn

from polytask.encoders import EmbeddingTable
from polytask.errors import ConfigError, message, nearest
from polytask.sharing import PerTask, Sharing, private_parameters

SHARED: Final = "shared"
BALANCER: Final = "balancer"


class Member(NamedTuple):
    """A parameter and how it is updated.

    Args:
        name: Its name in the model or balancer, with `model.` or `balancer.` before it.
        parameter: The parameter.
        decays: Whether weight decay applies: not to biases, to what has one dimension, to what a sharing's penalty holds
            down, nor to balancers.
        is_table: Whether it is an embedding table, of which only touched rows are updated.
    """

    name: str
    parameter: nn.Parameter
    decays: bool
    is_table: bool


@dataclass(frozen=True)
class Group:
    """Parameters that learn at one rate.

    Args:
        name: "shared", a task, or "balancer".
        members: The parameters.
        lr: Rate.
    """

    name: str
    members: tuple[Member, ...]
    lr: float


def parameter_groups(model: nn.Module, balancer: nn.Module, lr: float | Mapping[str, float]) -> list[Group]:
    """The parameters of all tasks, of each task alone, and of the balancer; groups without parameters are left out.

    Args:
        model: What is private to a task lies in a `PerTask` container.
        balancer: Its parameters learn too.
        lr: One rate, or rates of "shared", of tasks by name, and of "balancer"; where one is missing, that of "shared" holds.

    Raises:
        ConfigError: If a rate is for nobody or is not positive, or a task has a reserved name.
    """
    tasks = _tasks(model)
    rates = _rates(lr, (SHARED, *tasks, BALANCER))
    tables = {module.weight for module in model.modules() if isinstance(module, EmbeddingTable)}
    penalised = {p for module in model.modules() if isinstance(module, Sharing) for p in module.penalised_parameters()}
    owners = {task: set(private_parameters(model, task)) for task in tasks}
    members: dict[str, list[Member]] = {name: [] for name in (SHARED, *tasks, BALANCER)}
    for name, parameter in model.named_parameters():
        whose = [task for task in tasks if parameter in owners[task]]
        decays = parameter.dim() > 1 and name.rsplit(".", 1)[-1] != "bias" and parameter not in penalised
        member = Member(f"model.{name}", parameter, decays, parameter in tables)
        members[whose[0] if len(whose) == 1 else SHARED].append(member)
    for name, parameter in balancer.named_parameters():
        members[BALANCER].append(Member(f"balancer.{name}", parameter, decays=False, is_table=False))
    return [Group(name, tuple(found), rates[name]) for name, found in members.items() if found]


def _tasks(model: nn.Module) -> tuple[str, ...]:
    containers = [module for module in model.modules() if isinstance(module, PerTask)]
    tasks = tuple(dict.fromkeys(name for container in containers for name in container.names))
    for name in (SHARED, BALANCER):
        if name in tasks:
            raise ConfigError(message("A task cannot be called as a group of parameters is.", received=repr(name)))
    return tasks


def _rates(lr: float | Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    given = dict(lr) if isinstance(lr, Mapping) else {SHARED: lr}
    for name, rate in given.items():
        if name not in names:
            raise ConfigError(message("A learning rate is for nobody.", received=repr(name), way_out=nearest(name, names)))
        if not rate > 0:
            raise ConfigError(message(f"The learning rate of {name!r} must be positive.", received=rate))
    if SHARED not in given:
        way_out = "Add it: every group without a rate of its own takes it."
        raise ConfigError(message("Learning rates need one for 'shared'.", received=given, way_out=way_out))
    return {name: float(given.get(name, given[SHARED])) for name in names}
