"""One step is the four lines; what belongs to an absent task is not touched."""

import copy

import pytest
import torch
from stopped import Stopped

from polytask.balancers import Balance, Equal
from polytask.batch import Batch, Labels
from polytask.sharing import private_parameters
from polytask.train import accumulated_step, train_step


def batches_of(small, num=4, batch_size=16, **options):
    return list(small.loader(small.columns(num * batch_size, **options), batch_size=batch_size))


def without(batch, *tasks):
    """The batch with no label of some tasks."""
    labels = dict(batch.labels)
    for task in tasks:
        one = labels[task]
        labels[task] = Labels(one.value, torch.zeros_like(one.observed), 0, one.weight)
    return Batch(batch.features, labels)


def test_is_the_four_lines(small):
    batches = batches_of(small)
    model, balancer, optimizer = small.parts()
    torch.manual_seed(9)
    found = [train_step(model, balancer, optimizer, batch) for batch in batches]
    other, other_balancer, other_optimizer = small.parts()
    torch.manual_seed(9)
    for batch, balance in zip(batches, found, strict=True):
        other_optimizer.zero_grad()
        outputs = other(batch.features)
        losses = other.losses(outputs, batch.labels)
        other_balancer.backward(losses, junction=outputs.shared)
        other_optimizer.step()
        assert all(torch.equal(loss, balance.losses[name]) for name, loss in losses.items())
    assert small.same_weights(model, other)
    assert small.same_weights(balancer, other_balancer)


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD])
def test_optimizers_of_torch_do(small, make):
    batches = batches_of(small)
    model, balancer, _ = small.parts(make=Equal)
    before = copy.deepcopy(model.state_dict())
    optimizer = make(model.parameters(), lr=0.01)
    accumulated_step(model, balancer, optimizer, batches, clip=1.0)
    assert not torch.equal(before["encoders.0.linear.weight"], model.state_dict()["encoders.0.linear.weight"])


@pytest.mark.parametrize("absent", ["click", "time", "likes"])
@pytest.mark.parametrize("num", [1, 3])
def test_an_absent_task_keeps_all_that_is_its_own(small, absent, num):
    batches = batches_of(small)
    model, balancer, optimizer = small.parts()
    train_step(model, balancer, optimizer, batches[0])  # so that Adam has momenta that would move everything
    own = [parameter for task in [absent] for parameter in private_parameters(model, task)]
    before = [parameter.detach().clone() for parameter in own]
    noise = balancer.log_variance(absent).detach().clone()
    state = copy.deepcopy(optimizer.state_dict()["state"])
    accumulated_step(model, balancer, optimizer, [without(batch, absent) for batch in batches[:num]])
    assert len(own) > 2
    assert all(torch.equal(one, parameter) for one, parameter in zip(before, own, strict=True))
    assert torch.equal(noise, balancer.log_variance(absent))
    names = {f"model.{name}" for name, parameter in model.named_parameters() if any(parameter is one for one in own)}
    after = optimizer.state_dict()["state"]
    assert all(torch.equal(after[name]["step"], state[name]["step"]) for name in names)


def test_a_batch_without_any_label_changes_nothing(small):
    (batch,) = batches_of(small, 1)
    model, balancer, optimizer = small.parts()
    before = copy.deepcopy(model.state_dict())
    balance = train_step(model, balancer, optimizer, without(batch, *batch.labels))
    assert balance == Balance({}, {})
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_accumulation_is_the_mean_of_the_gradients(small):
    batches = batches_of(small, 3)
    model, balancer, optimizer = small.parts()
    model.eval()  # dropout would draw differently
    gradients = []
    for batch in batches:
        model.zero_grad()
        balancer.zero_grad()
        balancer.backward(model.losses(model(batch.features), batch.labels))
        gradients.append([parameter.grad.clone() for parameter in [*model.parameters(), *balancer.parameters()]])
    stopped = Stopped(optimizer)
    accumulated_step(model, balancer, stopped, batches)
    for found, *parts in zip([*model.parameters(), *balancer.parameters()], *gradients, strict=True):
        torch.testing.assert_close(found.grad, torch.stack(parts).mean(0))


def test_a_task_absent_from_one_of_several_batches_counts_as_zero_there(small):
    batches = batches_of(small, 2)
    model, balancer, optimizer = small.parts()
    model.eval()
    model.zero_grad()
    balancer.backward(model.losses(model(batches[0].features), batches[0].labels))
    expected = [parameter.grad / 2 for parameter in private_parameters(model, "time")]
    accumulated_step(model, balancer, Stopped(optimizer), [batches[0], without(batches[1], "time")])
    for found, one in zip(private_parameters(model, "time"), expected, strict=True):
        torch.testing.assert_close(found.grad, one)


def test_clipping_bounds_the_norm(small):
    batches = batches_of(small, 1)
    model, balancer, optimizer = small.parts()
    accumulated_step(model, balancer, Stopped(optimizer), batches, clip=0.01)
    norm = torch.stack([parameter.grad.norm() for parameter in [*model.parameters(), *balancer.parameters()]]).norm()
    assert norm.item() == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("precision", ["float32", "medium"])
def test_precision_is_put_back(small, precision):
    (batch,) = batches_of(small, 1)
    before = torch.get_float32_matmul_precision()
    train_step(*small.parts(), batch, precision=precision)
    assert torch.get_float32_matmul_precision() == before


def test_row_weights_reach_the_loss(small):
    rows = small.columns(32)
    model, balancer, optimizer = small.parts()
    model.eval()
    (weighted,) = small.loader(rows, batch_size=32)
    (plain,) = small.loader(rows._replace(weight=None), batch_size=32)
    assert (
        train_step(model, balancer, Stopped(optimizer), weighted).losses["click"]
        != train_step(model, balancer, Stopped(optimizer), plain).losses["click"]
    )
