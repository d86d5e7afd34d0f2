"""Encoders: encoded columns in, one representation a row out."""

from polytask.encoders._base import Encoder, FittedColumns
from polytask.encoders._embedding import EmbeddingTable
from polytask.encoders._linear import RobustLinear
from polytask.encoders._lookup import touched_rows
from polytask.encoders._numeric import NumericEmbedding
from polytask.encoders._pages import huge_pages
from polytask.encoders._periodic import Periodic
from polytask.encoders._piecewise import PiecewiseLinear
from polytask.encoders._tabular import NUMERIC_EMBEDDINGS, Tabular

ENCODERS: dict[str, type[Encoder]] = {
    "tabular": Tabular,
}

__all__ = [
    "ENCODERS",
    "NUMERIC_EMBEDDINGS",
    "EmbeddingTable",
    "Encoder",
    "FittedColumns",
    "NumericEmbedding",
    "Periodic",
    "PiecewiseLinear",
    "RobustLinear",
    "Tabular",
    "huge_pages",
    "touched_rows",
]
