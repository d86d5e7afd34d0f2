"""What tasks an undescribed table is proposed to have."""

import pyarrow as pa
import pytest

from polytask.data import open_table, propose_tasks

FLAG = [0, 1, 0, 0] * 15
CASES = {
    "click": (FLAG, "binary", "25.0 % ones"),
    "isBought": ([True, False, True] * 20, "binary", "ones"),
    "label": (["no", "yes", "no"] * 20, "binary", "'yes'"),
    "target": (["a", "b", "b"] * 20, "binary", "'a'"),
    "y2": (["a", "b", "c"] * 20, "multiclass", "3 distinct"),
    "class": ([1, 2, 3] * 20, "multiclass", "3 classes"),
    "rating": ([1, 2, 3, 4] * 15, "ordinal", "4 ordered"),
    "watch_time": ([0.5 * i for i in range(60)], "regression", "named like an amount"),
    "purchases": ([i % 5 for i in range(60)], "count", "whole numbers from 0 to 4"),
    "outcome": ([1] * 60, "left out", "nothing to learn"),
}


def proposals(**columns):
    return propose_tasks(open_table(pa.table(columns)))


@pytest.mark.parametrize("name", CASES)
def test_names_and_values_make_the_task(name):
    values, kind, words = CASES[name]
    found = [
        item for item in proposals(**{name: values, "age": range(60), "click_rate": FLAG, "user_type": FLAG}) if item.name == name
    ]
    assert [item.kind for item in found] == [kind]
    assert words in found[0].reason


def test_the_positive_value_is_an_option():
    assert dict(proposals(label=["no", "yes", "no"] * 20)[0].options) == {"positive": "yes"}
    assert dict(proposals(target=["a", "b", "b"] * 20)[0].options) == {"positive": "a"}  # the rarer one
    assert dict(proposals(click=FLAG)[0].options) == {}


def test_features_that_only_sound_alike_are_not_taken():
    found = proposals(click_rate=[0.5] * 30 + [0.1] * 30, like_id=range(60), is_weekday=[*range(60)], click=FLAG)
    assert [item.name for item in found] == ["click"]


def test_where_no_name_tells_the_last_column_is_proposed():
    found = proposals(age=range(60), survival=FLAG)
    assert [(item.kind, item.name) for item in found] == [("binary", "survival")]
    assert "the last column" in found[0].reason


def test_an_event_inside_another_is_said():
    view = [1, 1, 1, 0] * 15
    found = {
        item.name: item.reason
        for item in proposals(visit=view, click=[1, 1, 0, 0] * 15, buy=[1, 0, 0, 0] * 15, like=[0, 0, 1, 1] * 15)
    }
    assert 'given = "visit"' in found["click"]
    assert 'given = "click"' in found["buy"]
    assert "given" not in found["like"]
    assert "given" not in found["visit"]
