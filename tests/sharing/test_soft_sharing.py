"""SoftSharing: the contract, its two ends (single tasks, a shared bottom), every penalty and every proximal step."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from plain import Numbers
from polytask.balancers import Equal
from polytask.batch import Batch, Features, Labels
from polytask.errors import ConfigError
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.optimizers._groups import parameter_groups
from polytask.sharing import SharedBottom, SingleTask, SoftSharing, private_parameters
from polytask.tasks import Regression
from polytask.testing import check_sharing
from polytask.train import train_step

TASKS = ("a", "b", "c")
PENALTIES = [
    {"penalty": "l2_mean"},
    {"penalty": "l2_pairs"},
    {"penalty": "l2_mean", "squared": False},
    {"penalty": "l2_pairs", "squared": False},
    {"penalty": "trace_norm"},
    {"penalty": "trace_norm", "all_modes": True},
]
PROXIMAL = [options for options in PENALTIES if options.get("squared", True)]


@pytest.mark.parametrize("options", [{}, {"hidden": (7, 3), "penalty": "trace_norm", "proximal": True}, {"own_encoders": True}])
def test_contract(options):
    check_sharing(partial(SoftSharing, **options))


def test_contract_of_other_towers():
    def sharing(in_features, tasks):
        def make():
            return nn.Sequential(nn.Linear(in_features, 5), nn.Tanh(), nn.Linear(5, 2))

        return SoftSharing.around(tasks, make, in_features=in_features, out_features=2)

    check_sharing(sharing)


def trained(sharing, *, num_steps=5, lr=0.1, name="sgd", weight_decay=0.0):
    """The sharing after some steps on one batch; heads and targets are the same whatever the sharing."""
    generator = torch.Generator().manual_seed(7)
    torch.manual_seed(8)
    tasks = [Regression(task) for task in sharing.tasks]
    heads = Heads(sharing.out_features, tasks).double()
    model = MultiTaskModel([Numbers() for _ in range(sharing.num_inputs)], sharing, heads)
    x = torch.randn(12, 4, generator=generator, dtype=torch.float64)
    values = torch.randn(len(tasks), 12, generator=generator, dtype=torch.float64)
    labels = {task.name: Labels(value, torch.ones(12).bool(), 12) for task, value in zip(tasks, values, strict=True)}
    batch = Batch(Features(torch.zeros(12, 0, dtype=torch.int64), x, {}), labels)
    optimizer = build_optimizer(model, Equal(sharing.tasks), lr=lr, weight_decay=weight_decay, name=name)
    for _ in range(num_steps):
        train_step(model, Equal(sharing.tasks), optimizer, batch)
    return model


def same(first, second, **tolerance):
    for (name, parameter), other in zip(first.named_parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(parameter, other, msg=name, **tolerance)


@pytest.mark.parametrize("options", PENALTIES)
def test_strength_0_is_single_tasks_to_the_bit_trained_too(options):
    made = []
    for kind, own in ((SingleTask, {}), (SoftSharing, {"own_encoders": True, "strength": 0.0, **options})):
        torch.manual_seed(4)
        made.append(trained(kind(4, TASKS, hidden=(5, 3), **own).double(), name="adamw", weight_decay=0.3))
    same(*made, rtol=0, atol=0)
    assert made[1].sharing.state_dict().keys() == made[0].sharing.state_dict().keys()


@pytest.mark.parametrize("penalty", ["l2_mean", "l2_pairs"])
def test_a_huge_strength_is_a_shared_bottom_trained_too(penalty):
    """The mean of K towers moves by the mean of their gradients: a K-th of what a shared trunk gets."""
    options = {"penalty": penalty, "strength": 1e15, "proximal": True, "same_start": True}
    soft = SoftSharing(4, TASKS, hidden=(5, 3), **options).double()
    bottom = SharedBottom(4, TASKS, hidden=(5, 3)).double()
    bottom.trunk.load_state_dict(soft.bottoms.of("a").state_dict())
    start = copy.deepcopy(bottom.trunk)
    rates = {"shared": 0.02, **dict.fromkeys(TASKS, 0.02)}  # heads learn at one rate in both
    model = trained(soft, lr=rates)
    other = trained(bottom, lr=rates | {"shared": 0.02 / len(TASKS)})
    for task in TASKS:
        same(model.sharing.bottoms.of(task), other.sharing.trunk, rtol=0, atol=1e-12)
    assert (start.layers[0].weight - bottom.trunk.layers[0].weight).abs().max() > 1e-3


def test_a_great_strength_draws_towers_together_by_gradient_alone():
    torch.manual_seed(0)
    soft = SoftSharing(4, TASKS, hidden=(5,), strength=20.0).double()
    before = soft.distance().item()
    trained(soft, num_steps=80, lr=0.01)
    # What is left balances the pull of the tasks, about gradient / strength.
    assert soft.distance().item() < 1e-4 * before


def slow_penalty(soft, options):
    towers = [torch.cat([p.detach().flatten() for p in soft.bottoms.of(task).parameters()]).numpy() for task in soft.tasks]
    power = 2 if options.get("squared", True) else 1
    if options["penalty"] == "l2_mean":
        middle = sum(towers) / len(towers)
        return sum(np.sqrt(((tower - middle) ** 2).sum()) ** power for tower in towers)
    if options["penalty"] == "l2_pairs":
        pairs = [(k, j) for k in range(len(towers)) for j in range(k)]
        return sum(np.sqrt(((towers[k] - towers[j]) ** 2).sum()) ** power for k, j in pairs)
    total = 0.0
    for layer in range(len(soft.bottoms.of("a").layers)):
        for kind in ("weight", "bias"):
            parts = [getattr(soft.bottoms.of(task).layers[layer], kind)[0].detach().numpy() for task in soft.tasks]
            whole = np.stack(parts)
            total += np.linalg.norm(whole.reshape(len(parts), -1), "nuc")
            if options.get("all_modes") and kind == "weight":
                total += np.linalg.norm(np.hstack(parts), "nuc")  # o x (k i)
                total += np.linalg.norm(np.vstack(parts), "nuc")  # (k o) x i
    return total


@pytest.mark.parametrize("options", PENALTIES)
def test_penalty_equals_a_slow_reference(scrambled, options):
    soft = scrambled(SoftSharing(4, TASKS, hidden=(5, 3), strength=0.7, **options))
    x = torch.randn(3, 4, dtype=torch.float64)
    assert soft(x).penalty is None
    assert soft.train()(x).penalty.item() == pytest.approx(0.7 * slow_penalty(soft, options), rel=1e-10)


@pytest.mark.parametrize("options", PENALTIES)
def test_gradients_agree_with_differences(scrambled, options):
    soft = scrambled(SoftSharing(3, TASKS, hidden=(2,), **options))
    x = torch.randn(3, 3, dtype=torch.float64)
    names = [name for name, _ in soft.named_parameters()]

    def penalty(*parameters):
        return torch.func.functional_call(soft.train(), dict(zip(names, parameters, strict=True)), (x,)).penalty

    assert torch.autograd.gradcheck(penalty, tuple(soft.parameters()))


def test_the_pair_form_is_k_times_the_mean_form(scrambled):
    pairs = scrambled(SoftSharing(4, TASKS, hidden=(5,), penalty="l2_pairs"))
    mean = scrambled(SoftSharing(4, TASKS, hidden=(5,), penalty="l2_mean"))
    mean.load_state_dict(pairs.state_dict())
    assert pairs.distance().item() == pytest.approx(3 * mean.distance().item(), rel=1e-12)


@pytest.mark.parametrize("options", PENALTIES)
def test_equal_towers_have_finite_slopes(options):
    soft = SoftSharing(4, TASKS, hidden=(5,), same_start=True, **options)
    gradients = torch.autograd.grad(soft.distance(), list(soft.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    if options["penalty"] != "trace_norm":
        assert soft.distance().item() == pytest.approx(0, abs=1e-6)
        assert max(gradient.abs().max().item() for gradient in gradients) < 1e-3


@pytest.mark.parametrize("options", PROXIMAL[:3])  # all modes: one flattening after the other, and a test of its own
def test_a_proximal_step_is_the_optimum_it_stands_for(scrambled, options):
    """`P = argmin ||P - A||²/2 + t R(P)`: no other point near it is better, in any of 50 directions, near or far."""
    soft = scrambled(SoftSharing(3, TASKS, hidden=(4,), strength=0.5, proximal=True, **options))
    assert soft.train()(torch.randn(2, 3, dtype=torch.float64)).penalty is None
    before = [parameter.detach().clone() for parameter in soft.parameters()]
    soft.after_step(0.3)
    found = [parameter.detach().clone() for parameter in soft.parameters()]
    generator = torch.Generator().manual_seed(1)

    def objective(change, size):
        for parameter, value, step in zip(soft.parameters(), found, change, strict=True):
            parameter.data = value + size * step
        moved = sum((p - b).square().sum() for p, b in zip(soft.parameters(), before, strict=True))
        return (moved / 2 + 0.15 * soft.distance()).item()

    best = objective(found, 0.0)
    for _ in range(50):
        change = [torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in found]
        assert all(objective(change, size) > best for size in (1e-4, -1e-4, 1e-2, -1e-2, 0.5))


def test_all_modes_leave_low_rank_in_every_mode(scrambled):
    soft = scrambled(SoftSharing(6, TASKS, hidden=(5,), strength=1.0, penalty="trace_norm", all_modes=True, proximal=True))
    soft.after_step(1.2)
    weight = torch.stack([soft.bottoms.of(task).layers[0].weight[0].detach() for task in TASKS])
    ranks = [torch.linalg.matrix_rank(weight.movedim(mode, 0).flatten(1), rtol=1e-12).item() for mode in range(3)]
    assert ranks[0] <= 2
    assert ranks[1] < 5
    assert ranks[2] < 6


def test_the_proximal_trace_norm_finds_the_exact_rank_and_the_subgradient_does_not():
    """Five linear tasks of which two are one thing each and the others their sums, under noise."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(60, 6, generator=generator, dtype=torch.float64)
    mixing = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0], [-2.0, 0.5]], dtype=torch.float64)
    truth = mixing @ torch.randn(2, 6, generator=generator, dtype=torch.float64)
    targets = truth @ x.T + 0.3 * torch.randn(5, 60, generator=generator, dtype=torch.float64)
    ranks = {}
    for proximal in (True, False):
        options = {"penalty": "trace_norm", "strength": 0.2, "proximal": proximal}
        soft = SoftSharing.around("abcde", lambda: nn.Linear(6, 1, bias=False), in_features=6, out_features=1, **options).double()
        optimizer = torch.optim.SGD(soft.parameters(), lr=0.3)
        for _ in range(150):
            shared = soft(x)
            loss = (shared.outputs.squeeze(-1) - targets).square().mean(1).sum() / 2
            optimizer.zero_grad()
            (loss if shared.penalty is None else loss + shared.penalty).backward()
            optimizer.step()
            soft.after_step(0.3)
        values = soft.singular_values()["weight"]
        ranks[proximal] = int((values > 1e-12 * values[0]).sum())
        assert loss.item() < 0.1 * targets.square().mean(1).sum().item() / 2
    assert ranks == {True: 2, False: 5}


