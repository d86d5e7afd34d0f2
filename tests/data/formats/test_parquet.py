"""Parquet: files, folders, partitions; damaged ones are refused by name."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polytask.data import open_table
from polytask.errors import DataError


def rows(table, columns=None, **options):
    return [row for batch in table.batches(columns, **options) for row in batch.to_pylist()]


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


def test_batches_have_the_wanted_size_whatever_the_row_groups(tmp_path):
    table = open_table(write(tmp_path / "a.parquet", a=list(range(11)), s=[f"t{i % 4}" for i in range(11)]))
    assert table.num_rows == 11
    assert [batch.num_rows for batch in table.batches(rows=4)] == [4, 4, 3]
    assert rows(table, ["s", "a"], rows=4) == [{"s": f"t{i % 4}", "a": i} for i in range(11)]


def test_partitions_become_columns(tmp_path):
    write(tmp_path / "day=2" / "land=CH%2FBE" / "a.parquet", a=[3])
    write(tmp_path / "day=10" / "land=__HIVE_DEFAULT_PARTITION__" / "a.parquet", a=[4, 5])
    table = open_table(tmp_path)
    # Paths are sorted as text, so 10 comes before 2.
    assert rows(table) == [
        {"a": 4, "day": 10, "land": None},
        {"a": 5, "day": 10, "land": None},
        {"a": 3, "day": 2, "land": "CH/BE"},
    ]
    assert rows(table, ["land"])[-1] == {"land": "CH/BE"}
    assert table.describe(2).endswith("day=2/land=CH%2FBE/a.parquet, row 0")


def test_columns_that_grow_and_widen(tmp_path):
    write(tmp_path / "1.parquet", a=pa.array([1], pa.int32()), s=pa.nulls(1))
    write(tmp_path / "2.parquet", a=pa.array([2.5]), s=["x"], new=[True])
    assert rows(open_table(tmp_path)) == [{"a": 1.0, "s": None, "new": None}, {"a": 2.5, "s": "x", "new": True}]


def test_contradicting_types_are_named(tmp_path):
    write(tmp_path / "1.parquet", a=[1], b=[1])
    write(tmp_path / "2.parquet", a=[1], b=["x"])
    with pytest.raises(DataError, match=r"Column 'b' needs one type.*int64 in .*1\.parquet, string in .*2\.parquet"):
        open_table(tmp_path)


@pytest.mark.parametrize("keep", [3, 0.5, -1])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = write(tmp_path / "cut.parquet", a=list(range(1000)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=r"cut\.parquet must be readable.*Is the file complete"):
        open_table(path)


def test_a_file_corrupt_inside_is_refused_on_reading(tmp_path):
    path = write(tmp_path / "bad.parquet", a=list(range(100_000)))
    content = bytearray(path.read_bytes())
    content[4:2000] = b"\xff" * 1996
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.parquet must be readable"):
        rows(open_table(path))


def test_duplicate_columns_are_refused(tmp_path):
    path = tmp_path / "twice.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    with pytest.raises(DataError, match=r"twice\.parquet need distinct names.*twice: 'a'"):
        open_table(path)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.parquet").touch()
    with pytest.raises(DataError, match=r"a\.parquet must hold data.*an empty file"):
        open_table(tmp_path / "a.parquet")
