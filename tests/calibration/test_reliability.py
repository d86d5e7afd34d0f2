import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from polytask.calibration import reliability, reliability_svg
from polytask.errors import DataError
from polytask.metrics import calibration_error


def test_the_gaps_are_the_calibration_error(rows):
    for weight in (None, rows.weight):
        bins = reliability(rows.label, rows.prediction, weight)
        gap = sum(found.mass * abs(found.predicted - found.observed) for found in bins)
        assert gap == pytest.approx(calibration_error(rows.label, rows.prediction, weight), rel=1e-9)
        assert sum(found.mass for found in bins) == pytest.approx(1)
    assert all(found.low <= found.observed <= found.high for found in bins)


def test_bins_have_equal_mass_and_hold_the_right_rows():
    prediction = np.arange(1, 41) / 100
    label = (prediction > 0.2).astype(float)
    found = reliability(label, prediction, num_bins=4)
    assert [one.rows for one in found] == [10] * 4
    np.testing.assert_allclose([one.predicted for one in found], [0.055, 0.155, 0.255, 0.355])
    assert [one.observed for one in found] == [0, 0, 1, 1]


def test_what_is_no_probability_is_refused():
    with pytest.raises(DataError, match=r"probabilities. Received: 1.5"):
        reliability(np.array([1.0]), np.array([1.5]))
    with pytest.raises(DataError, match="none in 1 rows"):
        reliability(np.array([1.0]), np.array([0.5]), np.zeros(1))


@pytest.mark.parametrize(("rate", "ticks"), [(0.5, {"0", "1"}), (0.002, {"0.001", "0.01"})])
def test_the_drawing_holds_itself_and_every_bin(rate, ticks):
    random = np.random.default_rng(0)
    prediction = random.uniform(rate / 2, rate * 2, 20_000)
    label = (random.uniform(size=20_000) < prediction).astype(float)
    bins = reliability(label, prediction)
    drawing = reliability_svg({"click & buy": {"raw": bins}, "like": {"raw": bins[:3], "calibrated": bins[3:]}})
    root = ElementTree.fromstring(drawing)
    circles = root.findall(".//{*}circle")
    assert len(circles) == 2 * len(bins)
    assert not re.search(r"href|<script|url\(|@import", drawing)
    texts = {text.text for text in root.findall(".//{*}text")}
    assert {"click & buy", "like", "raw", "calibrated", *ticks} <= texts


def test_a_bin_on_the_diagonal_is_drawn_there():
    from polytask.calibration import Reliability

    drawing = reliability_svg({"y": {"a": [Reliability(9, 0.5, 0.5, 0.5, 0.4, 1.0), Reliability(9, 0.5, 0.25, 0.75, 0.1, 0.9)]}})
    circles = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawing)]
    side = float(re.search(r'<rect width="([\d.]+)" height="\1" fill="none"', drawing)[1])
    assert circles == [(side * 0.5, side * 0.5), (side * 0.25, side * 0.25)]
