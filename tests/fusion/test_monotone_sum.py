import pytest
from promises import check_fusion, check_monotone, rows

from polytask.errors import ConfigError
from polytask.fusion import Curve, MonotoneSum, fit_curves

CURVES = {"buy": Curve((0.0, 0.01, 0.2), (-1.0, 0.3, 0.35))}


def test_promises(tmp_path):
    check_fusion(MonotoneSum({"click": 1.0, "buy": 0.4}, curves=CURVES), tmp_path)
    check_monotone(MonotoneSum({"click": 1.0, "buy": 0.4}, curves=CURVES))


def test_fitted_curves_keep_it_monotone():
    table = rows()
    labels = {"click": table["click"] ** 2, "watch": -table["watch"]}  # the second one falls
    fusion = MonotoneSum({"click": 2.0, "watch": 1.0}, curves=fit_curves({name: table[name] for name in labels}, labels))
    check_monotone(fusion)
    assert len(set(fusion.curves["watch"].to)) == 1


def test_a_weight_below_zero_and_a_falling_curve_are_refused():
    with pytest.raises(ConfigError, match=r"weights.click"):
        MonotoneSum({"click": -1.0})
    with pytest.raises(ConfigError, match=r"Values must not fall"):
        Curve((0.0, 1.0), (1.0, 0.5))
    with pytest.raises(ConfigError, match=r"Knots must rise"):
        Curve((0.0, 0.0), (0.0, 0.5))
    with pytest.raises(ConfigError, match=r"2 knots, 1 values"):
        Curve((0.0, 1.0), (0.0,))
