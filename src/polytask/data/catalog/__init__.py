"""Public data sets: where they are, what they hold, how they are cut."""

from polytask.data.catalog._base import Dataset, Prepared
from polytask.data.catalog._census_income import CensusIncome

DATASETS: dict[str, type[Dataset]] = {
    "census_income": CensusIncome,
}

__all__ = ["DATASETS", "CensusIncome", "Dataset", "Prepared"]
