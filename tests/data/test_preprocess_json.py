"""JSON: exact, and refused where it is damaged, foreign or from the future."""

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.data import Categorical, MultiValued, Numeric, Preprocessing, Schema, open_table
from polytask.data.preprocess_json import from_json, to_json
from polytask.errors import CheckpointError
from polytask.tasks import Binary, Multiclass


def fitted(**columns):
    n = len(next(iter(columns.values())))
    kinds = {"x": Numeric("x", bins=5), "tags": MultiValued("tags", max_length=2), "h": Categorical("h", buckets=9)}
    features = tuple(kinds.get(name, Categorical(name)) for name in columns)
    table = pa.table({**columns, "y": [i % 2 for i in range(n)], "m": [f"k{i % 3}" for i in range(n)]})
    return Preprocessing.fit(open_table(table), Schema(features), [Binary("y"), Multiclass("m")])


EXAMPLE = fitted(
    x=[0.1, 1e-300, 1 / 3, 1e300], c=["a", "ü", None, "\U0001f600"], b=[True, False, True, None], i=[1, 1, 2, None],
    f=[0.5, 1.0, None, 2.0], h=["p", "q", "r", "s"], tags=[["a"], [], None, ["b", "a"]],
)  # fmt: skip


def test_what_is_loaded_is_what_was_saved(tmp_path):
    path = tmp_path / "preprocessing.json"
    EXAMPLE.save(path)
    loaded = Preprocessing.load(path)
    assert loaded == EXAMPLE
    assert loaded.digest() == EXAMPLE.digest()
    # 1, 1.0, "1" and True are equal or alike in Python, not as categories.
    assert [type(field.values[0]) for field in loaded.categorical[:4]] == [str, bool, int, float]
    assert path.read_text().isascii()


@settings(max_examples=60, deadline=None)
@given(
    x=st.lists(st.floats(-1e300, 1e300), min_size=6, max_size=6),
    c=st.lists(st.text(), min_size=6, max_size=6),
    i=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=6, max_size=6),
)
def test_any_number_and_any_text_come_back(x, c, i):
    preprocessing = fitted(x=x, c=c, i=i)
    assert from_json(json.loads(json.dumps(to_json(preprocessing)))) == preprocessing


def test_the_digest_follows_the_content():
    assert fitted(c=["a", "b", "a"]).digest() == fitted(c=["a", "b", "a"]).digest()
    assert fitted(c=["a", "b", "a"]).digest() != fitted(c=["a", "b", "c"]).digest()


def damaged(change):
    values = to_json(EXAMPLE)
    change(values)
    return json.dumps(values)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "readable JSON"),
        (json.dumps(to_json(EXAMPLE))[:-50], "readable JSON"),
        ("[]", "format"),
        ('{"format": "other"}', "'other'"),
        (damaged(lambda values: values.update(version=2)), "version 2.*Use the Polytask that wrote it"),
        (damaged(lambda values: values.pop("numeric")), "damaged.*numeric"),
        (damaged(lambda values: values["numeric"][0].update(scale=0)), "damaged.*positive scale"),
        (damaged(lambda values: values["numeric"][0].update(edges=[1, 0])), "damaged.*rising"),
        (damaged(lambda values: values["categorical"][0]["vocabulary"].update(values=[1])), "damaged.*kind text"),
        (damaged(lambda values: values["categorical"][0]["vocabulary"].update(kind="word")), "damaged.*word"),
        (damaged(lambda values: values["categorical"][1]["vocabulary"].update(values=[True, True])), "damaged.*twice"),
        (damaged(lambda values: values["tasks"][0].update(kind="binray")), "damaged.*binray"),
        (damaged(lambda values: values["multi_valued"][0].update(pools=1)), "damaged.*pools"),
        (damaged(lambda values: values.update(categorical=3)), "damaged"),
    ],
)
def test_damaged_and_foreign_files_are_refused(tmp_path, text, words):
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=words) as caught:
        Preprocessing.load(path)
    assert "p.json" in str(caught.value)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.json.*No such file"):
        Preprocessing.load(tmp_path / "none.json")
