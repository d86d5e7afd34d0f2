"""DeepRelationship: the contract, a slow reference, when and what it estimates, state by name, what the prior does."""

from functools import partial

import pytest
import torch

from plain import Numbers
from polytask.balancers import Equal
from polytask.batch import Batch, Features, Labels
from polytask.errors import ConfigError
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.optimizers._groups import parameter_groups
from polytask.sharing import DeepRelationship, SharedBottom, private_parameters
from polytask.tasks import Regression
from polytask.testing import check_sharing
from polytask.train import train_step

TASKS = ("time", "buy", "click")  # not in the order of their names


@pytest.mark.parametrize("options", [{}, {"trunk": (), "hidden": (5, 3), "update_every": 1}, {"same_start": False, "floor": 0.5}])
def test_contract(options):
    check_sharing(partial(DeepRelationship, **options))


def test_equals_a_slow_reference(slow, scrambled):
    network = scrambled(DeepRelationship(4, TASKS, trunk=(6, 5), hidden=(3, 2)))
    x = torch.randn(5, 4, dtype=torch.float64)
    outputs = network(x).outputs
    for i, row in enumerate(x.tolist()):
        z = slow.mlp(network.trunk, 0, row)
        for place, task in enumerate(TASKS):
            assert outputs[place, i].tolist() == pytest.approx(slow.mlp(network.towers.of(task), 0, z), abs=1e-10)


def test_equal_towers_are_a_shared_bottom():
    network = DeepRelationship(4, TASKS, trunk=(6,), hidden=(3,)).double()
    bottom = SharedBottom(4, TASKS, hidden=(6, 3)).double()
    parts = [*network.trunk.parameters(), *network.towers.of("buy").parameters()]
    for parameter, other in zip(bottom.parameters(), parts, strict=True):
        parameter.data = other.data
    x = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(network(x).outputs, bottom(x).outputs, rtol=0, atol=1e-12)
    apart = DeepRelationship(4, TASKS, same_start=False)
    assert not torch.equal(apart.towers.of("buy").layers[0].weight, apart.towers.of("time").layers[0].weight)


def test_before_the_first_estimate_it_is_a_decay(scrambled):
    network = scrambled(DeepRelationship(4, TASKS, trunk=(6,), hidden=(3, 2), strength=0.3)).train()
    weights = [layer.weight for task in TASKS for layer in network.towers.of(task).layers]
    x = torch.randn(5, 4, dtype=torch.float64)
    penalty = network(x).penalty
    assert penalty.item() == pytest.approx(0.15 * sum(weight.square().sum().item() for weight in weights), rel=1e-12)
    assert network.eval()(x).penalty is None
    gradients = torch.autograd.grad(penalty, [*weights, *network.trunk.parameters()], allow_unused=True)
    assert gradients[-1] is None
    for weight, gradient in zip(weights, gradients, strict=False):
        torch.testing.assert_close(gradient, 0.3 * weight)


def plant(network, correlations, seed=0):
    """Weights of the tasks' layers as draws that correlate between tasks as given."""
    root = torch.linalg.cholesky(torch.tensor(correlations, dtype=torch.float64))
    generator = torch.Generator().manual_seed(seed)
    for layer in range(len(network.priors)):
        weights = [network.towers.of(task).layers[layer].weight for task in TASKS]
        draws = torch.randn(len(TASKS), weights[0].numel(), generator=generator, dtype=torch.float64)
        for weight, value in zip(weights, root @ draws, strict=True):
            weight.data = value.reshape(weight.shape)


def test_task_correlations_are_those_of_the_weights_by_name():
    network = DeepRelationship(4, TASKS, trunk=(25,), hidden=(20, 30), update_every=3, floor=0.2).double()
    plant(network, [[1.0, 0.8, 0.0], [0.8, 1.0, -0.5], [0.0, -0.5, 1.0]])
    for _ in range(2):
        network.after_step(0.1)
    assert network.task_correlations()["time"]["buy"] == 0  # not yet
    network.after_step(0.1)
    for layer in (0, 1):
        found = network.task_correlations(layer)
        assert list(found) == list(found["buy"]) == list(TASKS)
        assert all(found[task][task] == pytest.approx(1.0) for task in TASKS)
        assert found["time"]["buy"] == pytest.approx(0.8, abs=0.05)
        assert found["buy"]["time"] == pytest.approx(found["time"]["buy"])
        assert found["buy"]["click"] == pytest.approx(-0.5, abs=0.08)
        assert found["time"]["click"] == pytest.approx(0.0, abs=0.1)


