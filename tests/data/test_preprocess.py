"""Fit and encode, end to end; every problem of a table in one message."""

import math
import subprocess
import sys
import tracemalloc

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.data import Categorical, MultiValued, Numeric, Preprocessing, Schema, open_table
from polytask.errors import ConfigError, DataError
from polytask.tasks import Binary, Regression

SCHEMA = Schema(
    (Numeric("age"), Categorical("city", min_count=2), MultiValued("tags"), Categorical("user", buckets=64)), weight="w"
)
TASKS = (Binary("click"), Binary("buy", given="click"), Regression("spend", given="buy", label="euros"))


def rows(n=4000, seed=0):
    random = np.random.default_rng(seed)
    click = random.random(n) < 0.3
    buy = click & (random.random(n) < 0.5)
    return pa.table(
        {
            "age": pa.array(random.integers(18, 90, n).astype(float), mask=random.random(n) < 0.1),
            "city": pa.array(random.choice(["Bern", "Rome", "Oslo"], n, p=[0.6, 0.3, 0.1]), mask=random.random(n) < 0.05),
            "tags": [random.choice(["x", "y", "z"], random.integers(0, 4)).tolist() for _ in range(n)],
            "user": [f"u{i}" for i in random.integers(0, 500, n)],
            "w": random.uniform(0.5, 2, n),
            "click": pa.array(click.astype(int)),
            "buy": pa.array(buy.astype(float), mask=~click),
            # Meaningless where nothing was bought: must not be learnt from.
            "euros": np.where(buy, random.lognormal(3, 1, n), -1e6),
        }
    )


TABLE = rows()
FITTED = Preprocessing.fit(open_table(TABLE), SCHEMA, TASKS)


def encode(source, **options):
    return FITTED.encode(source.combine_chunks().to_batches()[0], **options)


def test_encoding_is_what_the_fields_say():
    columns = encode(TABLE)
    age = TABLE["age"].to_numpy()
    center, scale = np.nanmedian(age), np.subtract(*np.nanquantile(age, [0.75, 0.25]))
    assert columns.numeric[:, 0] == pytest.approx((age - center) / scale, nan_ok=True)
    cities = {None: 0, "Bern": 3, "Rome": 4, "Oslo": 5}
    assert columns.categorical[:, 0].tolist() == [cities[value] for value in TABLE["city"].to_pylist()]
    assert columns.ragged["tags"].offsets.tolist() == np.cumsum([0, *map(len, TABLE["tags"].to_pylist())]).tolist()
    assert columns.weight.tolist() == TABLE["w"].to_numpy().astype(np.float32).tolist()
    assert (columns.categorical.dtype, columns.numeric.dtype) == (np.int32, np.float32)
    assert columns.categorical[:, 1].min() >= 1
    assert columns.categorical[:, 1].max() <= 64


def test_a_conditional_task_learns_from_its_sample_space_alone():
    click, buy, spend = FITTED.tasks
    assert click.base_rate == pytest.approx(np.mean(TABLE["click"].to_numpy()))
    inside = TABLE.filter(pa.array(TABLE["click"].to_numpy() == 1))
    assert buy.base_rate == pytest.approx(np.mean(inside["buy"].to_numpy()))
    bought = TABLE["euros"].to_numpy()[np.nan_to_num(TABLE["buy"].to_numpy()) == 1]
    assert spend.mean == pytest.approx(bought.mean())


