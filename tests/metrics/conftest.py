"""Asymmetric data with ties, weights of zero, and classes of different size."""

from typing import NamedTuple

import numpy as np
import pytest


class Judged(NamedTuple):
    label: np.ndarray
    prediction: np.ndarray
    weight: np.ndarray


def _weights(random, n):
    return random.integers(0, 5, n) * random.uniform(0.5, 1.5, n)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def binary(request):
    random = np.random.default_rng(0)
    prediction = np.round(random.beta(1, 3, 400), 2).clip(0.01, 0.99)  # many ties
    label = (random.uniform(size=400) < prediction**1.5).astype(np.float32)
    return Judged(label, prediction.astype(request.param), _weights(random, 400))


@pytest.fixture
def real():
    random = np.random.default_rng(1)
    label = random.normal(5, 3, 300).round(1)
    return Judged(label, label * 0.7 + random.normal(2, 1, 300), _weights(random, 300))


@pytest.fixture
def counts():
    random = np.random.default_rng(2)
    rate = random.gamma(1.0, 2.0, 300) + 0.05
    return Judged(random.poisson(rate).astype(np.float32), rate * random.uniform(0.5, 2.0, 300), _weights(random, 300))


@pytest.fixture
def classes():
    random = np.random.default_rng(3)
    label = random.choice(4, 300, p=[0.6, 0.25, 0.1, 0.05])
    scores = random.normal(size=(300, 4)) + 1.5 * np.eye(4)[label]
    prediction = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return Judged(label.astype(np.float32), prediction, _weights(random, 300))
