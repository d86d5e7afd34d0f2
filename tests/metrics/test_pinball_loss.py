import numpy as np
import pytest
from sklearn.metrics import mean_pinball_loss

from polytask.metrics import mae, pinball_loss


def test_equals_scikit_learn(real):
    label, prediction, weight = real
    both = np.stack([prediction - 1, prediction + 2], axis=1)
    expected = [mean_pinball_loss(label, both[:, j], alpha=level, sample_weight=weight) for j, level in enumerate((0.2, 0.9))]
    assert pinball_loss(label, both, weight, levels=(0.2, 0.9)) == pytest.approx(np.mean(expected))


def test_median_is_half_the_mean_absolute_error(real):
    label, prediction, weight = real
    assert pinball_loss(label, prediction[:, None], weight, levels=(0.5,)) == pytest.approx(mae(label, prediction, weight) / 2)
