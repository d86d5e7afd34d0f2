"""Which tables of a declared run are read off which signatures."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from polytask.balancers import BALANCERS
from polytask.biases import BIASES
from polytask.config._sections import DataSection, FeaturesSection, TrainSection
from polytask.data import FEATURES, Csv
from polytask.data.synthetic import GENERATORS
from polytask.encoders import ENCODERS
from polytask.heads import Heads
from polytask.optimizers import Schedule, build_optimizer
from polytask.sharing import SHARINGS
from polytask.spaces import SPACES
from polytask.tasks import TASKS
from polytask.train import Plan

Factory = Callable[..., Any]


class Family(NamedTuple):
    """A table whose keys depend on a name in it.

    Args:
        members: The registry.
        supplied: Arguments that the run supplies itself.
        default: Name where none is given; None where one is required.
        tag: Key that holds the name.
        what: What a member is called in messages.
    """

    members: Mapping[str, Factory]
    supplied: frozenset[str]
    default: str | None
    tag: str
    what: str


SECTIONS: dict[str, type[BaseModel]] = {"data": DataSection, "features": FeaturesSection, "train": TrainSection}
"""Tables whose keys are declared; `train` has those of the training plan beside its own."""

FAMILIES = {
    "task": Family(TASKS, frozenset(), None, "kind", "kind of task"),
    "feature": Family(FEATURES, frozenset(), None, "kind", "kind of feature"),
    "encoder": Family(ENCODERS, frozenset({"preprocessing"}), "tabular", "name", "encoder"),
    "sharing": Family(SHARINGS, frozenset({"in_features", "tasks"}), "mmoe", "name", "sharing"),
    "space": Family(SPACES, frozenset({"tasks"}), "clicked", "name", "space"),
    "bias": Family(BIASES, frozenset({"preprocessing"}), None, "name", "bias"),
    "balancer": Family(BALANCERS, frozenset({"tasks"}), "equal", "name", "balancer"),
    "data.generator": Family(GENERATORS, frozenset(), None, "name", "generator"),
}
"""By place in the configuration."""

FACTORIES: dict[str, tuple[Factory, frozenset[str]]] = {
    "data.csv": (Csv, frozenset()),
    "heads": (Heads, frozenset({"in_features", "tasks"})),
    "optimizer": (build_optimizer, frozenset({"model", "balancer"})),
    "schedule": (Schedule, frozenset({"optimizer", "total_steps"})),
    "train": (Plan, frozenset()),
}
"""Tables with one set of keys, and what the run supplies itself."""
