"""Dead units are found, named and cured."""

import pytest
import torch
from torch import nn

from polytask.batch import Features, Labels
from polytask.encoders import Encoder
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.monitors import FLAGGED, dead_units
from polytask.optimizers import build_optimizer
from polytask.sharing import SharedBottom
from polytask.tasks import Binary


class Numbers(Encoder):
    def __init__(self, width):
        super().__init__()
        self.out_features = width

    def forward(self, features):
        return features.numeric


def rows(n=4096, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 12, generator=generator) + 0.5
    labels = {"click": (x[:, 0] * x[:, 1] > 0).float(), "buy": (x[:, 2] + x[:, 3] > 1).float()}
    return Features(torch.zeros(n, 0, dtype=torch.int32), x), {name: Labels.of(y) for name, y in labels.items()}


def trained(lr, *, activation="relu", clip=None, steps=150, warmup=0):
    torch.manual_seed(0)
    sharing = SharedBottom(12, ["click", "buy"], hidden=(64, 32), activation=activation)
    tasks = [Binary("click"), Binary("buy")]
    model = MultiTaskModel([Numbers(12)], sharing, Heads(sharing.out_features, tasks))
    optimizer = build_optimizer(model, nn.Identity(), lr=lr)
    for step in range(steps):
        features, labels = rows(256, seed=step + 1)
        optimizer.zero_grad()
        sum(model.losses(model(features), labels).values()).backward()
        if clip:
            optimizer.clip(clip)
        optimizer.step()
    return model, optimizer


@pytest.fixture(scope="module")
def planted():
    return trained(0.1)


def flagged(model):
    return [layer for layer in dead_units(model, rows()[0]) if layer.dead > FLAGGED]


def test_a_rate_of_a_tenth_kills_units_and_is_flagged_with_layer_cause_and_way_out(planted):
    model, optimizer = planted
    found = flagged(model)
    assert found
    finding = found[0].finding(optimizer)
    assert f"'{found[0].layer}'" in finding
    assert "learning rate 0.1" in finding
    assert "silu" in finding
    assert f"rate of '{found[0].owner}'" in finding


@pytest.mark.parametrize(
    "remedy",
    [
        {"lr": {"shared": 1e-3, "click": 1e-2, "buy": 1e-2}},
        {"lr": 0.1, "activation": "leaky_relu"},
        {"lr": 0.1, "activation": "silu"},
    ],
    ids=["rates", "leaky_relu", "silu"],
)
def test_remedies_bring_the_flagged_layers_below_a_tenth(planted, remedy):
    model, optimizer = trained(**remedy)
    share = {layer.layer: layer.dead for layer in dead_units(model, rows()[0])}
    assert all(share[layer.layer] < 0.1 for layer in flagged(planted[0]))
    assert not any(layer.finding(optimizer) for layer in dead_units(model, rows()[0]))


def test_units_that_are_dead_by_construction_are_counted_in_their_layer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 4), nn.ReLU())
    with torch.no_grad():
        model[0].bias[:3] = -1e6
        model[2].bias.fill_(1.0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, features):
            return self.net(features.numeric)

    first, second = dead_units(Net(), rows()[0])
    assert (first.layer, first.owner, first.num_units, first.starved) == ("net.1", "shared", 10, 0.0)
    assert first.dead == pytest.approx(0.3)
    with torch.no_grad():
        model[0].bias.fill_(-1e6)
        model[2].bias.copy_(torch.tensor([-1.0, -1.0, -1.0, 1.0]))
    first, second = dead_units(Net(), rows()[0])
    assert (first.dead, first.starved) == (1.0, 0.0)
    assert (second.dead, second.starved) == (0.75, 0.75)
    assert "too large a step" in first.finding()
    assert "inputs are the same on every row" in second.finding()


def test_task_layers_are_named_by_their_task_also_where_towers_are_computed_together():
    torch.manual_seed(0)
    sharing = SharedBottom(12, ["click", "buy"], hidden=(8,))
    model = MultiTaskModel([Numbers(12)], sharing, Heads(8, [Binary("click"), Binary("buy")], hidden=(6,)))
    bias = next(p for name, p in model.named_parameters() if "towers.task_buy" in name and name.endswith("bias"))
    with torch.no_grad():
        bias.fill_(-1e6)
    for num_rows in (64, 100_000):
        layers = {layer.owner: layer for layer in dead_units(model, rows(num_rows)[0])}
        assert layers["buy"].dead == 1.0
        assert layers["click"].dead < 0.5
        assert layers["buy"].num_units == layers["click"].num_units == 6
        assert "buy" in layers["buy"].layer


def test_the_model_is_left_as_it_was():
    model, _ = trained(1e-3, steps=1)
    model.train()
    model.heads.eval()
    before = [module.training for module in model.modules()]
    dead_units(model, rows()[0])
    assert [module.training for module in model.modules()] == before
    assert not any(module._forward_hooks for module in model.modules())
    assert all(p.grad is not None for p in model.parameters())
