"""Predictions that are wrong in a known way, with ties and weights of zero."""

from typing import NamedTuple

import numpy as np


class Wrong(NamedTuple):
    label: np.ndarray
    prediction: np.ndarray
    weight: np.ndarray
    truth: np.ndarray


def wrong(rows, *, slope, offset, seed=0, dtype=np.float32):
    """The truth is `sigmoid(slope * log-odds of the prediction + offset)`."""
    random = np.random.default_rng(seed)
    odds = random.normal(-1.5, 1.2, rows)
    truth = 1 / (1 + np.exp(-(slope * odds + offset)))
    label = (random.uniform(size=rows) < truth).astype(np.float32)
    weight = random.integers(0, 4, rows) * random.uniform(0.5, 1.5, rows)
    return Wrong(label, (1 / (1 + np.exp(-odds))).astype(dtype), weight, truth)
