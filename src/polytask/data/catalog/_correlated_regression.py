"""The synthetic data of the MMoE paper as a data set."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pyarrow as pa

from polytask.data.catalog._base import Dataset, Declared, Parts, numeric, regression
from polytask.data.catalog._sources import Source
from polytask.data.synthetic import CorrelatedRegression
from polytask.errors import ConfigError, message

_CHUNK = 16_384
_SHARES = (0.8, 0.1, 0.1)


@final
@dataclass(frozen=True, kw_only=True)
class CorrelatedRegressionRows(Dataset):
    """Two regression tasks of a chosen correlation, as in the MMoE paper.

    Args:
        rows: In all, cut 80/10/10.
        recipe: "ma2018_fig2", "ple2020" or "keras_mmoe".
        correlation: Cosine of the two weight vectors.
        seed: Everything follows from it.
    """

    rows: int = 100_000
    recipe: str = "ma2018_fig2"
    correlation: float = 0.5
    seed: int = 0

    title = "Synthetic regression of the MMoE paper: two tasks of a chosen correlation"
    homepage = "polytask.data.synthetic.CorrelatedRegression"
    folder = "correlated-regression"
    licence = "generated here: free"
    citation = (
        "Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, KDD 2018, section 3.2."
    )
    split = "80/10/10 of independent rows."
    size = "any; 100,000 where not given"

    def __post_init__(self) -> None:
        if self.rows < 10:
            raise ConfigError(message("Three parts need at least 10 rows.", received=self.rows))
        _ = self.generator  # a wrong recipe is told now, not when rows are made

    @property
    def sources(self) -> tuple[Source, ...]:
        """None: it is generated."""
        return ()

    @property
    def tasks(self) -> tuple[Declared, ...]:
        """Two."""
        return regression("y_1"), regression("y_2")

    @property
    def features(self) -> tuple[Declared, ...]:
        """Independent normal numbers."""
        return numeric(*(f"x_{index}" for index in range(self.generator.weights.shape[1])))

    @property
    def generator(self) -> CorrelatedRegression:
        """What makes the rows."""
        return CorrelatedRegression(recipe=self.recipe, correlation=self.correlation, seed=self.seed)

    def parts(self, files: Mapping[str, Path]) -> Parts:  # noqa: ARG002 - nothing is read
        """Rows in the order of the generator."""
        train, valid = (round(self.rows * share) for share in _SHARES[:2])
        edges = {"train": (0, train), "valid": (train, train + valid), "test": (train + valid, self.rows)}
        return {part: self._pieces(*edge) for part, edge in edges.items()}

    def _pieces(self, start: int, stop: int) -> Iterator[pa.Table]:
        for begin in range(start, stop, _CHUNK):
            yield self.generator.table(begin, min(begin + _CHUNK, stop))
