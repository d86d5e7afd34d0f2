"""Declarations: checked, named mistakes, and a round trip."""

import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from polytask.data import FEATURES, Categorical, MultiValued, Numeric, Schema
from polytask.errors import ConfigError

names = st.text(min_size=1, max_size=8)
counts = st.integers(1, 10**6)
dictionaries = st.fixed_dictionaries({}, optional={"min_count": counts, "max_size": counts})
features = st.one_of(
    st.builds(lambda name, options: Categorical(name, **options), names, dictionaries),
    st.builds(lambda name, buckets: Categorical(name, buckets=buckets), names, counts),
    st.builds(Numeric, names, bins=counts),
    st.builds(
        lambda name, options, pooling: MultiValued(name, separator="|", pooling=pooling, **options),
        names,
        dictionaries,
        st.sampled_from(["mean", "sum", "max"]),
    ),
)


@given(st.lists(features, unique_by=lambda feature: feature.name))
def test_a_schema_survives_toml(declared):
    schema = Schema(tuple(declared), weight=None)
    assert Schema.from_dict(tomllib.loads(tomli_w.dumps(schema.to_dict()))) == schema


def test_options_at_their_default_are_not_written():
    schema = Schema((Categorical("a"), Numeric("b", bins=7)), weight="w")
    assert schema.to_dict() == {
        "features": [{"kind": "categorical", "name": "a"}, {"kind": "numeric", "name": "b", "bins": 7}],
        "weight": "w",
    }


def test_columns_hold_weights_too():
    schema = Schema((MultiValued("tags", weights="tag_weights"), Numeric("age")), weight="w")
    assert schema.columns == ("tags", "age", "tag_weights", "w")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Categorical(""), "name of a column"),
        (lambda: Categorical("city", min_count=0), r"'min_count' of 'city'.*Received: 0"),
        (lambda: Categorical("city", max_size=True), "positive whole number"),
        (lambda: Categorical("city", buckets=8, min_count=2), r"buckets or a dictionary.*buckets=8, min_count=2"),
        (lambda: Numeric("age", bins=-2), r"'bins' of 'age'.*-2"),
        (lambda: MultiValued("tags", pooling="avg"), r"pooling of 'tags'.*'avg'"),
        (lambda: MultiValued("tags", weights="w", weight_separator=":"), "not both"),
        (lambda: MultiValued("tags", separator=""), "must not be empty"),
        (lambda: Schema((Numeric("a"), Numeric("b"), Categorical("a"))), "'a' more than once"),
        (lambda: Schema((Numeric("a"),), weight="a"), "not a feature"),
        (lambda: Schema.from_dict({"feature": []}), "Unknown key"),
    ],
)
def test_mistakes_are_named(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_all_mistakes_of_a_document_come_at_once():
    tables = [
        {"kind": "categorial", "name": "city"},
        {"kind": "numeric", "name": "age", "bin": 3},
        {"kind": "numeric"},
        {"kind": "numeric", "name": "ok"},
    ]
    with pytest.raises(ConfigError) as caught:
        Schema.from_dict({"features": tables})
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "'categorial'" in lines[0]
    assert "Did you mean 'categorical'?" in lines[0]
    assert "'bin'. Did you mean 'bins'?" in lines[1]
    assert "Feature 3" in lines[2]


def test_the_registry_holds_every_kind():
    assert {"categorical": Categorical, "numeric": Numeric, "multi_valued": MultiValued} == FEATURES
