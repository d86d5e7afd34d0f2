import datetime
import importlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.data.split import PartTable, split
from polytask.data.table import open_table
from polytask.errors import ConfigError, DataError


def table_of(**columns):
    return open_table(pa.table(columns))


def shares(parts, count):
    return np.bincount(parts, minlength=count) / len(parts)


def test_random_parts_have_exact_sizes_and_depend_on_the_seed():
    table = table_of(x=list(range(1003)))
    one = split(table, fractions=[0.7, 0.2, 0.1], seed=1)
    assert np.bincount(one).tolist() == [702, 201, 100]
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, split(table, fractions=[0.7, 0.2, 0.1], seed=1))
    assert (one != split(table, fractions=[0.7, 0.2, 0.1], seed=2)).any()
    halves = one.reshape(-1, 17).mean(axis=1)  # no drift along the table
    assert abs(np.corrcoef(halves, np.arange(59))[0, 1]) < 0.4


def test_strata_are_divided_each_in_proportion():
    label = np.repeat(["no", "yes", None], [9000, 600, 40])[np.random.default_rng(0).permutation(9640)]
    parts = split(table_of(label=label), fractions=[0.75, 0.25], seed=3, column="label")
    for value, count in (("no", 9000), ("yes", 600), (None, 40)):
        assert np.count_nonzero(parts[label == value]) == count // 4
    np.testing.assert_array_equal(parts, split(table_of(label=label), fractions=[0.75, 0.25], seed=3, column="label"))


def test_too_many_strata_are_refused():
    with pytest.raises(DataError, match="'x' may have 1024 values"):
        split(table_of(x=list(range(2000))), fractions=[0.5, 0.5], column="x")


finite = st.floats(allow_nan=False, allow_infinity=False)
times = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=5, max_size=60),
    st.lists(finite, min_size=5, max_size=60),
    st.lists(st.integers(0, 3), min_size=30, max_size=60),
    st.lists(st.sampled_from([-0.0, 0.0, -1.5, 2.0]), min_size=30, max_size=60),
    st.lists(st.datetimes(), min_size=5, max_size=60),
    st.lists(st.dates(), min_size=5, max_size=60),
)


@settings(deadline=None, max_examples=80)
@given(times, st.lists(st.integers(1, 9), min_size=2, max_size=3))
def test_parts_by_time_are_exact_quantiles_with_ties_together(values, weights):
    fractions = (np.array(weights) / sum(weights)).tolist()
    ordered = sorted(values)
    firsts = [ordered[min(int(np.rint(cut * len(values))), len(values) - 1)] for cut in np.cumsum(fractions)[:-1]]
    expected = [sum(value >= first for first in firsts) for value in values]
    try:
        parts = split(table_of(t=values), "time", fractions=fractions, column="t").tolist()
    except DataError:
        assert len(set(expected)) < len(fractions)
    else:
        assert parts == expected


def test_times_are_divided_in_chunks_as_in_one(monkeypatch):
    values = np.random.default_rng(1).integers(0, 2**40, 5000)
    whole = split(table_of(t=values), "time", fractions=[0.3, 0.3, 0.4], column="t")
    assert np.bincount(whole).tolist() == [1500, 1500, 2000]
    assert values[whole == 0].max() < values[whole == 1].min() <= values[whole == 1].max() < values[whole == 2].min()
    monkeypatch.setattr(importlib.import_module("polytask.data.split"), "_CHUNK", 64)
    np.testing.assert_array_equal(split(table_of(t=values), "time", fractions=[0.3, 0.3, 0.4], column="t"), whole)


def test_times_beyond_signed_integers_keep_their_order():
    parts = split(table_of(t=pa.array([2**64 - 1, 5, 2**63], pa.uint64())), "time", fractions=[1 / 3, 2 / 3], column="t")
    assert parts.tolist() == [1, 0, 1]


@pytest.mark.parametrize("missing", [[1.0, None, 2.0], [1.0, float("nan"), 2.0]])
def test_a_missing_time_names_its_row(missing):
    with pytest.raises(DataError, match=r"'t' must have a time in every row.*row 1"):
        split(table_of(t=missing), "time", fractions=[0.5, 0.5], column="t")


def test_text_is_no_time():
    with pytest.raises(DataError, match=r"must hold times.*string.*timestamp"):
        split(table_of(t=["monday", "tuesday"]), "time", fractions=[0.5, 0.5], column="t")


