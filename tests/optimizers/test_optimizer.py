"""The optimizer is one rule on groups: rates per task, absent parameters untouched, state by name."""

import copy

import pytest
import torch
from torch import nn

from polytask.balancers import Balancer
from polytask.encoders import EmbeddingTable
from polytask.errors import CheckpointError, ConfigError
from polytask.optimizers import OPTIMIZERS, build_optimizer
from polytask.sharing import PerTask


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = EmbeddingTable([50, 30], 4)
        self.trunk = nn.Linear(8, 6)
        self.heads = PerTask({"click": nn.Linear(6, 1), "buy": nn.Linear(6, 1)})

    def forward(self, ids):
        hidden = self.trunk(self.table(ids)).tanh()
        return {name: self.heads.of(name)(hidden) for name in self.heads.names}


class Noise(nn.Module):
    """Stands for a balancer with parameters."""

    def __init__(self):
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(2))


def ids_of(step, n=16):
    generator = torch.Generator().manual_seed(step)
    return torch.stack([torch.randint(0, size, (n,), generator=generator) for size in (50, 30)], 1).int()


def backward(model, balancer, step, tasks=("click", "buy")):
    outputs = model(ids_of(step))
    losses = [(outputs[name] - (1.0 + i)).square().mean() for i, name in enumerate(tasks)]
    s = balancer.log_variance
    sum(loss * torch.exp(-s[i]) + s[i] / 2 for i, loss in enumerate(losses)).backward()


def made(seed=0):
    torch.manual_seed(seed)
    return Model(), Noise()


def trained(lr, steps=5, name="adamw", between=None):
    model, balancer = made()
    optimizer = build_optimizer(model, balancer, lr=lr, name=name)
    for step in range(steps):
        optimizer.zero_grad()
        backward(model, balancer, step)
        optimizer.step()
        if between:
            between(step, optimizer)
    return model, balancer, optimizer


def assert_same(one, other):
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_equal_rates_are_one_rate_to_the_bit(name):
    one = trained(3e-3, name=name)
    many = trained({"shared": 3e-3, "click": 3e-3, "buy": 3e-3, "balancer": 3e-3}, name=name)
    assert_same(one[0], many[0])
    assert_same(one[1], many[1])


