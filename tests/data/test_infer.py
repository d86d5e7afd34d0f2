"""What features an undescribed table is proposed to have."""

import datetime
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from polytask.data import Categorical, Csv, MultiValued, Numeric, Schema, infer_schema, open_table, propose_features
from polytask.tasks import Binary

N = 400
RANDOM = np.random.default_rng(0)
COLUMNS = {
    "row": (range(N), "left out", "identifier"),
    "user_id": (RANDOM.permutation(N) * 37, "left out", "identifier"),
    "comment": ([f"text {i}" for i in range(N)], "left out", "free text"),
    "constant": ([1] * N, "left out", "constant"),
    "empty": (pa.nulls(N), "left out", "no value"),
    "seen": (pa.array([datetime.datetime(2024, 1, 1, i % 24) for i in range(N)]), "left out", "a time"),
    "event_time": ([1_700_000_000 + i for i in range(N)], "left out", "a time"),
    "vector": ([[0.5, 1.5]] * N, "left out", "fractions"),
    "tags": ([["a", "b"]] * N, "multi_valued", "list"),
    "genres": (["Action|Comedy", "Drama|War"] * (N // 2), "multi_valued", "joined"),
    "city": (["Bern", "Rome"] * (N // 2), "categorical", "text, 2 distinct"),
    "spoilt": ([*map(str, range(N // 2)), *["NA"] * (N // 2)], "categorical", "'NA': is that `null_values`"),
    "vip": ([True, False] * (N // 2), "categorical", "truth"),
    "children": ([i % 7 for i in range(N)], "categorical", "only 7 distinct"),
    "level": ([float(i % 4) for i in range(N)], "categorical", "only 4 distinct"),
    "item_id": ([i % 90 for i in range(N)], "categorical", "named like a code"),
    "age": ([18 + i % 70 for i in range(N)], "numeric", "from 18 to 87"),
    "income": ([1000.5 * i for i in range(N)], "numeric", "numbers, from 0"),
    "amount": (RANDOM.permutation(N) * 41, "numeric", "whole numbers"),
}
TABLE = open_table(pa.table({name: pa.array(values) for name, (values, _, _) in COLUMNS.items()}))


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_is_proposed_with_its_reason(name):
    found = {proposal.name: proposal for proposal in propose_features(TABLE)}[name]
    assert (found.kind, COLUMNS[name][2] in found.reason) == (COLUMNS[name][1], True), found
    assert "\n" not in found.reason


def test_the_schema_holds_what_is_not_left_out():
    schema = infer_schema(TABLE, exclude=["city", Binary("clicked", label="vip")])
    assert schema.names == tuple(
        name for name, (_, kind, _) in COLUMNS.items() if kind != "left out" and name not in ("city", "vip")
    )
    assert schema.features[:2] == (MultiValued("tags"), MultiValued("genres", separator="|"))
    assert Numeric("age") in schema.features
    assert Schema.from_dict(schema.to_dict()) == schema


def test_values_seen_once_in_a_huge_dictionary_share_an_id():
    words = [f"w{i % 11_000}" for i in range(30_000)]
    assert infer_schema(open_table(pa.table({"w": words, "y": [0, 1] * 15_000})), ["y"]).features == (
        Categorical("w", min_count=2),
    )


def test_census_income():
    folder = Path(os.environ.get("POLYTASK_DATA", "/nowhere")) / "census-income"
    if not folder.is_dir():
        pytest.skip("needs Census-Income below POLYTASK_DATA")
    names = tuple(f"c{i}" for i in range(42))
    table = open_table(folder / "census-income.data.gz", csv=Csv(names=names, null_values=("?",)))
    kinds = {proposal.name: proposal.kind for proposal in propose_features(table)}
    # age, wage per hour, gains, losses, dividends, instance weight, weeks worked; the two code columns look like quantities.
    assert [name for name, kind in kinds.items() if kind == "numeric"] == [f"c{i}" for i in (0, 2, 3, 5, 16, 17, 18, 24, 39)]
    assert "left out" not in kinds.values()