@pytest.mark.parametrize("kind", ["csv", "parquet", "pieces"])
def test_the_source_makes_no_difference(tmp_path, kind):
    import pyarrow.csv as pacsv

    flat = TABLE.drop_columns(["tags"])
    schema = Schema(tuple(feature for feature in SCHEMA.features if feature.name != "tags"), weight="w")
    expected = Preprocessing.fit(open_table(flat), schema, TASKS)
    if kind == "csv":
        pacsv.write_csv(flat, tmp_path / "a.csv")
        table = open_table(tmp_path / "a.csv")
    elif kind == "parquet":
        pq.write_table(flat, tmp_path / "a.parquet", row_group_size=333)
        table = open_table(tmp_path / "a.parquet")
    else:
        table = open_table(pa.concat_tables([flat.slice(0, 7), flat.slice(7)]))
    found = Preprocessing.fit(table, schema, TASKS)
    assert found == expected
    assert found.digest() == expected.digest()
    columns = found.encode(next(table.batches()))
    assert np.array_equal(columns.categorical, expected.encode(flat.to_batches()[0]).categorical)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_are_fitted_and_encoded_alike(library):
    frame = TABLE.to_pandas() if library == "pandas" else pl.from_arrow(TABLE)
    if library == "pandas":
        frame["city"] = frame["city"].astype("category")
        frame["buy"] = frame["buy"].astype("Int8")
    table = open_table(frame)
    assert Preprocessing.fit(table, SCHEMA, TASKS) == FITTED
    found, expected = FITTED.encode(next(table.batches())), encode(TABLE)
    assert np.array_equal(found.categorical, expected.categorical)
    assert np.array_equal(found.labels["buy"], expected.labels["buy"], equal_nan=True)
    assert found.ragged["tags"].ids.tolist() == expected.ragged["tags"].ids.tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3999))
def test_rows_are_encoded_one_by_one_as_together(cut):
    whole, first, second = encode(TABLE), encode(TABLE.slice(0, cut)), encode(TABLE.slice(cut), first_row=cut)
    assert np.array_equal(np.concatenate([first.categorical, second.categorical]), whole.categorical)
    assert np.array_equal(np.concatenate([first.numeric, second.numeric]), whole.numeric, equal_nan=True)
    assert np.array_equal(np.concatenate([first.labels["buy"], second.labels["buy"]]), whole.labels["buy"], equal_nan=True)


def test_unlabelled_tables_are_encoded_without_labels():
    bare = TABLE.drop_columns(["click", "buy", "euros", "w"])
    columns = encode(bare, labels=False)
    assert columns.labels == {}
    assert columns.weight is None
    assert np.array_equal(columns.categorical, encode(TABLE).categorical)
    with pytest.raises(DataError) as caught:
        encode(bare)
    assert [name for name in ("'click'", "'buy'", "'euros'", "'w'") if name in str(caught.value)] == [
        "'click'",
        "'buy'",
        "'euros'",
        "'w'",
    ]


def test_categories_never_seen_are_unknown_and_missing_ones_missing():
    new = pa.table({"age": [1.0], "city": ["Kyiv"], "tags": [["new"]], "user": [None]}, schema=TABLE.select(range(4)).schema)
    columns = encode(new, labels=False)
    assert columns.categorical.tolist() == [[1, 0]]
    assert columns.ragged["tags"].ids.tolist() == [1]


def with_column(name, values):
    return TABLE.slice(0, len(values)).drop_columns([name]).append_column(name, pa.array(values))


def test_infinite_and_unreadable_values_are_named():
    with pytest.raises(DataError, match=r"'age' must hold finite numbers\. Received: inf in row 12\."):
        encode(with_column("age", [1.0, None, math.inf]), first_row=10)
    with pytest.raises(DataError, match=r"'age' must be numeric\. Received: 'old' in pyarrow Table, row 1\."):
        encode(with_column("age", ["1", "old"]), table=open_table(TABLE))
    with pytest.raises(DataError, match=r"'city' must hold text categories as in training\. Received: number 1\.5"):
        encode(with_column("city", [1.5, 2.0]))
    with pytest.raises(DataError, match=r"Row weights in column 'w'.*-1\.0 in row 1"):
        encode(with_column("w", [1.0, -1.0]))
    with pytest.raises(DataError, match=r"'click'.*7 in row 21"):
        encode(with_column("click", [1, 7]), first_row=20)


def test_every_problem_of_a_table_comes_at_once():
    table = open_table(
        TABLE.set_column(0, "age", pa.array([*["old"], *[None] * 3999]))
        .set_column(4, "w", pa.array([None, *[1.0] * 3999]))
        .set_column(5, "click", pa.array([1] * 4000))
        .set_column(7, "euros", pa.array([math.inf] * 4000))
    )
    with pytest.raises(DataError) as caught:
        Preprocessing.fit(table, SCHEMA, TASKS)
    text = str(caught.value)
    for words in ("'age' must be numeric", "Row weights in column 'w'", "'click' (binary) needs labels that differ", "'euros'"):
        assert words in text
    assert len(text.splitlines()) == 4


