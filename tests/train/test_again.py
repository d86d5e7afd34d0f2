"""The second look at a batch sees the step alone; balancers are called when the trainer says, and resume inside an epoch."""

import pytest
import torch
from stopped import Stopped

from polytask import checkpoint
from polytask.balancers import FAMO, DynamicAverage, Equal, LossBalancer
from polytask.batch import Batch, Labels
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.sharing import SharedBottom
from polytask.train import Interrupted, Plan, Trainer, accumulated_step, train_step


class Noisy(torch.nn.Module):
    """An encoder that drops units and normalises by the batch."""

    out_features = 4

    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.dropout = torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5)

    def forward(self, features):
        return self.dropout(self.norm(self.linear(features.numeric)))


class Looking(LossBalancer):
    """The plain sum that keeps what it is shown."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.first, self.second = [], []

    def objective(self, losses, names):
        self.first.append(dict(zip(names, losses.detach().clone(), strict=True)))
        return losses.sum()

    def after_step(self, losses):
        self.second.append(losses())


def noisy_parts(small, make=Looking):
    _, balancer, _ = small.parts(make=make)
    torch.manual_seed(0)
    names = [task.name for task in small.tasks]
    model = MultiTaskModel([Noisy()], SharedBottom(4, names, hidden=(8,), dropout=0.3), Heads(8, small.tasks))
    return model, balancer, torch.optim.SGD(model.parameters(), lr=0.1)


def batches_of(small, num=3):
    return list(small.loader(small.columns(num * 16), batch_size=16))


def unlabelled(batch):
    labels = {name: Labels(one.value, torch.zeros_like(one.observed), 0, one.weight) for name, one in batch.labels.items()}
    return Batch(batch.features, labels)


def test_without_a_step_the_second_look_sees_the_same_losses_bit_for_bit(small):
    model, balancer, optimizer = noisy_parts(small)
    for batch in batches_of(small):
        train_step(model, balancer, Stopped(optimizer), batch)
    assert len(balancer.second) == 3
    for first, second in zip(balancer.first, balancer.second, strict=True):
        assert set(first) == set(second) == {task.name for task in small.tasks}
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert not any(loss.requires_grad for loss in second.values())
    assert balancer.first[0]["click"] != balancer.first[1]["click"]


def test_with_a_step_the_losses_are_those_of_the_new_weights_under_the_old_draws(small):
    model, balancer, optimizer = noisy_parts(small)
    (batch,) = batches_of(small, 1)
    torch.manual_seed(3)
    train_step(model, balancer, optimizer, batch)
    torch.manual_seed(3)
    expected = model.losses(model(batch.features), batch.labels)
    assert all(torch.equal(expected[name], balancer.second[0][name]) for name in expected)
    assert balancer.second[0]["click"] != balancer.first[0]["click"]


def test_a_second_look_leaves_draws_statistics_and_weights_as_if_there_was_none(small):
    batches = batches_of(small)
    model, balancer, optimizer = noisy_parts(small)
    plain, equal, plain_optimizer = noisy_parts(small, Equal)
    for net, one, steps in ((model, balancer, optimizer), (plain, equal, plain_optimizer)):
        torch.manual_seed(7)
        for batch in batches:
            train_step(net, one, steps, batch)
        net.drawn = torch.rand(2)
    assert torch.equal(model.drawn, plain.drawn)
    assert model.state_dict()["encoders.0.norm.num_batches_tracked"] == len(batches)
    assert small.same_weights(model, plain)


def test_of_several_batches_the_last_with_labels_is_looked_at(small):
    batches = batches_of(small, 4)
    model, balancer, optimizer = noisy_parts(small)
    accumulated_step(model, balancer, Stopped(optimizer), [*batches[:2], unlabelled(batches[2])])
    (second,) = balancer.second
    assert all(torch.equal(balancer.first[1][name], loss) for name, loss in second.items())
    assert train_step(model, balancer, Stopped(optimizer), unlabelled(batches[3])).losses == {}
    assert len(balancer.second) == 1


def test_famo_learns_nothing_from_dropout(small):
    """Where no step is made nothing changes, so logits stay; with other draws they would wander at their full rate."""
    model, balancer, optimizer = noisy_parts(small, FAMO)
    for batch in batches_of(small):
        train_step(model, balancer, Stopped(optimizer), batch)
    assert balancer.logits.value.abs().max() == 0
    train_step(model, balancer, optimizer, batch)
    assert balancer.logits.value.abs().max() > 0.01


def test_the_trainer_calls_after_each_step_and_each_epoch(small):
    class Counting(Looking):
        def __init__(self, tasks):
            super().__init__(tasks)
            self.epochs = []

        def after_epoch(self):
            self.epochs.append(len(self.second))

    model, balancer, optimizer = noisy_parts(small, Counting)
    plan = Plan(device="cpu", epochs=2, accumulate=2)
    Trainer(model, balancer, optimizer, plan=plan).fit(small.loader(small.columns(80), batch_size=16))
    assert balancer.epochs == [3, 6]  # five batches in steps of two


def test_a_checkpoint_holds_the_balancer_and_a_resume_inside_an_epoch_keeps_its_means(small, tmp_path):
    rows, plan = small.columns(96), Plan(device="cpu", epochs=4)

    def fit(directory, balancer_of, stop_at=None):
        model, balancer, optimizer = small.parts(make=balancer_of)
        trainer = Trainer(model, balancer, optimizer, plan=plan)
        if stop_at is not None:
            original, calls = balancer.objective, []

            def objective(losses, names):
                calls.append(names)
                if len(calls) == stop_at:
                    trainer._watch.signum = 15
                return original(losses, names)

            balancer.objective = objective
        torch.manual_seed(1)
        trainer.fit(small.loader(rows), directory=directory)
        return model, balancer

    model, balancer = fit(tmp_path / "straight", DynamicAverage)
    with pytest.raises(Interrupted):
        fit(tmp_path / "broken", DynamicAverage, stop_at=15)  # six steps an epoch: the third of the third
    saved = checkpoint.load(tmp_path / "broken/checkpoints/latest.safetensors")["balancer"]
    assert saved["epoch.count.task_click"] == 3
    assert saved["ratio.task_click"] != 1
    resumed, again = fit(tmp_path / "broken", DynamicAverage)
    assert small.same_weights(model, resumed)
    assert small.same_weights(balancer, again)