def test_it_is_three_optimizers_of_torch_to_the_bit():
    model, balancer = made()
    others = copy.deepcopy((model, balancer))
    optimizer = build_optimizer(
        model, balancer, lr={"shared": 1e-3, "click": 1e-2, "buy": 1e-1, "balancer": 1e-4}, weight_decay=0.1
    )
    trunk, click, buy = others[0].trunk, others[0].heads.of("click"), others[0].heads.of("buy")

    def torch_adamw(module, lr):
        decays, rest = [module.weight], [module.bias]
        return torch.optim.AdamW(
            [{"params": decays, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=lr, fused=True
        )

    rivals = [torch_adamw(trunk, 1e-3), torch_adamw(click, 1e-2), torch_adamw(buy, 1e-1)]
    rivals.append(torch.optim.Adam([others[1].log_variance], lr=1e-4, fused=True))
    for step in range(6):
        for pair, optimizers in (((model, balancer), [optimizer]), (others, rivals)):
            for one in optimizers:
                one.zero_grad()
            backward(*pair, step)
            for one in optimizers:
                one.step()
        with torch.no_grad():  # tables have a test of their own
            others[0].table.weight.copy_(model.table.weight)
            others[0].table.weight.grad = None
    assert_same(model, others[0])
    assert_same(balancer, others[1])


def test_rates_do_what_they_say():
    slow, fast = trained({"shared": 1e-3, "buy": 1e-3}, steps=1)[0], trained({"shared": 1e-3, "buy": 1e-2}, steps=1)[0]
    start = made()[0]
    moved = {name: (p - start.get_parameter(name)).abs().mean().item() for name, p in fast.named_parameters()}
    before = {name: (p - start.get_parameter(name)).abs().mean().item() for name, p in slow.named_parameters()}
    for name, distance in moved.items():
        ratio = 10 if "task_buy" in name else 1
        assert distance == pytest.approx(ratio * before[name], rel=1e-2), name


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_without_a_gradient_nothing_moves(name):
    model, balancer, optimizer = trained(1e-2, name=name)
    before, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict()["state"])
    optimizer.zero_grad()
    backward(model, balancer, 9, tasks=("click",))
    assert model.heads.of("buy").weight.grad is None
    optimizer.step()
    for key, value in model.state_dict().items():
        if "task_buy" in key:
            assert torch.equal(value, before[key])
            new = optimizer.state_dict()["state"][f"model.{key}"]
            assert all(torch.equal(new[slot], old) for slot, old in state[f"model.{key}"].items())
        elif "table" not in key:
            assert not torch.equal(value, before[key])


def test_biases_and_balancers_do_not_decay():
    model, balancer = made()
    balancer.log_variance.data.fill_(3.0)
    optimizer = build_optimizer(model, balancer, lr=0.1, weight_decay=0.5)
    start = copy.deepcopy(model.state_dict())
    for parameter in (*model.parameters(), *balancer.parameters()):
        parameter.grad = torch.zeros_like(parameter)
    model.table.weight.grad = None
    optimizer.step()
    assert torch.equal(balancer.log_variance, torch.full((2,), 3.0))
    for name, value in model.state_dict().items():
        decayed = start[name] * 0.95 if name.endswith("weight") and "table" not in name else start[name]
        torch.testing.assert_close(value, decayed)


def test_clipping_sees_dense_and_touched_rows():
    model, balancer = made()
    optimizer = build_optimizer(model, balancer)
    backward(model, balancer, 0)
    backward(model, balancer, 1)  # sparse gradients that were added hold a row twice
    gradients = [p.grad.to_dense().clone() for p in (*model.parameters(), *balancer.parameters())]
    expected = torch.cat([g.flatten() for g in gradients]).norm()
    torch.testing.assert_close(optimizer.clip(0.25), expected)
    clipped = [p.grad.to_dense() for p in (*model.parameters(), *balancer.parameters())]
    for before, after in zip(gradients, clipped, strict=True):
        torch.testing.assert_close(after, before * 0.25 / expected)
    torch.testing.assert_close(optimizer.clip(10.0), torch.tensor(0.25))
    for before, after in zip(clipped, (*model.parameters(), *balancer.parameters()), strict=True):
        assert torch.equal(after.grad.to_dense(), before)


def test_resumed_training_is_the_same_to_the_bit():
    straight = trained(1e-2, steps=6)
    model, balancer, optimizer = trained(1e-2, steps=3)
    weights, state = copy.deepcopy((model.state_dict(), balancer.state_dict())), copy.deepcopy(optimizer.state_dict())
    model, balancer = made(seed=7)
    model.load_state_dict(weights[0])
    balancer.load_state_dict(weights[1])
    optimizer = build_optimizer(model, balancer, lr=5.0)
    optimizer.load_state_dict(state)
    for step in range(3, 6):
        optimizer.zero_grad()
        backward(model, balancer, step)
        optimizer.step()
    assert_same(model, straight[0])
    assert_same(balancer, straight[1])


def test_state_is_by_name_and_plain():
    state = trained(1e-2)[2].state_dict()
    assert set(state) == {"rule", "rates", "state"}
    assert set(state["state"]["model.heads.task_buy.weight"]) == {"mean", "square", "step"}
    assert "balancer.log_variance" in state["state"]
    assert state["rates"]["buy"] == {"lr": 1e-2, "initial_lr": 1e-2}


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda s: s.update(rule="SGD"), "'AdamW'. Received: 'SGD'"),
        (lambda s: s["rates"].pop("buy"), "Groups"),
        (lambda s: s["state"].update({"model.tower.weight": {}}), "'model.tower.weight'"),
        (lambda s: s["state"]["model.trunk.weight"].pop("mean"), "'model.trunk.weight'"),
        (lambda s: s["state"]["model.trunk.weight"].update(mean=torch.zeros(6, 9)), r"\[6, 8\]. Received: \[6, 9\]"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(spoil, match):
    state = copy.deepcopy(trained(1e-2)[2].state_dict())
    spoil(state)
    optimizer = build_optimizer(*made())
    with pytest.raises(CheckpointError, match=match):
        optimizer.load_state_dict(state)
    assert optimizer.state_dict()["state"] == {}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"name": "adam"}, "Did you mean 'adamw'"),
        ({"lr": {"shared": 1e-3, "bye": 1e-2}}, "Did you mean 'buy'"),
        ({"lr": {"buy": 1e-2}}, "one for 'shared'"),
        ({"lr": 0.0}, "positive"),
        ({"lr": float("nan")}, "positive"),
        ({"weight_decay": -1.0}, "negative"),
    ],
)
def test_mistakes_have_a_way_out(arguments, match):
    with pytest.raises(ConfigError, match=match):
        build_optimizer(*made(), **arguments)


def test_a_task_cannot_have_the_name_of_a_group():
    with pytest.raises(ConfigError, match="'shared'"):
        build_optimizer(PerTask({"shared": nn.Linear(1, 1)}), Noise())


def test_gradients_laid_out_otherwise_are_the_same_gradients():
    torch.manual_seed(0)
    gradient, updated = torch.randn(6, 4).T, []
    for layout in (gradient, gradient.contiguous()):
        layer = nn.Linear(6, 4, bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.arange(24.0).view(4, 6))
        layer.weight.grad = layout
        build_optimizer(layer, Noise(), lr=0.1).step()
        updated.append(layer.weight)
    assert torch.equal(*updated)


def test_balancers_of_the_library_have_a_group():
    assert issubclass(Balancer, nn.Module)
    assert [group["name"] for group in build_optimizer(*made()).param_groups] == ["shared", "click", "buy", "balancer"]
    assert [group["name"] for group in build_optimizer(made()[0], nn.Identity()).param_groups] == ["shared", "click", "buy"]
