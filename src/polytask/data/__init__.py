"""From tables to batches: what columns mean, how they become numbers, how rows are kept, split and loaded."""

from polytask.data.columns import Columns, RaggedColumn
from polytask.data.fields import CategoricalField, MultiValuedField, NumericField
from polytask.data.formats import FORMATS, Csv, Table
from polytask.data.infer import Proposal, infer_schema, propose_features
from polytask.data.loader import Loader
from polytask.data.preprocess import Preprocessing
from polytask.data.propose import propose_tasks
from polytask.data.schema import FEATURES, Categorical, Feature, MultiValued, Numeric, Schema
from polytask.data.split import PartTable, split
from polytask.data.store import EncodedRows, EncodedView, Rows
from polytask.data.table import open_table

__all__ = [
    "FEATURES",
    "FORMATS",
    "Categorical",
    "CategoricalField",
    "Columns",
    "Csv",
    "EncodedRows",
    "EncodedView",
    "Feature",
    "Loader",
    "MultiValued",
    "MultiValuedField",
    "Numeric",
    "NumericField",
    "PartTable",
    "Preprocessing",
    "Proposal",
    "RaggedColumn",
    "Rows",
    "Schema",
    "Table",
    "infer_schema",
    "open_table",
    "propose_features",
    "propose_tasks",
    "split",
]
