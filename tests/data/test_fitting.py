"""What a pass gathers of one feature does not depend on how the rows are cut."""

import numpy as np
import pyarrow as pa
import pytest

from polytask.data import Categorical, MultiValued, Numeric
from polytask.data.fitting import start_fit
from polytask.data.numbers import row_of

RANDOM = np.random.default_rng(0)
BATCH = pa.RecordBatch.from_pydict(
    {
        "x": np.where(RANDOM.random(3000) < 0.7, 0.0, RANDOM.normal(size=3000)),
        "c": RANDOM.zipf(1.5, 3000),
        "half": RANDOM.integers(0, 9, 3000) / 2,
        "tags": [RANDOM.integers(0, 9, i % 4).tolist() for i in range(3000)],
        "text": [f"a:{i % 3} b{i % 7}" for i in range(3000)],
    }
)
FEATURES = [
    Numeric("x", bins=9),
    Categorical("c", min_count=3, max_size=20),
    Categorical("half"),
    Categorical("half", buckets=5),
    MultiValued("tags", max_length=2),
    MultiValued("text", separator=" ", weight_separator=":"),
]


@pytest.mark.parametrize("feature", FEATURES, ids=str)
def test_cuts_make_no_difference(feature):
    whole, pieces = start_fit(feature), start_fit(feature)
    whole.update(BATCH, row_of)
    for start in range(0, 3000, 70):
        pieces.update(BATCH.slice(start, 70), row_of)
    assert repr(whole.field()).replace(" ", "")[:200] == repr(pieces.field()).replace(" ", "")[:200]
    if not isinstance(feature, Numeric):
        assert whole.field() == pieces.field()


def test_options_reach_the_field():
    fit = start_fit(MultiValued("tags", max_length=2, pooling="sum"))
    fit.update(BATCH, row_of)
    field = fit.field()
    assert (field.max_length, field.pooling, field.weighted) == (2, "sum", False)
    assert len(field.vocabulary.values) == 9


def test_half_numbers_in_buckets_are_hashed_as_numbers():
    fit = start_fit(Categorical("half", buckets=5))
    fit.update(pa.RecordBatch.from_pydict({"half": [1.0, 2.0]}), row_of)
    fit.update(pa.RecordBatch.from_pydict({"half": [1.5]}), row_of)
    vocabulary = fit.field().vocabulary
    assert vocabulary.kind == "number"
    assert (
        vocabulary.ids(pa.array([1.0]), "half")
        == vocabulary.ids(pa.array([1]), "half")
        == vocabulary.ids(pa.array([1.0, 1.5]), "half")[:1]
    )
