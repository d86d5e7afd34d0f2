"""Two regression tasks of a chosen correlation: the synthetic data of the MMoE paper."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from polytask.errors import ConfigError, message, nearest
from polytask.files import replacing

_BLOCK = 4_096
_NOISE_VARIANCE = 0.01


class Recipe(NamedTuple):
    """Constants of a published set-up.

    Args:
        num_features: Dimensions d of the input.
        scale: Length c of the weight vectors.
        num_sines: Terms m of the non-linear part.
        frequencies: alpha, or empty where each seed draws its own from N(0, 1).
        phases: beta, likewise.
    """

    num_features: int
    scale: float
    num_sines: int
    frequencies: tuple[float, ...] = ()
    phases: tuple[float, ...] = ()


RECIPES = {
    # The paper prints neither c, m, alpha nor beta. These reproduce its Figure 2; they are not the only ones that do.
    "ma2018_fig2": Recipe(100, 0.571, 4, (3.62, 6.42, 10.64, 13.58), (1.5 * math.pi,) * 4),
    # Section 5.1 of Tang et al. 2020.
    "ple2020": Recipe(512, 1.0, 10),
    # The public code drawbridge/keras-mmoe.
    "keras_mmoe": Recipe(100, 0.3, 5),
}


@final
@dataclass(frozen=True, kw_only=True)
class CorrelatedRegression:
    """Two regression tasks whose weight vectors have a given cosine: how related tasks are, in one number.

    `y_k = w_k·x + Σ_i sin(α_i w_k·x + β_i) + ε`, `w_1 = c u_1`, `w_2 = c (p u_1 + √(1-p²) u_2)`, u orthonormal, `x ~ N(0, I)`,
    `ε ~ N(0, 0.01)`. The same α, β serve both tasks.

    Use `ma2018_fig2` to study how architectures bear with conflict: its labels are strongly non-linear, so a cosine of .9 is
    a label correlation of .3 only. With the public recipes `ple2020` and `keras_mmoe`, labels of cosine .5 still correlate
    by .3 to .4, and most of the conflict is gone.

    Source: Ma et al. 2018 (MMoE), section 3.2.
    Differs: the constants of `ma2018_fig2` are recovered from the paper's Figure 2.

    Args:
        recipe: Published set-up: "ma2018_fig2", "ple2020" or "keras_mmoe".
        correlation: Cosine p of the two weight vectors, in [-1, 1].
        seed: Of weights, constants (where the recipe draws them) and rows.

    Raises:
        ConfigError: On an unknown recipe or a correlation outside [-1, 1].

    Example:
        >>> data = CorrelatedRegression(correlation=0.9)
        >>> x, y = data.arrays(0, 8)
        >>> x.shape, y.shape
        ((8, 100), (8, 2))
        >>> round(data.label_correlation, 3)
        0.306
    """

    recipe: str = "ma2018_fig2"
    correlation: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            way_out = nearest(self.recipe, RECIPES)
            raise ConfigError(message("The recipe must be a published one.", received=repr(self.recipe), way_out=way_out))
        if not -1 <= self.correlation <= 1:
            raise ConfigError(message("The correlation must lie in [-1, 1].", received=self.correlation))

    @cached_property
    def weights(self) -> Float[np.ndarray, "2 d"]:
        """w_1 and w_2, of length c and cosine p."""
        recipe = RECIPES[self.recipe]
        normal = np.random.default_rng([self.seed, 0]).standard_normal((recipe.num_features, 2))
        first, second = np.linalg.qr(normal)[0].T
        across = math.sqrt(1 - self.correlation**2)
        return np.asarray(recipe.scale * np.stack([first, self.correlation * first + across * second]))

    @cached_property
    def constants(self) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Frequencies alpha and phases beta."""
        recipe = RECIPES[self.recipe]
        if recipe.frequencies:
            return np.array(recipe.frequencies), np.array(recipe.phases)
        frequencies, phases = np.random.default_rng([self.seed, 1]).standard_normal((2, recipe.num_sines))
        return frequencies, phases

    @property
    def label_variance(self) -> float:
        """Var(y), in closed form; the noise floor of a standardised label is 0.01 divided by this."""
        return self._covariance(1.0) + _NOISE_VARIANCE

    @property
    def label_correlation(self) -> float:
        """Pearson correlation of the two labels, in closed form."""
        return self._covariance(self.correlation) / self.label_variance

    def arrays(self, start: int, stop: int) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n 2"]]:
        """Inputs and labels of rows `start` to `stop`; the same rows however they are cut."""
        if not 0 <= start < stop:
            raise ConfigError(message("Rows must be 0 <= start < stop.", received=(start, stop)))
        pieces = list(self._pieces(start, stop))
        return np.concatenate([x for x, _ in pieces]), np.concatenate([y for _, y in pieces])

    def table(self, start: int, stop: int) -> pa.Table:
        """The same rows with columns `x_0`, `x_1`, ..., `y_1`, `y_2`, in single precision."""
        x, y = self.arrays(start, stop)
        columns = {f"x_{index}": column for index, column in enumerate(x.T.astype(np.float32))}
        return pa.table(columns | {f"y_{index}": column for index, column in enumerate(y.T.astype(np.float32), start=1)})

    def write(self, path: str | os.PathLike[str], rows: int, *, start: int = 0) -> None:
        """Writes rows as Parquet, whole or not at all, a block in memory at a time.

        Args:
            path: File.
            rows: Number of rows.
            start: First row.
        """
        step = 4 * _BLOCK
        schema = self.table(start, start + 1).schema
        with replacing(path) as scratch, pq.ParquetWriter(scratch, schema) as writer:
            for begin in range(start, start + rows, step):
                writer.write_table(self.table(begin, min(begin + step, start + rows)))

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n 2"]]]:
        frequencies, phases = self.constants
        for block in range(start // _BLOCK, -(-stop // _BLOCK)):
            rng = np.random.default_rng([self.seed, 2, block])
            x = rng.standard_normal((_BLOCK, RECIPES[self.recipe].num_features))
            noise = math.sqrt(_NOISE_VARIANCE) * rng.standard_normal((_BLOCK, 2))
            # Cut after the product: the order of its sums may depend on the number of rows.
            signal = x @ self.weights.T
            y = signal + np.sin(signal[..., None] * frequencies + phases).sum(-1) + noise
            rows = slice(max(start - block * _BLOCK, 0), stop - block * _BLOCK)
            yield x[rows], y[rows]

    def _covariance(self, p: float) -> float:
        """Cov(y_1, y_2) of labels without noise whose signals have cosine p (characteristic functions of normals)."""
        c = RECIPES[self.recipe].scale
        frequencies, phases = self.constants
        a = frequencies * c
        linear = c**2 * p + 2 * c * p * np.sum(a * np.exp(-(a**2) / 2) * np.cos(phases))
        squares = a[:, None] ** 2 + a**2
        cross, together, apart = 2 * p * np.outer(a, a), phases[:, None] + phases, phases[:, None] - phases
        sines = np.cos(apart) * np.exp(-(squares - cross) / 2) - np.cos(together) * np.exp(-(squares + cross) / 2)
        means = np.outer(np.sin(phases), np.sin(phases)) * np.exp(-squares / 2)
        return float(linear + np.sum(sines / 2 - means))
