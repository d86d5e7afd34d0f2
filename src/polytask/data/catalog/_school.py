"""School (ILEA): one regression task a school."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from polytask.data.catalog._base import Dataset, Declared, Parts, numeric, regression
from polytask.data.catalog._matlab import read_matlab
from polytask.data.catalog._sources import Source
from polytask.data.catalog._tables import cut
from polytask.errors import ConfigError, message

_REPOSITORY = "https://raw.githubusercontent.com/tjanez/PyMTL/97dfc15be3769240f2099d036ce2b55b30a56f5f/data/school"
_NUM_SCHOOLS, _NUM_ROWS, _NUM_TRAIN = 139, 15_362, 11_472
_SCORES = tuple(f"score_{school:03d}" for school in range(1, _NUM_SCHOOLS + 1))
_FEATURES = (
    *("year_1985", "year_1986", "year_1987", "free_meals_percent", "band_1_percent"),
    *(f"attribute_{index:02d}" for index in range(6, 28)),
)
"""The first five are told by their values; the source does not say in which order the other 22 indicators stand."""
_SPLITS = (
    "030c9ca0a73d6264aa1eeac49aba1d760a1b5692cd3124667e74a7a2b7751bc5",
    "63d3a076a4cdd3de81825d3cf0c030b93bdc60e912eaed4763ee224efab163f8",
    "f7f68e3adb50db8094e230c2b83d548790379cd93ad98fadb35ff2999762dbe6",
    "02643928224056a61e25dec8d4841dba5195ed9affdc76fdc697854a2506d142",
    "6ed00a453d582dce4397f6f49120cff803c22f53cfb2dd63a3826c359c24bcdf",
    "ca853babe5b7f0f5812e7f4261f8b5e5728f1b3b06711e56a76b27b7f959f379",
    "b72105509c70f94f48c7c8b0e1359c6c0ea630c7ac588337b412f946ede62283",
    "8ad60073b135220f1a6f49fdd79b4430b6a0c8ce9925a22dcc5a09141f5b1c04",
    "0de74247d93c413b690ebb65e2e7beb1c55f05b2a2d5db46469e673a552cccf2",
    "b408742eab66cd124563493057b080fd39e5075f48b4c391c53e5f6a1a4c8df1",
)


@final
@dataclass(frozen=True, kw_only=True)
class School(Dataset):
    """School (ILEA): examination scores in 139 schools, one regression task each; the classical many-task benchmark.

    Args:
        fold: Which of the ten usual splits, 1 to 10.

    Raises:
        ConfigError: If there is no such split.
    """

    fold: int = 1

    title = "School (ILEA): examination scores, one task for each of 139 schools"
    homepage = "https://www.bristol.ac.uk/cmm/"
    folder = "school"
    licence = "free for research; no formal licence"
    citation = (
        "Goldstein, Multilevel modelling of survey data, The Statistician 40, 1991. Splits: Argyriou, Evgeniou and Pontil, 2008."
    )
    split = "One of the ten usual 75/25 splits within schools; a tenth of its training rows is validation, by a fixed seed."
    size = "15,362 in all, 10,325 train, 1,147 valid, 3,890 test for split 1"
    traps = ("A row has a label in one of 139 tasks, that of its school; the others are missing, not zero.",)

    def __post_init__(self) -> None:
        if not 1 <= self.fold <= len(_SPLITS):
            raise ConfigError(message(f"School has the splits 1 to {len(_SPLITS)}.", received=self.fold))

    @property
    def sources(self) -> tuple[Source, ...]:
        """All rows, and one split."""
        rows = "973f1ca99d0d41a838ec6ae86001a48e7b69391eb74646b9e4fc54f62866a146"
        name = f"school_{self.fold}_indexes.mat"
        return (
            Source("school_b.mat", rows, 40_592, (f"{_REPOSITORY}/school_b.mat",)),
            Source(name, _SPLITS[self.fold - 1], 40_000, (f"{_REPOSITORY}/{name}",)),
        )

    @property
    def tasks(self) -> tuple[Declared, ...]:
        """One a school."""
        return tuple(regression(name) for name in _SCORES)

    @property
    def features(self) -> tuple[Declared, ...]:
        """27 numbers; the constant of the source is left out."""
        return numeric(*_FEATURES)

    def parts(self, files: Mapping[str, Path]) -> Parts:
        """Rows in the order of the source."""
        data = read_matlab(files["school_b.mat"], x=(28, _NUM_ROWS), y=(_NUM_ROWS, 1), task_indexes=(_NUM_SCHOOLS, 1))
        first = data["task_indexes"].ravel().astype(np.int64) - 1
        table = _table(data["x"][:27].astype(np.int16), data["y"].ravel().astype(float), first)
        rows = self._rows(files[f"school_{self.fold}_indexes.mat"])
        return {part: [table.take(part_rows)] for part, part_rows in rows.items()}

    def _rows(self, path: Path) -> dict[str, Int[np.ndarray, " m"]]:
        index = read_matlab(path, tr=(1, _NUM_TRAIN), tst=(1, _NUM_ROWS - _NUM_TRAIN))
        learn, test = (np.sort(index[name].ravel().astype(np.int64)) - 1 for name in ("tr", "tst"))
        train, valid = cut(len(learn), (0.9, 0.1), seed=0)
        return {"train": learn[train], "valid": learn[valid], "test": test}


def _table(x: Int[np.ndarray, "27 n"], y: Float[np.ndarray, " n"], first: Int[np.ndarray, " s"]) -> pa.Table:
    columns = {name: pa.array(values) for name, values in zip(_FEATURES, x, strict=True)}
    school = np.searchsorted(first, np.arange(len(y)), side="right") - 1
    columns["school"] = pa.array((school + 1).astype(np.int16))
    return pa.table(columns | {name: pa.array(y, mask=school != index) for index, name in enumerate(_SCORES)})
