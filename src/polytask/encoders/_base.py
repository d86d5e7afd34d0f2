"""What every encoder is: encoded columns in, one representation a row out."""

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from polytask.batch import Features


@runtime_checkable
class FittedColumns(Protocol):
    """What an encoder must know of a table; `data.Preprocessing` is one."""

    @property
    def categorical(self) -> tuple[Any, ...]:
        """Single-valued fields, each with `name` and `size`."""

    @property
    def numeric(self) -> tuple[Any, ...]:
        """Numeric fields, each with `name` and `edges`."""

    @property
    def multi_valued(self) -> tuple[Any, ...]:
        """Multi-valued fields, each with `name`, `size` and `pooling`."""


class Encoder(nn.Module, ABC):
    """Base of the family. Built alike: `Encoder(preprocessing, *, ...)`; exchangeable by name."""

    out_features: int
    """Width d of the representation; every encoder sets it."""

    @abstractmethod
    def forward(self, features: Features) -> Float[Tensor, "n d"]:
        """Gives one representation a row."""
