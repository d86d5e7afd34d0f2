"""The position as a plain feature, and a declared one in serving."""

from collections.abc import Mapping, Sequence
from typing import final

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.batch import Features
from polytask.biases._base import Bias, Corrected
from polytask.encoders import FittedColumns
from polytask.errors import ConfigError, message, nearest


@final
class PositionFeature(Bias):
    """Bias columns as inputs like any other; outside training every row is scored as if shown at one place.

    `z = f(x, position)` in training, `f(x, served)` outside. `served` is a declared position, or missing, which rows whose
    columns are dropped in training teach.

    Prefer it where position acts differently on different items, so that nothing added or multiplied describes it, and where the
    order at one declared position is what is wanted. Not as a first remedy: a network that sees both may explain a click by
    either, and how items compare depends on the place they are scored for.

    Cost: the columns in the encoder.

    Source: a baseline of Zhao et al., RecSys 2019, "Recommending What Video to Watch Next".

    Args:
        preprocessing: Fitted columns, the bias columns among the categorical ones.
        columns: Bias columns, the position first.
        tasks: Names of the binary tasks whose labels depend on them. The columns are inputs of all tasks.
        known: Those of `columns` that are known when rows are scored, such as the device: they are read as they are.
        served: Value of a column in every row that is scored; a column that is not named counts as missing.
        dropout: Share of rows whose bias columns count as missing in training.

    Raises:
        ConfigError: If a column or a value is unknown, or the drop-out is not in [0, 1).

    Example:
        >>> from polytask.data import CategoricalField, Preprocessing
        >>> from polytask.data.vocabulary import Vocabulary
        >>> columns = Preprocessing((CategoricalField("position", Vocabulary("integer", (1, 2))),), (), (), ())
        >>> bias = PositionFeature(columns, columns=["position"], tasks=["click"], served={"position": 1})
        >>> bias.eval().inputs(Features(torch.tensor([[4], [0]]), torch.zeros(2, 0))).categorical.tolist()
        [[3], [3]]
    """

    def __init__(
        self,
        preprocessing: FittedColumns,
        *,
        columns: Sequence[str],
        tasks: Sequence[str],
        known: Sequence[str] = (),
        served: Mapping[str, int | str] | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(preprocessing, columns=columns, tasks=tasks, known=known)
        if not 0 <= dropout < 1:
            raise ConfigError(message("The drop-out of a bias is a share of rows in [0, 1).", received=dropout))
        self.dropout, ids = dropout, []
        wanted = dict(served or {})
        for name in wanted:
            if name not in self.hidden:
                raise ConfigError(
                    message("`served` names hidden columns.", received=repr(name), way_out=nearest(name, self.hidden))
                )
        for name, field in zip(self.columns, self.fields, strict=True):
            value = wanted.get(name)
            ids.append(-1 if name in known else 0 if value is None else _id(field, value))
        self.register_buffer("served_ids", torch.tensor(ids, dtype=torch.int64), persistent=False)
        self.served_ids: Tensor

    def visible(self, preprocessing: FittedColumns) -> FittedColumns:
        """All columns."""
        return preprocessing

    def inputs(self, features: Features) -> Features:
        """All columns; outside training those of the bias as declared, in training missing in some rows."""
        ids = features.categorical.index_select(1, self.places)
        served = self.served_ids.to(ids.dtype)
        if self.training:
            dropped = torch.rand(len(ids), 1, device=ids.device) < self.dropout
            found = torch.where(dropped & (served >= 0), 0, ids)
        else:
            found = torch.where(served >= 0, served, ids)
        return features._replace(categorical=features.categorical.index_copy(1, self.places, found))

    def correct(self, by_task: Mapping[str, Float[Tensor, "n _"]], shown: Features, shared: Float[Tensor, "k n *h"]) -> Corrected:  # noqa: ARG002
        """Outputs as they are: the columns were inputs."""
        return Corrected(dict(by_task))


def _id(field: object, value: int | str) -> int:
    known = [str(item) for item in getattr(field, "values", ())]
    if known and str(value) not in known:
        expected = f"A served value occurs in column {getattr(field, 'name', '')!r}."
        raise ConfigError(message(expected, received=repr(value), way_out=nearest(str(value), known)))
    return int(field.encode(pa.array([value]))[0])  # type: ignore[attr-defined]
