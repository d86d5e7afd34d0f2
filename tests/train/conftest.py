"""A small problem with everything that can go wrong: three kinds of task, missing labels, dropout, gates, weights."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from polytask.balancers import Uncertainty
from polytask.data import Columns, EncodedRows, Loader
from polytask.data.packed import Layout
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.sharing import MMoE
from polytask.tasks import Binary, Count, Regression

TASKS = (Binary("click"), Regression("time", given="click", mean=3.0, scale=2.0), Count("likes", auxiliary=True))


class Numbers(torch.nn.Module):
    """The numeric columns as they are, with dropout."""

    out_features = 4

    def __init__(self):
        super().__init__()
        self.linear, self.dropout = torch.nn.Linear(3, 4), torch.nn.Dropout(0.2)

    def forward(self, features):
        return self.dropout(self.linear(features.numeric))


def columns(num_rows, seed=0, *, missing=0.2, weighted=True):
    """Rows whose labels follow from the inputs, some of them missing."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(num_rows, 3)).astype(np.float32)
    click = (random.random(num_rows) < 1 / (1 + np.exp(-2 * x[:, 0]))).astype(np.float32)
    time = (x[:, 1] - 0.5 * x[:, 0] + 0.3 * random.normal(size=num_rows)).astype(np.float32)
    likes = random.poisson(np.exp(0.5 * x[:, 2])).astype(np.float32)
    labels = {"click": click, "time": time, "likes": likes}
    for label in labels.values():
        label[random.random(num_rows) < missing] = np.nan
    weight = random.uniform(0.5, 2.0, num_rows).astype(np.float32) if weighted else None
    return Columns(np.zeros((num_rows, 0), np.int32), x, {}, labels, weight)


def loader(rows, *, batch_size=16, shuffle=True, prefetch=2):
    layout = Layout((), 3, tuple(rows.labels), rows.weight is not None)
    return Loader(EncodedRows.in_memory(layout.pack(rows)), TASKS, batch_size=batch_size, shuffle=shuffle, prefetch=prefetch)


def parts(seed=0, *, make=Uncertainty, lr=1e-2, tasks=TASKS):
    """Model, balancer and optimizer; equal seeds give equal weights."""
    torch.manual_seed(seed)
    sharing = MMoE(4, [task.name for task in tasks], num_experts=3, hidden=(8,), expert_dropout=0.1)
    model = MultiTaskModel([Numbers()], sharing, Heads(8, tasks, hidden=(6,)))
    balancer = make([task.name for task in tasks])
    return model, balancer, build_optimizer(model, balancer, lr=lr)


def same_weights(model, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.fixture
def small():
    """The small problem's makers."""
    return SimpleNamespace(tasks=TASKS, columns=columns, loader=loader, parts=parts, same_weights=same_weights)
