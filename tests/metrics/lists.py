"""Lists of unequal length with ties, weights of zero, lists without a positive row and lists of one row."""

import itertools
from typing import NamedTuple

import numpy as np


class Lists(NamedTuple):
    label: np.ndarray
    prediction: np.ndarray
    weight: np.ndarray
    groups: np.ndarray


def made(*, graded: bool, rows: int = 400, groups: int = 90) -> Lists:
    random = np.random.default_rng(11)
    group = random.integers(0, groups, rows) * 7 - 100  # neither sorted nor dense
    label = random.choice(4, rows, p=[0.6, 0.2, 0.15, 0.05]) if graded else random.random(rows) < 0.3
    prediction = (random.random(rows) + 0.1 * label).round(1)
    return Lists(label.astype(np.float64), prediction, random.integers(0, 4, rows).astype(np.float64), group)


def over_orders(label, prediction, value):
    """The mean of `value(labels in order)` over all orders that the predictions allow."""
    values = [
        value(label[list(order)])
        for order in itertools.permutations(range(len(label)))
        if all(prediction[a] >= prediction[b] for a, b in itertools.pairwise(order))
    ]
    return np.mean(values)


def by_group(lists, value, *, weighted=False):
    """A loop over groups: the mean of `value(label, prediction)`, and how many groups had none (None)."""
    weight = lists.weight if weighted else np.ones(len(lists.label))
    found, masses, without = [], [], 0
    for group in np.unique(lists.groups[weight > 0]):
        rows = (lists.groups == group) & (weight > 0)
        one = value(lists.label[rows], lists.prediction[rows])
        if one is None:
            without += 1
        else:
            found.append(one)
            masses.append(weight[rows].mean())
    return np.average(found, weights=masses), without