def test_a_constant_time_cannot_be_divided():
    with pytest.raises(DataError, match=r"parts of \[0, 4\] rows"):
        split(table_of(t=[datetime.date(2026, 1, 1)] * 4), "time", fractions=[0.5, 0.5], column="t")


def test_a_group_is_in_one_part_whatever_the_order_and_the_other_rows():
    users = np.random.default_rng(0).integers(0, 3000, 20_000)
    fractions = [0.6, 0.25, 0.15]
    parts = split(table_of(user=users), "group", fractions=fractions, column="user")
    by_user = dict(zip(users.tolist(), parts.tolist(), strict=True))
    np.testing.assert_array_equal(parts, [by_user[user] for user in users.tolist()])
    np.testing.assert_allclose(shares(np.array(list(by_user.values())), 3), fractions, atol=0.03)  # 3 sd of 3000 groups
    some = users[::-1][:5000]
    again = split(table_of(user=some), "group", fractions=fractions, column="user")
    np.testing.assert_array_equal(again, [by_user[user] for user in some.tolist()])
    other = split(table_of(user=users), "group", fractions=fractions, column="user", seed=1)
    assert 0.3 < (other == parts).mean() < 0.6  # independent: .6² + .25² + .15² = .445


def test_a_group_is_the_same_as_number_and_as_text_and_as_category():
    users = list(range(500))
    texts = [str(user) for user in users]
    parts = [
        split(table, "group", fractions=[0.5, 0.5], column="user").tolist()
        for table in (table_of(user=users), table_of(user=texts), open_table(pd.DataFrame({"user": pd.Categorical(texts)})))
    ]
    assert parts[0] == parts[1] == parts[2]


def test_missing_groups_are_one_group():
    users = [None, *range(100), None]
    parts = split(table_of(user=users), "group", fractions=[0.5, 0.5], column="user")
    assert parts[0] == parts[-1]


def test_the_division_by_group_is_that_of_earlier_versions():
    parts = split(table_of(user=[f"u{i}" for i in range(16)]), "group", fractions=[0.5, 0.5], column="user", seed=7)
    assert parts.tolist() == [0, 0, 1, 1, 1, 0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("how", "error", "match"),
    [
        ({"fractions": [0.5, 0.4]}, ConfigError, "sum to 1"),
        ({"fractions": [1.5, -0.5]}, ConfigError, "positive"),
        ({"fractions": []}, ConfigError, "sum to 1"),
        ({"fractions": [0.5, 0.5], "by": "tim"}, ConfigError, "Did you mean 'time'"),
        ({"fractions": [0.5, 0.5], "by": "time"}, ConfigError, "needs a column"),
        ({"fractions": [0.5, 0.5], "by": "group", "column": "usr"}, ConfigError, "Did you mean 'user'"),
        ({"fractions": [0.999, 0.001]}, DataError, r"parts of \[10, 0\] rows"),
    ],
)
def test_what_cannot_be_is_refused(how, error, match):
    with pytest.raises(error, match=match):
        split(table_of(user=list(range(10))), **how)


def test_a_csv_of_unknown_length_is_divided(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("day,user\n" + "".join(f"{day},{day % 7}\n" for day in range(100)))
    table = open_table(path)
    assert table.num_rows is None
    assert np.bincount(split(table, fractions=[0.9, 0.1])).tolist() == [90, 10]
    assert split(table, "time", fractions=[0.9, 0.1], column="day").tolist() == [0] * 90 + [1] * 10


def test_a_part_is_a_table():
    table = table_of(x=list(range(150_000)), y=[i % 7 for i in range(150_000)])
    keep = np.random.default_rng(0).random(150_000) < 0.4
    part = PartTable(table, keep)
    batches = list(part.batches(["y"], rows=1000))
    assert part.num_rows == sum(batch.num_rows for batch in batches) == keep.sum()
    assert [batch.num_rows for batch in batches[:-1]] == [1000] * (len(batches) - 1)
    assert np.concatenate([batch.column(0) for batch in batches]).tolist() == (np.flatnonzero(keep) % 7).tolist()
    assert part.names == ("x", "y")
    assert part.describe(2) == table.describe(int(np.flatnonzero(keep)[2]))
    assert part.fingerprint() == PartTable(table, keep).fingerprint() != PartTable(table, ~keep).fingerprint()


def test_a_part_notices_that_the_table_has_changed():
    part = PartTable(table_of(x=[1, 2, 3]), np.array([True, False, True, True]))
    with pytest.raises(DataError, match=r"the 4 rows that were divided.*3"):
        list(part.batches())
