"""Delimited text: dialects found out, types that stay, and errors that name the line."""

import gzip

import pyarrow as pa
import pytest

from polytask.data import Csv, open_table
from polytask.errors import ConfigError, DataError


def rows(table, columns=None):
    return [row for batch in table.batches(columns) for row in batch.to_pylist()]


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".csv", ";"), (".tsv", "\t"), (".txt", "|"), (".txt", "\t")])
def test_the_delimiter_is_found_out(tmp_path, suffix, delimiter):
    path = write(tmp_path / f"a{suffix}", f'age{delimiter}city\n20{delimiter}"Bern{delimiter} CH"\n31{delimiter}Rome\n')
    assert rows(open_table(path)) == [{"age": 20, "city": f"Bern{delimiter} CH"}, {"age": 31, "city": "Rome"}]


@pytest.mark.parametrize("codec", ["gzip", "bz2", "zstd"])
def test_compressed_text_is_read_as_a_stream(tmp_path, codec):
    path = tmp_path / f"a.csv.{ {'gzip': 'gz', 'bz2': 'bz2', 'zstd': 'zst'}[codec] }"
    with pa.output_stream(str(path), compression=codec) as sink:
        sink.write(b"a,b\n" + b"1,x\n" * 70_000)
    sizes = [batch.num_rows for batch in open_table(path).batches(["b"], rows=30_000)]
    assert sizes == [30_000, 30_000, 10_000]


def test_na_is_a_category_unless_it_is_declared_missing(tmp_path):
    path = write(tmp_path / "a.csv", "origin,age\nNA,1\n,NULL\nnone,3\n")
    assert [row["origin"] for row in rows(open_table(path))] == ["NA", None, "none"]
    declared = open_table(path, csv=Csv(null_values=("NA", "NULL")))
    assert rows(declared) == [{"origin": None, "age": 1}, {"origin": None, "age": None}, {"origin": "none", "age": 3}]


def test_a_space_after_each_delimiter_belongs_to_it(tmp_path):
    path = write(tmp_path / "a.data", "39, State gov, ?, 1\n50, Private , NA, 2\n")
    table = open_table(path, csv=Csv(names=("age", "job", "origin", "k"), null_values=("?",)))
    assert rows(table) == [
        {"age": 39, "job": "State gov", "origin": None, "k": 1},
        {"age": 50, "job": "Private", "origin": "NA", "k": 2},
    ]


def test_names_may_replace_a_header(tmp_path):
    path = write(tmp_path / "a.csv", "x,y\n1,2\n")
    assert rows(open_table(path, csv=Csv(names=("a", "b"), header=True))) == [{"a": 1, "b": 2}]


def test_a_missing_header_is_noticed(tmp_path):
    path = write(tmp_path / "a.csv", "39,gov,13\n50,private,14\n")
    with pytest.raises(DataError, match=r"must name the columns.*'39,gov,13'.*Give `names`"):
        open_table(path)
    assert open_table(path, csv=Csv(header=True)).names == ("39", "gov", "13")
    # Numbers that only count the columns, or a header of codes beside named columns, are names.
    assert open_table(write(tmp_path / "b.csv", "0,1,2\n5,6,7\n")).names == ("0", "1", "2")
    assert open_table(write(tmp_path / "c.csv", "click,101\n0,77\n")).names == ("click", "101")


def test_a_ragged_line_is_named(tmp_path):
    path = write(tmp_path / "a.csv", "a,b\n1,x\n2,y,z\n3,w\n")
    with pytest.raises(DataError, match=r"a\.csv, line 3, must have 2 values.*3 values in '2,y,z'.*Quote"):
        rows(open_table(path))


def test_a_ragged_line_far_down_is_named_rightly(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,xxxxxxxxxxxx\n" * 700_000 + b"7\n"))
    with pytest.raises(DataError, match=r"line 700002,.*1 values"):
        rows(open_table(path))


def test_a_later_value_of_another_type_is_named_with_a_way_out(tmp_path):
    path = write(tmp_path / "a.csv", "pad,code\n" + "xxxxxxxxxxxxxxxx,17\n" * 300_000 + "x,B7\n")
    with pytest.raises(
        DataError, match=r"line 300002, column 'code', must be int64.*'B7'.*types=\{'code': 'number'\}.*categorical"
    ):
        rows(open_table(path))
    table = open_table(path, csv=Csv(types={"code": "text"}))
    assert table.schema.field("code").type == pa.string()
    assert rows(table, ["code"])[-1] == {"code": "B7"}


def test_a_column_empty_at_first_has_the_type_of_its_first_value(tmp_path):
    path = write(tmp_path / "a.csv", "pad,late,never\n" + "xxxxxxxxxxxxxxxx,,\n" * 300_000 + "x,2.5,\n")
    table = open_table(path)
    assert [field.type for field in table.schema] == [pa.string(), pa.float64(), pa.null()]
    assert rows(table, ["late"])[-1] == {"late": 2.5}


def test_several_files_are_one_table(tmp_path):
    write(tmp_path / "b.csv", "a,b\n3,y\n")
    write(tmp_path / "a.csv", "a,b\n1,x\n2,x\n")
    write(tmp_path / "_SUCCESS", "")
    table = open_table(tmp_path)
    assert [row["a"] for row in rows(table)] == [1, 2, 3]
    assert table.describe(2) == f"{tmp_path}/b.csv, row 0"
    write(tmp_path / "c.csv", "a,c\n3,y\n")
    with pytest.raises(DataError, match=r"c\.csv must have the header of the first file.*a, c after a, b"):
        rows(open_table(tmp_path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"\n\n", "an empty file"),
        (b"a,b,a\n1,2,3\n", "twice: 'a'"),
        (b"a,b\n1,\xff\n", "latin-1"),
        (b"a\0b", "binary data"),
    ],
)
def test_unreadable_text_is_refused_by_name(tmp_path, content, words):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.csv.*" + words):
        open_table(path)


def test_other_encodings_are_declared(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("city,n\nGenève,1\n".encode("latin-1"))
    assert rows(open_table(path, csv=Csv(encoding="latin-1"))) == [{"city": "Genève", "n": 1}]


def test_a_truncated_archive_is_refused(tmp_path):
    path = tmp_path / "a.csv.gz"
    whole = gzip.compress("".join(f"{i},{i * i}\n" for i in range(300_000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.csv\.gz must be readable.*runcated"):
        rows(open_table(path, csv=Csv(names=("a", "b"))))


def test_a_header_alone_is_a_table_without_rows(tmp_path):
    assert rows(open_table(write(tmp_path / "a.csv", "a,b\n"))) == []


def test_options_are_checked():
    with pytest.raises(ConfigError, match="one character"):
        Csv(delimiter="||")
    with pytest.raises(ConfigError, match=r"'txt'.*Did you mean 'text'"):
        Csv(types={"a": "txt"})
    with pytest.raises(ConfigError, match="needs `names`"):
        Csv(header=False)


def test_declared_types_name_columns(tmp_path):
    with pytest.raises(DataError, match=r"'agee'.*Did you mean 'age'"):
        open_table(write(tmp_path / "a.csv", "age,b\n1,2\n"), csv=Csv(types={"agee": "text"}))


def test_the_fingerprint_follows_the_options(tmp_path):
    path = write(tmp_path / "a.csv", "a,b\n1,x\n")
    assert open_table(path).fingerprint() == open_table(path).fingerprint()
    assert open_table(path).fingerprint() != open_table(path, csv=Csv(null_values=("x",))).fingerprint()
