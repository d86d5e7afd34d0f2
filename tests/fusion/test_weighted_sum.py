import numpy as np
import pytest
from promises import check_fusion, rows

from polytask.fusion import WeightedSum


def test_promises(tmp_path):
    check_fusion(WeightedSum({"click": 1.0, "buy": 0.4, "watch": -0.3}), tmp_path)


def test_is_the_expected_value_and_no_order_earns_more():
    table, worth = rows(), {"click": 0.02, "buy": 1.5}
    score = WeightedSum(worth).of_arrays(table)
    assert score == pytest.approx(0.02 * table["click"] + 1.5 * table["buy"], rel=1e-12)
    first = score[np.argsort(-score)[:10]].sum()
    random = np.random.default_rng(0)
    assert all(score[random.permutation(300)[:10]].sum() <= first for _ in range(50))


def test_a_prediction_that_counts_against_a_row():
    found = WeightedSum({"click": 1.0, "dismiss": -2.0}).of_arrays(
        {"click": np.array([0.5, 0.5]), "dismiss": np.array([0.1, 0.3])}
    )
    assert found == pytest.approx([0.3, -0.1])
