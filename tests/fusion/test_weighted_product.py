import numpy as np
import pytest
import torch
from promises import check_fusion, order, rows

from polytask.errors import ConfigError, DataError
from polytask.fusion import WeightedProduct


def test_promises(tmp_path):
    check_fusion(WeightedProduct({"click": 1.0, "buy": 0.4, "watch": -0.3}, epsilon=1e-4), tmp_path)


def test_orders_as_the_product_of_powers():
    table, weights = rows(), {"click": 1.3, "buy": 0.4, "watch": -0.2}
    product = np.prod([(1e-3 + table[name]) ** weight for name, weight in weights.items()], axis=0)
    score = WeightedProduct(weights, epsilon=1e-3).of_arrays(table)
    assert order(score) == order(product)
    assert np.exp(score) == pytest.approx(product, rel=1e-12)


def test_where_a_product_underflows_the_score_does_not():
    score = WeightedProduct({"a": 40.0, "b": 40.0}, epsilon=1e-9)
    found = score.of_arrays({"a": np.array([1e-8, 1e-7]), "b": np.array([1e-8, 1e-8])})
    assert np.prod(np.array([1e-8, 1e-8]) ** 40.0) == 0
    assert found[1] > found[0]


def test_the_gradient_is_that_of_the_formula():
    p = torch.tensor([0.0, 1e-30, 0.2], dtype=torch.float64, requires_grad=True)
    WeightedProduct({"p": 1.5}, epsilon=1e-5)({"p": p}).sum().backward()
    assert p.grad.tolist() == pytest.approx([1.5e5, 1.5e5, 1.5 / (0.2 + 1e-5)])


def test_below_zero_is_zero():
    found = WeightedProduct({"p": 1.0}).of_arrays({"p": np.array([-3.0, 0.0])})
    assert found[0] == found[1]


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_epsilon_is_above_zero(epsilon):
    with pytest.raises(ConfigError, match=r"options\.epsilon"):
        WeightedProduct({"click": 1.0}, epsilon=epsilon)


def test_all_mistakes_of_weights_at_once():
    with pytest.raises(ConfigError) as error:
        WeightedProduct({"click": float("nan"), "buy": float("inf")}, epsilon=0.0)
    assert all(key in str(error.value) for key in ("weights.click", "weights.buy", "options.epsilon"))
    with pytest.raises(ConfigError, match="all are 0"):
        WeightedProduct({"click": 0.0})
    with pytest.raises(ConfigError, match="weights"):
        WeightedProduct({})


def test_a_prediction_that_is_absent_is_named():
    with pytest.raises(DataError, match=r"'buy_given_click'.*Did you mean 'buy_given_clic'"):
        WeightedProduct({"buy_given_click": 1.0, "click": 1.0})({"buy_given_clic": torch.ones(1), "click": torch.ones(1)})