def test_the_prior_pulls_a_task_to_where_those_like_it_are():
    """Without labels a task moves by the penalty alone, to its mean given the others: near alike ones, against opposed ones."""
    network = DeepRelationship(4, TASKS, trunk=(25,), hidden=(20,), update_every=1, floor=1e-3, strength=1.0).double()
    plant(network, [[1.0, 0.9, -0.9], [0.9, 1.0, -0.81], [-0.9, -0.81, 1.0]])
    network.after_step(0.1)
    time, buy, click = (network.towers.of(task).layers[0].weight for task in TASKS)
    truth = time.detach().clone()
    precision = torch.linalg.inv(network.priors[0].covariance(0))  # in the order of the names: buy, click, time
    time.data = -(precision[2, 0] * buy + precision[2, 1] * click).detach() / precision[2, 2]
    (gradient,) = torch.autograd.grad(network.prior(), time)
    assert gradient.abs().max().item() < 1e-8
    assert torch.nn.functional.cosine_similarity(time.flatten(), truth.flatten(), dim=0).item() > 0.9
    assert precision[2, 0] < 0 < precision[2, 1]


def test_state_is_by_name_and_counts_steps():
    network = DeepRelationship(4, TASKS, trunk=(5,), hidden=(3,), update_every=4).double()
    plant(network, [[1.0, 0.8, 0.0], [0.8, 1.0, -0.5], [0.0, -0.5, 1.0]])
    for _ in range(6):
        network.after_step(0.1)
    other = DeepRelationship(4, ("click", "time", "buy"), trunk=(5,), hidden=(3,), update_every=4).double()
    other.load_state_dict(network.state_dict())
    assert other.prior().item() == network.prior().item() != 0
    assert other.task_correlations()["buy"]["click"] == network.task_correlations()["buy"]["click"] != 0
    before = network.task_correlations()["buy"]["click"]
    for one in (network, other):
        one.towers.of("buy").layers[0].weight.data.mul_(-1)
        one.after_step(0.1)
        assert one.task_correlations()["buy"]["click"] == before  # seven steps
        one.after_step(0.1)
        assert one.task_correlations()["buy"]["click"] * before < 0  # eight
    assert int(other.state_dict()["num_steps"]) == 8


def test_weight_decay_does_not_count_twice():
    def decaying(**options):
        network = DeepRelationship(4, TASKS, hidden=(5,), **options)
        members = [member for group in parameter_groups(network, Equal(TASKS), 0.1) for member in group.members]
        return {member.name.removeprefix("model.") for member in members if member.decays}

    trunk, towers = {"trunk.layers.0.weight"}, {f"towers.task_{task}.layers.0.weight" for task in TASKS}
    assert decaying() == trunk
    assert decaying(strength=0.0) == trunk | towers


def test_training_learns_and_estimates():
    torch.manual_seed(3)
    tasks = [Regression(name) for name in TASKS]
    network = DeepRelationship(4, TASKS, trunk=(12,), hidden=(8,), update_every=10, strength=1e-3)
    model = MultiTaskModel([Numbers()], network, Heads(8, tasks))
    optimizer = build_optimizer(model, Equal(TASKS), lr=1e-2)
    x = torch.randn(64, 4)
    values = dict(zip(TASKS, (x[:, 0] + x[:, 1], x[:, 0] + x[:, 1] + 0.1 * x[:, 2], x[:, 3].abs()), strict=True))
    labels = {name: Labels(value, torch.ones(64).bool(), 64) for name, value in values.items()}
    batch = Batch(Features(torch.zeros(64, 0, dtype=torch.int64), x, {}), labels)
    balances = [train_step(model, Equal(TASKS), optimizer, batch) for _ in range(100)]
    first, last = (sum(balance.losses.values()).item() for balance in (balances[0], balances[-1]))
    assert last < 0.1 * first
    assert 0 < network.task_correlations()["time"]["buy"] < 1
    assert {len(private_parameters(model.sharing, task)) for task in TASKS} == {2}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strength": -1.0}, "at least 0. Received: -1.0"),
        ({"update_every": 0}, "every 1 step or more. Received: update_every=0"),
        ({"floor": 0.0}, r"The floor of covariances is in \(0, 1\]\. Received: 0.0\. 1.0 keeps"),
        ({"hidden": ()}, "positive widths"),
    ],
)
def test_mistakes_are_named(options, said):
    with pytest.raises(ConfigError, match=said):
        DeepRelationship(4, TASKS, **options)


def test_an_unknown_layer_is_named():
    with pytest.raises(ConfigError, match=r"The tasks have 1 layers of their own\. Received: layer 1"):
        DeepRelationship(4, TASKS).task_correlations(1)
