"""What holds for every calibration, and for calibrations of products."""

import json

import numpy as np
import pytest
from miscalibrated import wrong

from polytask.calibration import CALIBRATIONS, Calibrations, Isotonic, Platt, calibration_from_json, calibration_to_json
from polytask.errors import ConfigError, DataError


@pytest.fixture(params=sorted(CALIBRATIONS))
def kind(request):
    return CALIBRATIONS[request.param]


def test_a_weight_counts_rows(kind, rows):
    times = np.arange(len(rows.label)) % 3
    prediction = rows.prediction.astype(np.float64)
    repeated = kind.fit(rows.label.repeat(times), prediction.repeat(times)).apply(prediction)
    weighted = kind.fit(rows.label, prediction, times.astype(np.float64)).apply(prediction)
    np.testing.assert_allclose(weighted, repeated, atol=1e-7)


def test_shape_and_type_stay_and_order_too(kind, rows):
    found = kind.fit(rows.label, rows.prediction).apply(rows.prediction)
    assert found.dtype == rows.prediction.dtype
    assert found.shape == rows.prediction.shape
    assert ((found > 0) & (found < 1)).all()
    assert (np.diff(found[np.argsort(rows.prediction)]) >= 0).all()


def test_the_log_loss_becomes_smaller(kind):
    rows = wrong(3000, slope=0.5, offset=0.0)

    def loss(prediction):
        prediction = prediction.astype(np.float64)
        return -np.mean(np.where(rows.label == 1, np.log(prediction), np.log1p(-prediction)))

    assert loss(kind.fit(rows.label, rows.prediction).apply(rows.prediction)) < loss(rows.prediction) - 0.01


def test_extreme_predictions_stay_finite(kind):
    random = np.random.default_rng(0)
    prediction = np.r_[0.0, 1.0, 1e-30, 1 - 6e-8, random.uniform(size=96)].astype(np.float32)
    label = np.r_[0.0, 1.0, 1.0, 0.0, (random.uniform(size=96) < 0.3)].astype(np.float32)
    assert np.isfinite(kind.fit(label, prediction).apply(prediction)).all()


def test_json_round_trip_is_exact(kind, rows):
    found = kind.fit(rows.label, rows.prediction)
    assert calibration_from_json(json.loads(json.dumps(calibration_to_json(found)))) == found
    both = Calibrations({"click": found, "buy": Platt(slope=0.1 + 0.2, offset=-1.0)})
    assert Calibrations.from_json(json.loads(json.dumps(both.to_json()))) == both


def test_what_cannot_be_is_refused(kind):
    with pytest.raises(DataError, match="none in 2 rows"):
        kind.fit(np.zeros(2), np.full(2, 0.5), np.zeros(2))
    with pytest.raises(DataError, match=r"Received: 2\.0"):
        kind.fit(np.zeros(2), np.full(2, 2.0))
    with pytest.raises(DataError, match="Received: nan"):
        kind.fit(np.zeros(2), np.array([0.5, np.nan]))
    with pytest.raises(ConfigError, match=r"'plat'.*'platt'"):
        calibration_from_json({"name": "plat"})
    with pytest.raises(ConfigError, match="cannot be made"):
        calibration_from_json({"name": kind.name, "more": 1})


def test_a_task_without_calibration_is_left_as_it_is():
    prediction = np.array([0.2, 0.4])
    assert Calibrations({}).apply("click", prediction) is prediction


def funnel(rows, seed):
    """Interest moves clicks and purchases both; the model of clicks does not see it, that of purchases does.

    Both are calibrated exactly on their own rows: of clicks among all rows, of purchases among clicked ones.
    """
    random = np.random.default_rng(seed)
    interest = random.uniform(size=rows) < 0.5
    click = random.uniform(size=rows) < np.where(interest, 0.5, 0.1)
    buy = click & (random.uniform(size=rows) < np.where(interest, 0.4, 0.1))
    noise = random.uniform(0.8, 1.2, rows)  # a feature without use for either
    return click, buy, np.full(rows, 0.3) * noise, np.where(interest, 0.4, 0.1) * noise


def test_calibrated_parts_give_no_calibrated_product_but_the_joint_can_be_calibrated():
    click, buy, p_click, p_buy = funnel(200_000, 0)
    parts = Isotonic.fit(click.astype(float), p_click), Isotonic.fit(buy[click].astype(float), p_buy[click])
    joint = Isotonic.fit(buy.astype(float), p_click * p_buy)

    click, buy, p_click, p_buy = funnel(200_000, 1)
    own_click, own_buy = (part.apply(p) for part, p in zip(parts, (p_click, p_buy), strict=True))
    assert own_click.mean() / click.mean() == pytest.approx(1, abs=0.02)
    assert own_buy[click].mean() / buy[click].mean() == pytest.approx(1, abs=0.02)
    # E[f1 f2] = 0.3 * 0.25, but E[click buy] = (0.5 * 0.4 + 0.1 * 0.1) / 2: the product is 29 % too low
    assert (own_click * own_buy).mean() / buy.mean() == pytest.approx(0.3 * 0.25 / 0.105, abs=0.02)
    calibrated = joint.apply(p_click * p_buy)
    assert calibrated.mean() / buy.mean() == pytest.approx(1, abs=0.02)
    for half in (p_buy < 0.2, p_buy >= 0.2):
        assert calibrated[half].mean() / buy[half].mean() == pytest.approx(1, abs=0.05)
