"""Arrow IPC files and streams."""

import pyarrow as pa
import pyarrow.feather as feather
import pytest

from polytask.data import open_table
from polytask.errors import DataError

TABLE = pa.table({"a": list(range(10)), "s": [f"t{i}" for i in range(10)], "l": [[i] * (i % 3) for i in range(10)]})


def write(path, *, stream=False):
    opening = pa.ipc.new_stream if stream else pa.ipc.new_file
    with opening(str(path), TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=4)
    return path


@pytest.mark.parametrize("stream", [False, True])
def test_rows_come_in_order_and_only_the_columns_asked_for(tmp_path, stream):
    table = open_table(write(tmp_path / "a.arrow", stream=stream))
    assert table.num_rows == (None if stream else 10)
    batches = list(table.batches(["l", "a"], rows=3))
    assert [batch.num_rows for batch in batches] == [3, 3, 3, 1]
    assert pa.Table.from_batches(batches).equals(TABLE.select(["l", "a"]))


def test_compressed_feather_is_read(tmp_path):
    feather.write_feather(TABLE, str(tmp_path / "a.feather"), compression="zstd")
    assert pa.Table.from_batches(open_table(tmp_path / "a.feather").batches()).equals(TABLE)


def test_files_follow_one_another(tmp_path):
    table = open_table([write(tmp_path / "b.arrow"), write(tmp_path / "a.arrow")])
    assert table.num_rows == 20
    assert table.describe(12) == f"{tmp_path}/a.arrow, row 2"


def test_a_truncated_file_is_refused(tmp_path):
    path = write(tmp_path / "a.arrow")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"a\.arrow must be readable"):
        open_table(path)


def test_a_file_without_a_column_of_the_first_is_refused(tmp_path):
    first = write(tmp_path / "a.arrow")
    feather.write_feather(TABLE.drop_columns(["s"]), str(tmp_path / "b.feather"))
    with pytest.raises(DataError, match=r"b\.feather must have the columns of the first file.*no 's'"):
        list(open_table([first, tmp_path / "b.feather"]).batches())
