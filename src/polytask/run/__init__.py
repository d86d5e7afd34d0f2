"""A run: from a configuration to a trained directory, and from there to metrics and predictions."""

from polytask.run._check import check
from polytask.run._columns import columns_of
from polytask.run._directory import RunDirectory, fresh_directory
from polytask.run._evaluate import evaluate
from polytask.run._fit import fit
from polytask.run._fitted import Evaluation, Fitted, load
from polytask.run._fuse import SearchRequest, fuse_table, read_search
from polytask.run._prepare import Prepared, cache_folder, prepare
from polytask.run._propose import propose
from polytask.run._train import Trained, train

__all__ = [
    "Evaluation",
    "Fitted",
    "Prepared",
    "RunDirectory",
    "SearchRequest",
    "Trained",
    "cache_folder",
    "check",
    "columns_of",
    "evaluate",
    "fit",
    "fresh_directory",
    "fuse_table",
    "load",
    "prepare",
    "propose",
    "read_search",
    "train",
]
