"""Sources: paths, folders, patterns, URIs, filesystems; what is wrong with them is said."""

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.data import Csv, open_table
from polytask.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path):
    for name, values in {"a": [1, 2], "b": [3], "sub/c": [4]}.items():
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"x": values, "y": values}), path)
    (tmp_path / ".hidden.parquet").write_text("no parquet")
    return tmp_path


def values(table):
    return [value for batch in table.batches(["x"]) for value in batch.column(0).to_pylist()]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", [1, 2, 3, 4]),
        ("/", [1, 2, 3, 4]),
        ("/*.parquet", [1, 2, 3]),
        ("/**/*.parquet", [1, 2, 3, 4]),
        ("/[!a].parquet", [3]),
        ("/?.parquet", [1, 2, 3]),
        ("/s*/c.parquet", [4]),
    ],
)
def test_folders_and_patterns(folder, pattern, expected):
    assert values(open_table(f"{folder}{pattern}")) == expected
    assert values(open_table(f"file://{folder}{pattern}")) == expected


def test_relative_paths_and_lists(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert values(open_table("*.parquet")) == [1, 2, 3]
    assert values(open_table("sub/*.parquet")) == [4]
    assert values(open_table(["b.parquet", folder / "a.parquet"])) == [3, 1, 2]


def test_filesystems_of_arrow_and_fsspec(folder):
    inside = pafs.SubTreeFileSystem(str(folder), pafs.LocalFileSystem())
    assert values(open_table("b.parquet", filesystem=inside)) == [3]
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/polytask/x.csv", b"x,y\n5,6\n")
    assert values(open_table("/polytask/x.csv", filesystem=memory)) == [5]
    assert values(open_table("memory://polytask/*.csv")) == [5]


def test_a_name_with_brackets_is_a_name_first(folder):
    (folder / "a[1].csv").write_text("x,y\n9,9\n")
    assert values(open_table(folder / "a[1].csv")) == [9]


def test_the_format_is_known_by_the_first_bytes(folder):
    (folder / "a.parquet").rename(folder / "a.bin")
    assert values(open_table(folder / "a.bin")) == [1, 2]
    assert values(open_table(folder / "a.bin", format="parquet")) == [1, 2]


def test_what_is_not_there_is_said_with_the_nearest(folder):
    with pytest.raises(DataError, match=r"No such file.*aa\.parquet.*Did you mean 'a\.parquet'"):
        open_table(folder / "aa.parquet")
    with pytest.raises(DataError, match=r"pattern must match.*\*\.csv"):
        open_table(folder / "*.csv")
    with pytest.raises(DataError, match="at least one file"):
        open_table([])
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="must hold data files"):
        open_table(folder / "empty")
    with pytest.raises(DataError, match="nowhere://"):
        open_table("nowhere://host/a.csv")


def test_formats_are_not_mixed_nor_misnamed(folder):
    (folder / "d.csv").write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match=r"one format.*csv, parquet.*pattern"):
        open_table(folder)
    with pytest.raises(ConfigError, match=r"'parqet'.*Did you mean 'parquet'"):
        open_table(folder / "a.parquet", format="parqet")
    with pytest.raises(ConfigError, match="belong to text files"):
        open_table(folder / "a.parquet", csv=Csv())


def test_unknown_columns_are_named_with_the_nearest(folder):
    with pytest.raises(DataError, match=r"Unknown column.*'xx', 'zz'.*Did you mean 'x'"):
        open_table(folder / "a.parquet").batches(["x", "xx", "zz"])


def test_the_fingerprint_changes_with_the_file(folder):
    before = open_table(folder).fingerprint()
    assert before == open_table(folder).fingerprint()
    pq.write_table(pa.table({"x": [3, 3], "y": [3, 3]}), folder / "b.parquet")
    assert before != open_table(folder).fingerprint()


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8), rows=st.integers(1, 12))
def test_batches_do_not_depend_on_the_pieces_of_the_source(sizes, rows):
    whole = pa.table({"x": pa.array(range(sum(sizes)), pa.int64())})
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    pieces = pa.concat_tables([whole.slice(start, size) for start, size in zip(starts, sizes, strict=True)])
    batches = list(open_table(pieces).batches(rows=rows))
    assert all(batch.num_rows == rows for batch in batches[:-1])
    assert [value for batch in batches for value in batch.column(0).to_pylist()] == list(range(sum(sizes)))
