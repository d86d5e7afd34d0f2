"""Public data sets: where they are, what they hold, how they are cut; and generated ones in the same form."""

from polytask.data.catalog._adult import Adult
from polytask.data.catalog._ali_ccp import AliCcp
from polytask.data.catalog._aliexpress import AliExpress
from polytask.data.catalog._base import Dataset, Prepared
from polytask.data.catalog._byterec import ByteRec
from polytask.data.catalog._census_income import CensusIncome
from polytask.data.catalog._correlated_regression import CorrelatedRegressionRows
from polytask.data.catalog._feed import FeedLog
from polytask.data.catalog._hillstrom import Hillstrom
from polytask.data.catalog._movielens_100k import MovieLens100k
from polytask.data.catalog._open_bandit import OpenBandit
from polytask.data.catalog._sarcos import Sarcos
from polytask.data.catalog._school import School
from polytask.data.catalog._tox21 import Tox21

DATASETS: dict[str, type[Dataset]] = {
    "adult": Adult,
    "ali_ccp": AliCcp,
    "aliexpress": AliExpress,
    "byterec": ByteRec,
    "census_income": CensusIncome,
    "correlated_regression": CorrelatedRegressionRows,
    "feed": FeedLog,
    "hillstrom": Hillstrom,
    "movielens_100k": MovieLens100k,
    "open_bandit": OpenBandit,
    "sarcos": Sarcos,
    "school": School,
    "tox21": Tox21,
}

__all__ = [
    "DATASETS",
    "Adult",
    "AliCcp",
    "AliExpress",
    "ByteRec",
    "CensusIncome",
    "CorrelatedRegressionRows",
    "Dataset",
    "FeedLog",
    "Hillstrom",
    "MovieLens100k",
    "OpenBandit",
    "Prepared",
    "Sarcos",
    "School",
    "Tox21",
]