def test_absent_columns_come_at_once_with_the_nearest():
    schema = Schema((Numeric("aeg"), Categorical("city"), MultiValued("tags", weights="tag_weights")))
    with pytest.raises(DataError) as caught:
        Preprocessing.fit(open_table(TABLE), schema, [Binary("clik"), Binary("buy")])
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "'aeg' (feature)" in lines[0]
    assert "Did you mean 'age'?" in lines[0]
    assert "'clik' (label of task 'clik')" in lines[2]


def test_labels_must_not_be_features():
    with pytest.raises(ConfigError, match=r"would read the answer.*'click' of task 'click'"):
        Preprocessing.fit(open_table(TABLE), Schema((Numeric("click"),)), [Binary("click")])


def test_a_task_without_labels_and_a_table_without_rows():
    empty = TABLE.set_column(5, "click", pa.nulls(4000, pa.int64()))
    with pytest.raises(DataError, match=r"'click'.*needs labels"):
        Preprocessing.fit(open_table(empty), SCHEMA, [Binary("click")])
    with pytest.raises(DataError, match=r"must have rows.*pyarrow Table"):
        Preprocessing.fit(open_table(TABLE.slice(0, 0)), SCHEMA, TASKS)


def test_progress_counts_rows():
    seen = []
    Preprocessing.fit(
        open_table(rows(70_000)), Schema((Numeric("age"),)), [Binary("click")], progress=lambda *at: seen.append(at)
    )
    assert seen == [(65_536, 70_000), (70_000, 70_000)]


def test_a_column_without_values_or_differences_is_harmless():
    table = pa.table({"none": pa.nulls(4), "same": [7, 7, 7, None], "y": [0, 1, 0, 1]})
    fitted = Preprocessing.fit(open_table(table), Schema((Numeric("none"), Numeric("same"))), [Binary("y")])
    assert [field.edges for field in fitted.numeric] == [(0.0, 1.0), (0.0, 1.0)]
    columns = fitted.encode(table.to_batches()[0])
    assert np.isnan(columns.numeric[:, 0]).all()
    assert columns.numeric[:3, 1].tolist() == [0.0] * 3


def test_edges_rise_in_float32():
    values = 1.0 + np.arange(2000) * 1e-9
    table = pa.table({"x": np.concatenate([values, [1e9]]), "y": np.arange(2001) % 2})
    edges = Preprocessing.fit(open_table(table), Schema((Numeric("x"),)), [Binary("y")]).numeric[0].edges
    assert (np.diff(np.array(edges, np.float32)) > 0).all()
    assert all(float(np.float32(edge)) == edge for edge in edges)


def test_hashing_is_the_same_in_another_process():
    program = (
        "import pyarrow as pa; from polytask.data.vocabulary import Vocabulary; "
        "print(Vocabulary('text', buckets=10**6).ids(pa.array(['u1', 'u2', '東京']), 'x').tolist())"
    )
    environment = {"PYTHONHASHSEED": "7"}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True)
    assert found.stdout == "[203499, 52039, 961175]\n"


def test_memory_of_fitting_does_not_grow_with_the_rows(tmp_path):
    def peak(n):
        path = tmp_path / f"{n}.parquet"
        random = np.random.default_rng(0)
        with pq.ParquetWriter(path, pa.schema({"x": pa.float64(), "c": pa.int64(), "y": pa.int64()})) as writer:
            for _ in range(n):
                part = {"x": random.normal(size=65_536), "c": random.integers(0, 500, 65_536), "y": random.integers(0, 2, 65_536)}
                writer.write_table(pa.table(part))
        before = pa.total_allocated_bytes()
        highest = [0]

        def watch(*_):
            highest[0] = max(highest[0], pa.total_allocated_bytes() - before)

        tracemalloc.start()
        Preprocessing.fit(open_table(path), Schema((Numeric("x"), Categorical("c"))), [Binary("y")], progress=watch)
        _, python = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest[0] + python

    assert peak(40) < 1.3 * peak(10)
