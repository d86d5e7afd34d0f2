"""From a model, a balancer and rates to an optimizer."""

from collections.abc import Mapping
from typing import Final

from torch import nn

from polytask.errors import ConfigError, message, nearest
from polytask.optimizers._adagrad import Adagrad
from polytask.optimizers._adamw import AdamW
from polytask.optimizers._base import Rule
from polytask.optimizers._groups import parameter_groups
from polytask.optimizers._optimizer import Optimizer
from polytask.optimizers._sgd import SGD

OPTIMIZERS: Final[dict[str, type[Rule]]] = {
    "adagrad": Adagrad,
    "adamw": AdamW,
    "sgd": SGD,
}


def build_optimizer(
    model: nn.Module,
    balancer: nn.Module,
    *,
    lr: float | Mapping[str, float] = 1e-3,
    weight_decay: float = 1e-2,
    name: str = "adamw",
) -> Optimizer:
    """The optimizer of a model and its balancer, with a learning rate per task where wanted.

    Args:
        model: What is private to a task lies in a `PerTask` container and learns at the task's rate.
        balancer: Its parameters learn too, without decay.
        lr: One rate for all, or rates of "shared", of tasks by name, and of "balancer"; where one is missing, "shared" holds.
        weight_decay: Decay of weights; none on biases and on what has one dimension.
        name: Name in `OPTIMIZERS`; "adamw" without decay is Adam.

    Raises:
        ConfigError: If `name` or a key of `lr` is unknown, or a number cannot be.

    Example:
        >>> from polytask.sharing import PerTask
        >>> heads = PerTask({"click": nn.Linear(2, 1), "buy": nn.Linear(2, 1)})
        >>> model = nn.ModuleDict({"trunk": nn.Linear(3, 2), "heads": heads})
        >>> optimizer = build_optimizer(model, nn.Identity(), lr={"shared": 1e-3, "buy": 1e-2})
        >>> [(group["name"], group["lr"]) for group in optimizer.param_groups]
        [('shared', 0.001), ('click', 0.001), ('buy', 0.01)]
    """
    if name not in OPTIMIZERS:
        raise ConfigError(message("Unknown optimizer.", received=repr(name), way_out=nearest(name, OPTIMIZERS)))
    return Optimizer(parameter_groups(model, balancer, lr), OPTIMIZERS[name](), weight_decay=weight_decay)
