"""Builds every method once, as small as can be: what its constructor refuses is a mistake of the configuration."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from polytask.balancers import BALANCERS
from polytask.biases import BIASES
from polytask.config._methods import Method
from polytask.config._mistakes import Mistakes
from polytask.data import CategoricalField, NumericField, Preprocessing
from polytask.data.vocabulary import Vocabulary
from polytask.encoders import ENCODERS
from polytask.optimizers import Schedule, build_optimizer
from polytask.precision import PRECISIONS
from polytask.sharing import SHARINGS, PerTask
from polytask.spaces import SPACES
from polytask.tasks import Task

_COLUMN = Preprocessing((), (NumericField("x", 0.0, 1.0, (0.0, 1.0)),), (), ())


def try_space(method: Method | None, tasks: Sequence[Task], mistakes: Mistakes) -> list[str]:
    """Builds the space, and gives the names of all tasks that heads are made for.

    Args:
        method: The space; None where there is a mistake already.
        tasks: The declared tasks.
        mistakes: Where mistakes are noted.
    """
    made = tuple(tasks)
    if method is not None and not any(mistake.place.startswith("task") for mistake in mistakes.found):
        with mistakes.noting("space"):
            made = SPACES[method.name](tasks, **method.options).tasks
    return [task.name for task in made]


def try_bias(method: Method | None, tasks: Sequence[Task], mistakes: Mistakes) -> None:
    """Builds the bias on columns with just the values that its options name: those of the table are not known yet.

    Args:
        method: The bias; None where there is none, or a mistake already.
        tasks: The declared tasks.
        mistakes: Where mistakes are noted.
    """
    if method is None:
        return
    columns, table = method.options["columns"], method.options.get("examination")
    lists = list(table.values()) if isinstance(table, Mapping) else [table or (1.0,)]
    values: dict[str, Sequence[Any]] = dict.fromkeys(bias_columns(method), (1,))
    values |= {columns[0]: range(1, 1 + len(lists[0]))} if columns and lists else {}
    values |= {columns[-1]: tuple(table)} if isinstance(table, Mapping) else {}
    values |= {name: (value,) for name, value in (method.options.get("served") or {}).items() if name in values}
    fields = [CategoricalField(name, Vocabulary(_kind(found), tuple(found))) for name, found in values.items()]
    with mistakes.noting("bias"), torch.device("meta"):
        BIASES[method.name](Preprocessing(tuple(fields), (), (), ()), **method.options).attach(tasks, 1)


def bias_columns(method: Method) -> tuple[str, ...]:
    """Columns of the table that a bias reads.

    Example:
        >>> bias_columns(Method("inverse_propensity", {"columns": ("position",), "random": "explored"}))
        ('position', 'explored')
    """
    options = method.options
    random = [options["random"]] if options.get("random") else []
    return tuple(dict.fromkeys([*options["columns"], *random, *options.get("same", ())]))


def _kind(values: Sequence[Any]) -> str:
    return "integer" if all(isinstance(value, int) for value in values) else "text"


def try_methods(found: Mapping[str, Any], tasks: Sequence[str], mistakes: Mistakes) -> None:
    """Builds what was bound; on the meta device, so that nothing is allocated.

    Args:
        found: Methods and options by place; None where there is a mistake already.
        tasks: Names of the tasks that heads are made for.
        mistakes: Where mistakes are noted.
    """
    if not tasks or len(set(tasks)) != len(tasks):
        return
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        for place, registry, arguments in (
            ("encoder", ENCODERS, (_COLUMN,)),
            ("sharing", SHARINGS, (2, tasks)),
            ("balancer", BALANCERS, (tasks,)),
        ):
            method: Method | None = found[place]
            if method is not None:
                with mistakes.noting(place):
                    registry[method.name](*arguments, **method.options)
    optimizer = None
    if found["optimizer"] is not None:
        model = nn.ModuleList([nn.Linear(1, 1), PerTask({task: nn.Linear(1, 1) for task in tasks})])
        with mistakes.noting("optimizer"):
            optimizer = build_optimizer(model, nn.Linear(1, 1), **found["optimizer"])
    if optimizer is not None and found["schedule"] is not None:
        with mistakes.noting("schedule"):
            Schedule(optimizer, total_steps=1, **found["schedule"])


def check_precision(name: object, mistakes: Mistakes) -> None:
    """The name of the arithmetic; whether the device has it is not asked here, for the run may be meant for another machine."""
    if isinstance(name, str) and name not in PRECISIONS:
        mistakes.unnamed("train.precision", name, PRECISIONS, "precision")
