"""The fixed tables of a declared run; tables of methods are read off their signatures instead."""

from typing import Annotated, Any, Literal

from annotated_types import Gt
from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Gt(0)]


class Section(BaseModel):
    """Base of the fixed tables: no unknown key, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def table(self) -> dict[str, Any]:
        """The section as TOML has it; None has no place there and is left out."""
        return self.model_dump(mode="json", exclude_none=True)


class SplitSection(Section):
    """How one table becomes three."""

    by: Literal["random", "time", "group"] = Field("random", description="Rows at random, the last rows in time, whole groups.")
    fractions: tuple[float, ...] = Field(
        (0.8, 0.1, 0.1), description="Shares of training, validation and (optionally) test rows."
    )
    column: str | None = Field(None, description="Column of the time or of the group.")
    seed: int = Field(0, description="Seed of a random split and of the hash of groups.")


class DataSection(Section):
    """`[data]`: where rows come from."""

    train: str | None = Field(None, description="File, folder, glob or address of the training table, relative to this file.")
    valid: str | None = Field(None, description="Table for early stopping and the choice of the best checkpoint.")
    test: str | None = Field(None, description="Table that `polytask evaluate` takes where none is named.")
    split: SplitSection | None = Field(None, description="Parts the training table instead of naming other tables.")
    rows: tuple[Positive, ...] = Field(
        (200_000, 50_000, 50_000), description="Rows that a generator makes for training, validation and test."
    )
    weight: str | None = Field(None, description="Column of non-negative row weights.")
    group: str | None = Field(None, description="Column of the list, session or user: what metrics of rankings look inside of.")
    cache: str | None = Field(None, description="Folder of encoded rows; `.cache` beside the run's folder where not given.")


class FeaturesSection(Section):
    """`[features]`: which columns are inputs, where their kind is to be inferred."""

    include: tuple[str, ...] = Field((), description="Columns or patterns such as `user_*`; all columns where empty.")
    exclude: tuple[str, ...] = Field((), description="Columns or patterns that are no inputs.")


class CalibrationSection(Section):
    """`[calibration]`: predicted probabilities that come true as often as they say."""

    name: str = Field(description="Which calibration; `polytask list calibration` shows them.")
    skip: tuple[str, ...] = Field((), description="Tasks and joint predictions that stay as they are.")
    joint: bool = Field(
        True, description="Calibrates joint predictions such as `click_and_buy` on all rows; else they stay as they are."
    )


class TrainSection(Section):
    """`[train]`, as far as a `Plan` does not hold it."""

    batch_size: Positive = Field(1024, description="Rows a batch.")
    seed: int = Field(0, description="Seed of the weights, the order of rows and dropout.")
    tensorboard: bool = Field(False, description="Writes TensorBoard events beside metrics.jsonl.")
