import numpy as np
import pytest
from promises import check_fusion, order, rows

from polytask.errors import ConfigError
from polytask.fusion import OnePlusProduct, WeightedSum


def test_promises(tmp_path):
    check_fusion(
        OnePlusProduct({"click": 1.0, "buy": 0.4, "watch": -0.3}, scale={"click": 5.0, "buy": 80.0, "watch": 0.1}), tmp_path
    )


def test_orders_as_the_product_of_powers():
    table, scale = rows(), {"click": 5.0, "buy": 80.0}
    product = (1 + 5 * table["click"]) ** 1.3 * (1 + 80 * table["buy"]) ** 0.4
    score = OnePlusProduct({"click": 1.3, "buy": 0.4}, scale=scale).of_arrays(table)
    assert order(score) == order(product)
    assert np.exp(score) == pytest.approx(product, rel=1e-12)


def test_of_small_predictions_it_is_a_sum():
    table, weights = {"click": rows()["click"], "buy": rows()["buy"]}, {"click": 1.0, "buy": 3.0}
    small = OnePlusProduct(weights, scale=1e-9).of_arrays(table)
    assert small / 1e-9 == pytest.approx(WeightedSum(weights).of_arrays(table), rel=1e-7)


def test_one_scale_for_all_and_one_for_each():
    table = rows()
    one = OnePlusProduct({"click": 1.0, "buy": 2.0}, scale=3.0)
    assert one == OnePlusProduct({"click": 1.0, "buy": 2.0}, scale={"click": 3.0, "buy": 3.0})
    other = OnePlusProduct({"click": 1.0, "buy": 2.0}, scale={"click": 3.0, "buy": 9.0})
    assert order(other.of_arrays(table)) != order(one.of_arrays(table))


def test_every_wrong_scale_is_named():
    with pytest.raises(ConfigError) as error:
        OnePlusProduct({"click": 1.0, "buy": 1.0}, scale={"click": -1.0, "byu": 1.0})
    text = str(error.value)
    assert all(key in text for key in ("options.scale.click", "options.scale.byu", "options.scale.buy", "Did you mean 'buy'?"))
    with pytest.raises(ConfigError, match=r"options\.scale: "):
        OnePlusProduct({"click": 1.0}, scale=0.0)
