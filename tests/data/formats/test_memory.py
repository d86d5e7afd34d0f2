"""Frames that are in memory, of any library."""

import subprocess
import sys

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from polytask.data import open_table
from polytask.errors import DataError

COLUMNS = {"a": [1, 2, 3], "s": ["x", None, "y"]}
FRAMES = {
    "pyarrow table": lambda: pa.table(COLUMNS),
    "record batch": lambda: pa.RecordBatch.from_pydict(COLUMNS),
    "reader": lambda: pa.table(COLUMNS).to_reader(),
    "pandas": lambda: pd.DataFrame(COLUMNS, index=[7, 8, 9]),
    "polars": lambda: pl.DataFrame(COLUMNS),
    "lazy": lambda: pl.LazyFrame(COLUMNS),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_are_read_alike(kind):
    table = open_table(FRAMES[kind]())
    assert (table.names, table.num_rows) == (("a", "s"), 3)
    for _ in range(2):  # also a reader that can be read but once
        assert [row for batch in table.batches(rows=2) for row in batch.to_pylist()] == pa.table(COLUMNS).to_pylist()


def test_the_fingerprint_is_of_the_content():
    whole = pa.table({"a": list(range(100))})
    pieces = pa.concat_tables([whole.slice(0, 37), whole.slice(37)])
    assert open_table(whole).fingerprint() == open_table(pieces).fingerprint()
    assert open_table(whole).fingerprint() != open_table(whole.slice(1)).fingerprint()
    assert open_table(whole).fingerprint() != open_table(whole.rename_columns(["b"])).fingerprint()


def test_columns_of_mixed_type_or_one_name_are_refused():
    with pytest.raises(DataError, match=r"pandas DataFrame.*one type"):
        open_table(pd.DataFrame({"a": [1, "x"]}))
    with pytest.raises(DataError, match="twice: 'a'"):
        open_table(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(DataError, match=r"path or a frame.*int"):
        open_table(3)


def test_neither_pandas_nor_polars_is_needed():
    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("pandas", "polars"):
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
import pyarrow as pa
from polytask.data import open_table
table = open_table(pa.table({"a": [1]}))
table.fingerprint(), list(table.batches())
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
