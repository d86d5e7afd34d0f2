import numpy as np
import pytest

from polytask.data.catalog import OpenBandit


@pytest.fixture(scope="module")
def bandit(prepared):
    return prepared(OpenBandit())


def test_rows_clicks_and_positions_are_those_of_the_source(bandit):
    tables, _ = bandit
    assert {part: table.num_rows for part, table in tables.items()} == {"train": 8_000, "valid": 2_000, "test": 10_000}
    clicks = {part: table["click"].to_numpy().sum() for part, table in tables.items()}
    assert clicks["train"] + clicks["valid"] == 69
    assert clicks["test"] == 46
    position, click = tables["test"]["position"].to_numpy(), tables["test"]["click"].to_numpy()
    assert np.bincount(position)[1:].tolist() == [3_284, 3_388, 3_328]
    rates = [round(click[position == place].mean(), 4) for place in (1, 2, 3)]
    assert rates == [0.0030, 0.0065, 0.0042]


def test_propensities_are_kept_but_are_no_input(bandit):
    tables, run = bandit
    propensity = tables["test"]["propensity_score"].to_numpy()
    assert propensity == pytest.approx(np.full(10_000, 1 / 34), abs=1e-6)
    learned = np.concatenate([tables[part]["propensity_score"].to_numpy() for part in ("train", "valid")])
    assert (learned.min(), learned.max()) == pytest.approx((0.000165, 0.7253), abs=5e-5)
    assert "propensity_score" not in [feature["name"] for feature in run["feature"]]


def test_validation_is_later_than_training(bandit):
    tables, _ = bandit
    assert max(tables["train"]["timestamp"].to_pylist()) <= min(tables["valid"]["timestamp"].to_pylist())


def test_item_context_is_that_of_the_item_shown(bandit):
    tables, _ = bandit
    by_item = {}
    for table in tables.values():
        for item, value in zip(table["item_id"].to_pylist(), table["item_feature_0"].to_pylist(), strict=True):
            assert by_item.setdefault(item, value) == value
    assert len(by_item) == 34
    assert by_item[0] == pytest.approx(-0.6771831139635117)
    assert by_item[1] == pytest.approx(-0.7202996418188664)
