"""Ids: missing, never seen, rare, dictionary; or buckets. Checked against a Python dictionary."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.data.distinct import distinct
from polytask.data.hashing import hash_integers, hash_text
from polytask.data.sketches import CategoryCounts
from polytask.data.vocabulary import Vocabulary, fit_vocabulary


def fitted(column, **options):
    counts = CategoryCounts()
    found = distinct(column, "x")
    counts.add(found.values, found.counts())
    return fit_vocabulary(counts, **options)


def expected_ids(train, test, min_count=1, max_size=None):
    seen = [value for value in train if value is not None]
    ranked = sorted(set(seen), key=lambda value: (-seen.count(value), value))
    kept = [value for value in ranked if seen.count(value) >= min_count][:max_size]
    return [0 if v is None else 3 + kept.index(v) if v in kept else 2 if v in seen else 1 for v in test]


@pytest.mark.parametrize("values", [st.text(max_size=3), st.integers(-4, 4), st.integers(-(2**62), 2**62), st.booleans()])
@settings(max_examples=60, deadline=None)
@given(data=st.data(), min_count=st.integers(1, 3), max_size=st.none() | st.integers(1, 4))
def test_ids_are_those_of_a_plain_dictionary(values, data, min_count, max_size):
    column = st.lists(st.none() | values, max_size=25)
    train, test = data.draw(column), data.draw(column)
    train = [*train, data.draw(values)]
    kind = pa.array(train).type
    vocabulary = fitted(pa.array(train, kind), min_count=min_count, max_size=max_size)
    ids = vocabulary.ids(pa.array(test + train, kind), "x")
    assert ids.dtype == np.int32
    assert ids.tolist() == expected_ids(train, test + train, min_count, max_size)
    assert vocabulary.size == 3 + len(vocabulary.values)


def test_equal_counts_are_ordered_by_value():
    assert fitted(pa.array(["b", "ä", "a", "c", "c"])).values == ("c", "a", "b", "ä")
    assert fitted(pa.array([3, -1, 20, 20])).values == (20, -1, 3)


def test_too_many_rare_values_are_not_listed():
    vocabulary = fitted(pa.array(["often"] * 2 + [f"once {i}" for i in range(100_001)]), min_count=2)
    assert vocabulary.values == ("often",)
    assert vocabulary.rare is None
    assert vocabulary.ids(pa.array(["often", "once 7", "never", None]), "x").tolist() == [3, 2, 2, 0]


def test_large_dictionaries_and_values_far_apart():
    numbers = np.random.default_rng(0).permutation(200_000) * 10**9
    vocabulary = fitted(pa.array(numbers))
    ids = vocabulary.ids(pa.array(numbers[::-1].copy()), "x")
    assert np.array_equal(np.array(vocabulary.values)[ids - 3], numbers[::-1])
    assert vocabulary.ids(pa.array([5, None]), "x").tolist() == [1, 0]


def test_the_same_values_in_another_form_have_the_same_ids():
    vocabulary = fitted(pa.array([10, 20, 20]))
    for column in (
        pa.array(["20", "10", "30", None]),
        pa.array([20.0, 10.0, 30.0, None]),
        pa.array([20, 10, 30, None], pa.int8()),
    ):
        assert vocabulary.ids(column, "x").tolist() == [3, 4, 1, 0]
    assert vocabulary.ids(pa.array(["20", "10", "30", None]).dictionary_encode(), "x").tolist() == [3, 4, 1, 0]


@pytest.mark.parametrize(
    ("kind", "values", "hashed"), [("text", ["a", "b", "東京"], hash_text), ("integer", [1, -5, 2**40], hash_integers)]
)
def test_buckets_are_one_plus_the_hash(kind, values, hashed):
    vocabulary = Vocabulary(kind, buckets=1000)
    ids = vocabulary.ids(pa.array([*values, None]), "x")
    assert ids.tolist() == [*(1 + hashed(pa.array(values)) % np.uint64(1000)).tolist(), 0]
    assert vocabulary.size == 1001


def test_a_text_that_shares_a_hash_with_a_known_one_is_not_taken_for_it(monkeypatch):
    monkeypatch.setattr("polytask.data.vocabulary.hash_text", lambda values: np.zeros(len(values), np.uint64))
    assert Vocabulary("text", ("a",)).ids(pa.array(["a", "b"]), "x").tolist() == [3, 1]