@pytest.mark.parametrize("options", PENALTIES)
def test_training_lowers_the_penalty(options):
    torch.manual_seed(2)
    soft = SoftSharing(4, TASKS, hidden=(5,), strength=1.0, **options).double()
    before = soft.distance().item()
    trained(soft, num_steps=30, lr=0.02, name="adamw")
    assert soft.distance().item() < 0.85 * before


def test_weight_decay_does_not_count_twice():
    def decaying(**options):
        soft = SoftSharing(4, TASKS, hidden=(5,), **options)
        return {member.name for group in parameter_groups(soft, Equal(TASKS), 0.1) for member in group.members if member.decays}

    towers = {f"model.bottoms.task_{task}.layers.0.weight" for task in TASKS}
    assert decaying(penalty="trace_norm") == set()
    assert decaying(penalty="trace_norm", proximal=True) == set()
    assert decaying(penalty="trace_norm", strength=0.0) == towers
    assert decaying(penalty="l2_mean") == towers  # a distance does not hold down what the towers have in common


def test_feature_maps_and_their_penalty():
    def make():
        return nn.Sequential(nn.Conv2d(3, 4, (1, 3)), nn.ReLU(), nn.Flatten(2))

    soft = SoftSharing.around(TASKS, make, in_features=3, out_features=15, own_encoders=True, proximal=True, strength=1e9)
    x = torch.randn(3, 2, 3, 5, 5)
    expected = torch.stack([soft.bottoms.of(task)(x[place]) for place, task in enumerate(TASKS)])
    torch.testing.assert_close(soft(x).outputs, expected)
    assert soft.num_inputs == 3
    assert len(private_parameters(soft, "b")) == 2
    mean = torch.stack([soft.bottoms.of(task)[0].weight for task in TASKS]).mean(0)
    soft.after_step(1.0)
    torch.testing.assert_close(soft.bottoms.of("c")[0].weight, mean)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"penalty": "l2_men"}, r"Unknown penalty\. Received: 'l2_men'\. .*l2_mean"),
        ({"strength": -1.0}, "at least 0. Received: -1.0"),
        ({"penalty": "trace_norm", "squared": False}, "no squared form"),
        ({"all_modes": True}, "Only a trace norm has modes"),
        ({"squared": False, "proximal": True}, "no proximal step"),
        ({"hidden": ()}, "positive widths"),
    ],
)
def test_mistakes_are_named(options, said):
    with pytest.raises(ConfigError, match=said):
        SoftSharing(4, TASKS, **options)
