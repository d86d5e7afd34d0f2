"""What a sharing adds to the losses: a penalty that no balancer weighs, an adversary, a step of its own after the optimizer's."""

from typing import final

import pytest
import torch
from torch import nn

from plain import Numbers
from polytask.balancers import Equal, Fixed
from polytask.batch import Batch, Features, Labels
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.optimizers._groups import parameter_groups
from polytask.sharing import PerTask, Shared, Sharing
from polytask.tasks import Regression
from polytask.train import train_step

TASKS = ("time", "price")


@final
class Shrunk(Sharing):
    """A trunk under a penalty, with an adversary, an encoder a task and one of all."""

    num_inputs = 3

    def __init__(self, in_features, tasks):
        super().__init__(in_features, tasks)
        self.trunk = nn.Linear(in_features, 4, bias=False)
        self.private = PerTask({task: nn.Linear(in_features, 4, bias=False) for task in self.tasks})
        self.adversary = nn.Linear(4, 2)
        self.out_features, self.rates = 4, []

    def forward(self, x):
        z = self.trunk(x[-1])
        own = torch.stack([self.private.of(task)(one) for task, one in zip(self.tasks, x, strict=False)])
        penalty = 5 * self.trunk.weight.pow(2).sum() if self.training else None
        return Shared(z + own, (z,), penalty=penalty, guesses=self.adversary(z) if self.training else None)

    def after_step(self, lr):
        self.rates.append(lr)

    def penalised_parameters(self):
        return [self.trunk.weight]


def model_and_batch():
    torch.manual_seed(0)
    tasks = [Regression(name) for name in TASKS]
    model = MultiTaskModel([Numbers(3) for _ in range(3)], Shrunk(3, TASKS), Heads(4, tasks))
    features = Features(torch.zeros(5, 0, dtype=torch.int64), torch.randn(5, 3), {})
    observed = {"time": torch.tensor([1, 1, 0, 0, 0]).bool(), "price": torch.tensor([0, 1, 1, 1, 0]).bool()}
    labels = {name: Labels(torch.randn(5), mask, int(mask.sum())) for name, mask in observed.items()}
    return model, Batch(features, labels)


@pytest.mark.parametrize("balancer", [Equal(TASKS), Fixed(TASKS, weights={"time": 7.0, "price": 7.0})])
def test_no_balancer_weighs_the_penalty(balancer):
    model, batch = model_and_batch()
    outputs = model(batch.features)
    balancer.backward(model.losses(outputs, batch.labels), penalty=5 * model.sharing.trunk.weight.pow(2).sum())
    with_penalty = model.sharing.trunk.weight.grad.clone()
    model.zero_grad()
    balancer.backward(model.losses(model(batch.features), batch.labels))
    torch.testing.assert_close(with_penalty - model.sharing.trunk.weight.grad, 10 * model.sharing.trunk.weight)


def test_the_adversary_is_held_against_observed_labels():
    model, batch = model_and_batch()
    outputs = model(batch.features)
    log = outputs.shared.guesses.log_softmax(1)
    # rows are labelled for: time; both; price; price; nothing
    expected = -(log[0, 0] + (log[1, 0] + log[1, 1]) / 2 + log[2, 1] + log[3, 1]) / 5
    torch.testing.assert_close(model.penalty(outputs, batch.labels), outputs.shared.penalty + expected)
    alone = -(log[0, 0] + log[1, 0]) / 5
    torch.testing.assert_close(model.penalty(outputs, {"time": batch.labels["time"]}), outputs.shared.penalty + alone)
    assert model.eval().penalty(model(batch.features), batch.labels) is None


def test_a_step_trains_the_penalty_calls_the_sharing_and_leaves_decay_out():
    model, batch = model_and_batch()
    optimizer = build_optimizer(model, Equal(TASKS), lr=0.01, weight_decay=0.5)
    before = model.sharing.trunk.weight.norm().item()
    for _ in range(30):
        train_step(model, Equal(TASKS), optimizer, batch)
    assert model.sharing.trunk.weight.norm().item() < 0.6 * before
    assert model.sharing.rates == [0.01] * 30
    assert all(encoder.scale.grad is not None for encoder in (*model.own_encoders.values(), *model.encoders))
    groups = parameter_groups(model, Equal(TASKS), 0.01)
    decays = {member.name: member.decays for group in groups for member in group.members}
    assert not decays["model.sharing.trunk.weight"]
    assert decays["model.sharing.private.task_time.weight"]
