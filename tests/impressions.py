"""Labels and outputs of few rows, and slow references in floats, for tests of spaces."""

import itertools
import math

import torch

from polytask.batch import Labels

NAN = math.nan


def labels_of(**columns):
    """Labels from lists; as the loader makes them, a label outside of its sample space is absent."""
    return {name: Labels.of(torch.tensor(column, dtype=torch.float32)) for name, column in columns.items()}


def outputs_of(**columns):
    return {name: torch.tensor(column, dtype=torch.float32).unsqueeze(1).requires_grad_() for name, column in columns.items()}


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def cross_entropy(logit, label):
    """`-y log p - (1 - y) log(1 - p)`, in floats."""
    return softplus(logit) - label * logit


def patterns(num_rows):
    """All outcomes of as many coins."""
    return itertools.product([0.0, 1.0], repeat=num_rows)
