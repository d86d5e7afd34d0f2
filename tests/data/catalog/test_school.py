import numpy as np
import pyarrow as pa
import pytest

from polytask.data.catalog import School
from polytask.errors import ConfigError


@pytest.fixture(scope="module")
def school(prepared):
    return prepared(School())


def scores(table):
    return np.stack([table[f"score_{index:03d}"].to_numpy() for index in range(1, 140)])


def test_rows_and_scores_are_those_of_the_source(school):
    tables, run = school
    assert {part: table.num_rows for part, table in tables.items()} == {"train": 10_325, "valid": 1_147, "test": 3_890}
    assert (len(run["task"]), len(run["feature"])) == (139, 27)
    values = scores(pa.concat_tables(tables.values()))
    labelled = ~np.isnan(values)
    assert np.all(labelled.sum(0) == 1)
    assert values[labelled].mean() == pytest.approx(20.597, abs=5e-4)
    assert values[labelled].std() == pytest.approx(12.721, abs=5e-4)
    assert (values[labelled].min(), values[labelled].max()) == (1, 70)
    students = labelled.sum(1)
    assert (students.min(), students.max(), np.median(students)) == (22, 251, 103)


def test_a_row_is_labelled_in_the_task_of_its_school(school):
    tables, _ = school
    for table in tables.values():
        assert np.array_equal(np.argmax(~np.isnan(scores(table)), axis=0) + 1, table["school"].to_numpy())


def test_indicators_are_indicators(school):
    tables, run = school
    for name in [feature["name"] for feature in run["feature"]]:
        values = set(tables["train"][name].to_pylist())
        assert values <= {0, 1} if not name.endswith("percent") else len(values) > 30
    assert all(row["year_1985"] + row["year_1986"] + row["year_1987"] == 1 for row in tables["test"].to_pylist())


def test_splits_differ(school, prepared):
    other, _ = prepared(School(fold=10))
    assert other["test"].num_rows == 3_890
    assert not other["test"].equals(school[0]["test"])


def test_unknown_split_is_refused():
    with pytest.raises(ConfigError, match=r"1 to 10.*11"):
        School(fold=11)
