"""Real files, where there are some."""

import os
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="session")
def local_data():
    folder = os.environ.get("POLYTASK_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("POLYTASK_DATA names no folder of public data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def prepared(local_data, tmp_path_factory):
    """Prepares a data set from local files; gives its tables by part and its declared run."""

    def prepare(dataset):
        folder = local_data / dataset.folder
        if not folder.is_dir():
            pytest.skip(f"POLYTASK_DATA holds no {dataset.folder}")
        made = dataset.prepare(folder, tmp_path_factory.mktemp("prepared"))
        tables = {part: pq.read_table(path) for part, path in made.files.items()}
        assert made.rows == {part: table.num_rows for part, table in tables.items()}
        run = tomllib.loads(made.run.read_text())
        assert all((made.run.parent / path).is_file() for path in run["data"].values())
        for table in tables.values():
            check_declared(run, table)
        return tables, run

    return prepare


def check_declared(run, table):
    """Every declared column is there once, and no label is an input."""
    labels = {task.get("label", task["name"]) for task in run["task"]}
    inputs = [feature["name"] for feature in run["feature"]]
    weights = [feature["weights"] for feature in run["feature"] if "weights" in feature]
    assert len(set(inputs)) == len(inputs)
    assert labels.isdisjoint(inputs)
    assert labels | set(inputs) | set(weights) <= set(table.column_names)
