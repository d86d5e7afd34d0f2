"""UCI Adult, the small sister of Census-Income."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pyarrow as pa
import pyarrow.compute as pc

from polytask.data.catalog._base import Dataset, Declared, Parts, binary, categorical, numeric, regression
from polytask.data.catalog._sources import Source
from polytask.data.catalog._tables import cut, flag, read_text, to_missing, to_numbers

_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult"
_COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship"),
    *("race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"),
)
_NUMBERS = ("age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week")
_WITH_MISSING = ("workclass", "occupation", "native_country")


@final
@dataclass(frozen=True, kw_only=True)
class Adult(Dataset):
    """UCI Adult: income, never married, bachelor's degree and hours a week on 48,842 people; minutes of training, not hours."""

    title = "UCI Adult: extract of the US census of 1994"
    homepage = "https://archive.ics.uci.edu/dataset/2/adult"
    folder = "adult"
    licence = "CC BY 4.0"
    citation = "Becker and Kohavi, Adult, UCI Machine Learning Repository, 1996."
    split = "Official test file; a tenth of the official training file is validation, by a fixed seed."
    size = "29,305 train, 3,256 valid, 16,281 test"
    traps = (
        "relationship gives marital status away and education_num is education: neither is an input.",
        "fnlwgt says how many people a row stands for; it is no input and is left out.",
        "In the test file the first line is a comment and labels end with a dot.",
    )

    @property
    def sources(self) -> tuple[Source, ...]:
        """The two official files."""
        train = "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d"
        test = "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05"
        return (
            Source("adult.data", train, 3_974_305, (f"{_UCI}/adult.data",)),
            Source("adult.test", test, 2_003_153, (f"{_UCI}/adult.test",)),
        )

    @property
    def tasks(self) -> tuple[Declared, ...]:
        """Three flags and a quantity."""
        return binary("income"), binary("never_married"), binary("bachelor"), regression("hours_per_week")

    @property
    def features(self) -> tuple[Declared, ...]:
        """What gives none of the tasks away."""
        nominal = ("workclass", "occupation", "race", "sex", "native_country")
        return *numeric("age", "capital_gain", "capital_loss"), *categorical(*nominal)

    def parts(self, files: Mapping[str, Path]) -> Parts:
        """Rows in the order of their file."""
        rest, test = _read(files["adult.data"]), _read(files["adult.test"], skip=1)
        train, valid = cut(rest.num_rows, (0.9, 0.1), seed=0)
        return {"train": [rest.take(train)], "valid": [rest.take(valid)], "test": [test]}


def _read(path: Path, skip: int = 0) -> pa.Table:
    table = to_missing(to_numbers(read_text(path, _COLUMNS, skip=skip), _NUMBERS, pa.int32()), _WITH_MISSING)
    table = table.set_column(len(_COLUMNS) - 1, "income", flag(table["income"], (">50K", ">50K.")))
    table = table.append_column("never_married", flag(table["marital_status"], ("Never-married",)))
    table = table.append_column("bachelor", pc.cast(pc.greater_equal(table["education_num"], 13), pa.int8()))
    return table.drop_columns(["fnlwgt", "education", "education_num", "marital_status", "relationship"])
