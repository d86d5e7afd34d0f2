"""Tables that cannot be used: the command says what, where, and what to do; nothing is left behind."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tomli_w

FEATURES = {"city": pa.array(["a", "b", "a", "c"] * 20), "age": pa.array(np.arange(80.0))}


def write(folder, columns, **tables):
    pq.write_table(pa.table(columns), folder / "t.parquet")
    run = {"data": {"train": "t.parquet"}, "task": [{"kind": "binary", "name": "click"}], "train": {"epochs": 1}, **tables}
    (folder / "run.toml").write_text(tomli_w.dumps(run))


def click(**changes):
    values = [0, 1] * 40
    for row, value in changes.items():
        values[int(row.removeprefix("row"))] = value
    return values


@pytest.mark.parametrize(
    ("columns", "texts"),
    [
        ({**FEATURES, "click": click(row7=3)}, ["'click'", "t.parquet, row 7", "Received: 3 in ", "positive"]),
        ({**FEATURES, "click": [1] * 80}, ["'click'", "1 in all 80"]),
        ({**FEATURES, "click": pa.nulls(80, pa.int64())}, ["'click'", "none in 80 rows"]),
        ({**FEATURES, "clicked": click()}, ["task.click.label: 'click'", "Did you mean 'clicked'?"]),
        ({**FEATURES, "click": pa.array(["yes", "no"] * 40)}, ["'click'", "positive"]),
        ({"age": pa.array([*np.arange(79) * 0.7, np.inf]), "click": click()}, ["'age'", "inf", "row 79"]),
        ({"row": pa.array(np.arange(80)), "click": click()}, ["needs a feature", "'row' is an identifier"]),
        ({"age": pa.array([], pa.float64()), "click": pa.array([], pa.int64())}, ["must have rows"]),
    ],
)
def test_tables(polytask, tmp_path, columns, texts):
    write(tmp_path, columns)
    for verb in (["check"], ["train", "-o", tmp_path / "runs" / "run"]):
        result = polytask(verb[0], tmp_path / "run.toml", *verb[1:])
        assert result.exit_code == 2, result.output
        for text in texts:
            assert text in result.stderr
        assert not list(tmp_path.rglob("rows-*"))
        assert not list(tmp_path.rglob("*.part"))


def test_every_bad_label_is_named_at_once(polytask, tmp_path):
    write(
        tmp_path,
        {**FEATURES, "click": click(row7=3), "n": [-1] * 80},
        task=[{"kind": "binary", "name": "click"}, {"kind": "count", "name": "n"}],
    )
    result = polytask("check", tmp_path / "run.toml")
    assert "'click'" in result.stderr
    assert "'n'" in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.csv", b"", "empty file"),
        ("a.csv", b"age,click\n1,0\n2,1,9\n", "line 3"),
        ("a.csv", b"age,age,click\n1,2,0\n", "'age'"),
        ("a.parquet", b"PAR1" + bytes(100), "a.parquet"),
        ("b.parquet", None, "b.parquet"),
    ],
)
def test_files(polytask, tmp_path, name, content, text):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "run.toml").write_text(tomli_w.dumps({"data": {"train": name}, "task": [{"kind": "binary", "name": "click"}]}))
    result = polytask("check", tmp_path / "run.toml")
    assert result.exit_code == 2
    assert text in result.stderr
