import pytest
import torch
from promises import check_fusion, check_monotone, order, rows

from polytask.errors import ConfigError
from polytask.fusion import Curve, MonotoneProduct, WeightedProduct

CURVES = {"buy": Curve((0.0, 0.01, 0.2), (0.0, 0.3, 0.35)), "watch": Curve((5.0, 30.0, 90.0), (0.1, 0.1, 2.0))}


def made():
    return MonotoneProduct({"click": 1.0, "buy": 0.4, "watch": 0.0 + 0.2}, curves=CURVES, epsilon=1e-3)


def test_promises(tmp_path):
    check_fusion(made(), tmp_path)
    check_monotone(made())


def test_without_curves_it_is_the_weighted_product():
    weights = {"click": 1.0, "buy": 0.4}
    assert order(MonotoneProduct(weights).of_arrays(rows())) == order(WeightedProduct(weights).of_arrays(rows()))


def test_curves_are_applied_before_the_logarithm():
    found = made()({"click": torch.tensor(0.2), "buy": torch.tensor(0.005), "watch": torch.tensor(60.0)}).exp().item()
    assert found == pytest.approx((0.2 + 1e-3) * (0.15 + 1e-3) ** 0.4 * (1.05 + 1e-3) ** 0.2, rel=1e-5)


def test_a_weight_below_zero_is_refused():
    with pytest.raises(ConfigError, match=r"weights.buy: A monotone weight is 0 or more. Received: -0.1"):
        MonotoneProduct({"click": 1.0, "buy": -0.1})
    with pytest.raises(ConfigError, match=r"options.curves.byu: It must have a weight"):
        MonotoneProduct({"buy": 1.0}, curves={"byu": CURVES["buy"]})
