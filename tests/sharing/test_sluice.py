"""Sluice: the contract, a slow reference, its reductions, the penalty, where it starts, that β and α find what they should."""

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
from polytask.sharing import CrossStitch, SingleTask, Sluice, private_parameters
from polytask.tasks import Regression
from polytask.testing import check_sharing
from polytask.train import train_step

OPTIONS = [
    {},
    {"hidden": (6,), "num_subspaces": 3},
    {"hidden": (6, 6, 6), "num_subspaces": 3, "own_encoders": True},
    {"hidden": (5, 5, 5), "num_subspaces": 1, "activation": "gelu"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_contract(options):
    check_sharing(partial(Sluice, **{"hidden": (4, 4), **options}))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("tasks", ["ab", "cab"])
def test_equals_a_slow_reference(slow, scrambled, options, tasks):
    model = scrambled(Sluice(3, list(tasks), **{"hidden": (4, 4), **options, "activation": "relu"}))
    x = torch.randn(*([len(tasks)] if model.num_inputs > 1 else []), 5, 3, dtype=torch.float64)
    outputs = model(x).outputs
    for i in range(5):
        streams = {task: (x[place, i] if x.dim() == 3 else x[i]).tolist() for place, task in enumerate(tasks)}
        depths = {task: [] for task in tasks}
        for layer, stitch in zip(model.layers, model.stitches, strict=True):
            streams = {task: slow.mlp(layer.of(task), 0, streams[task]) for task in tasks}
            streams = slow_stitch(stitch, streams, model.num_subspaces)
            for task in tasks:
                depths[task].append(streams[task])
        for place, task in enumerate(tasks):
            shares = slow.softmax(model.depths.of(task).beta.tolist()) if model.depths is not None else [1.0]
            assert outputs[place, i].tolist() == pytest.approx(slow.mix(shares, depths[task]), abs=1e-10)


def slow_stitch(stitch, streams, size):
    """By the stored rows: `alpha[i][l][j]`, l in the order of the names."""
    names, width = sorted(streams), len(next(iter(streams.values()))) // size
    mixed = {}
    for task in streams:
        alpha = stitch.rows.of(task).alpha.view(size, len(names), size).tolist()
        mixed[task] = [
            sum(alpha[i][place][j] * streams[name][j * width + unit] for place, name in enumerate(names) for j in range(size))
            for i in range(size)
            for unit in range(width)
        ]
    return mixed


def test_with_one_subspace_and_the_last_depth_alone_it_is_a_cross_stitch(scrambled):
    sluice = scrambled(Sluice(4, ["b", "a"], hidden=(5, 5), num_subspaces=1))
    stitched = CrossStitch(4, ["b", "a"], hidden=(5, 5), per_unit=False).double()
    stitched.stages.load_state_dict(sluice.layers.state_dict())
    stitched.stitches.load_state_dict(sluice.stitches.state_dict())
    with torch.no_grad():
        for depths in sluice.depths.values():
            depths.beta.copy_(torch.tensor([-200.0, 200.0]))
    x = torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(sluice(x).outputs, stitched(x).outputs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_subspaces", [1, 2])
def test_with_an_identity_and_the_last_depth_alone_it_is_single_task(scrambled, num_subspaces):
    single = scrambled(SingleTask(4, ["c", "a", "b"], hidden=(6, 6)))
    options = {"num_subspaces": num_subspaces, "self_weight": 1.0, "own_encoders": True}
    sluice = Sluice(4, ["c", "a", "b"], hidden=(6, 6), **options).double()
    with torch.no_grad():
        for task in "abc":
            sluice.depths.of(task).beta.copy_(torch.tensor([-200.0, 200.0]))
            for place, layer in enumerate(sluice.layers):
                layer.of(task).layers[0].load_state_dict(single.bottoms.of(task).layers[place].state_dict())
    x = torch.randn(3, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(sluice(x).outputs, single(x).outputs, rtol=0, atol=1e-12)


def test_it_starts_well_conditioned_and_mostly_at_the_last_layer():
    """With the rows of the public code the mixing matrix is singular: from there on all tasks are alike."""
    sluice = Sluice(4, ["a", "b", "c"], hidden=(6, 6, 6))
    for stitch in sluice.stitches:
        assert torch.linalg.cond(stitch.weights()[..., 0]) < 1.2
    torch.testing.assert_close(sluice.shares(), torch.tensor([[0.05, 0.05, 0.9]] * 3))


def test_penalty_is_that_of_the_paper_and_for_training_only():
    sluice = Sluice(3, ["a", "b"], hidden=(6, 6), num_subspaces=3, strength=0.5).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    expected = 0.0
    for layer in sluice.layers:
        for tower in layer.values():
            columns = tower.layers[0].weight[0].T  # d x h: a unit a column
            for i, j in [(0, 1), (0, 2), (1, 2)]:
                expected += (columns[:, 2 * i : 2 * i + 2].T @ columns[:, 2 * j : 2 * j + 2]).norm() ** 2
    assert sluice.train()(x).penalty.item() == pytest.approx(0.5 * expected.item(), rel=1e-12)
    assert sluice.eval()(x).penalty is None
    assert Sluice(3, ["a"], hidden=(6,), strength=0.0)(x.float()).penalty is None
    assert Sluice(3, ["a"], hidden=(6,), num_subspaces=1)(x.float()).penalty is None


def test_the_gradient_of_the_penalty_agrees_with_differences():
    sluice = Sluice(3, ["a", "b"], hidden=(4, 4), strength=0.3).double()
    names = [name for name, _ in sluice.named_parameters() if "layers" in name and "weight" in name]
    values = [sluice.get_parameter(name).detach().clone().requires_grad_() for name in names]

    def penalty(*values):
        x = torch.zeros(1, 3, dtype=torch.float64)
        return torch.func.functional_call(sluice, dict(zip(names, values, strict=True)), (x,)).penalty

    assert torch.autograd.gradcheck(penalty, values)


def test_penalty_is_exact_under_autocast():
    sluice = Sluice(8, ["a", "b"], hidden=(6, 6))
    expected = sluice(torch.zeros(2, 8)).penalty
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sluice(torch.zeros(2, 8)).penalty, expected)


def small_model(**options):
    torch.manual_seed(0)
    sluice = Sluice(3, ["time", "price"], hidden=(8, 8), **options)
    model = MultiTaskModel([Numbers()], sluice, Heads(8, [Regression("time"), Regression("price")]))
    features = Features(torch.zeros(32, 0, dtype=torch.int64), torch.randn(32, 3), {})
    labels = {name: Labels(torch.randn(32), torch.ones(32).bool(), 32) for name in ("time", "price")}
    return model, Batch(features, labels)


def test_training_makes_subspaces_orthogonal():
    left = {}
    for strength in (0.0, 1.0):
        model, batch = small_model(strength=strength)
        optimizer = build_optimizer(model, Equal(["time", "price"]), lr=0.01)
        for _ in range(100):
            train_step(model, Equal(["time", "price"]), optimizer, batch)
        model.sharing.strength = 1.0
        left[strength] = model.sharing(torch.zeros(1, 3)).penalty.item()
    assert left[1.0] < 0.02 * left[0.0]


def test_mixing_weights_are_not_decayed():
    model, _ = small_model()
    groups = parameter_groups(model, Equal(["time", "price"]), 0.01)
    decayed = {member.name.rsplit(".", 1)[-1] for group in groups for member in group.members if member.decays}
    assert decayed == {"weight"}


def test_what_is_private():
    sluice = Sluice(4, ["a", "b"], hidden=(4, 4))
    private = {id(parameter) for parameter in private_parameters(sluice, "a")}
    names = {name for name, parameter in sluice.named_parameters() if id(parameter) in private}
    assert names == {"stitches.1.rows.task_a.alpha", "depths.task_a.beta"}


def test_a_task_finds_the_layer_that_it_needs():
    """Task "low" wants what the first layer holds, "high" what the second holds: β moves apart."""
    torch.manual_seed(0)
    sluice = Sluice(4, ["low", "high"], hidden=(6, 6), strength=0.0, last_weight=0.5)
    x = torch.randn(64, 4)
    shared = sluice(x)
    second = sluice._stitched(sluice.stitches[1], shared.junction[1].mT, None).mT
    targets = torch.stack([shared.junction[0][0], second[1]]).detach()
    optimizer = torch.optim.Adam(sluice.depths.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        (sluice(x).outputs - targets).square().mean().backward()
        optimizer.step()
    shares = sluice.shares()
    assert shares[0, 0] > 0.95
    assert shares[1, 1] > 0.95


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"layers of one width\. Received: \[4, 6\]"):
        Sluice(4, ["a"], hidden=(4, 6))
    with pytest.raises(ConfigError, match="layers of one width"):
        Sluice(4, ["a"], hidden=())
    for num in (0, 4):
        with pytest.raises(ConfigError, match=f"equal parts.*{num} subspaces of a layer of 6"):
            Sluice(4, ["a"], hidden=(6,), num_subspaces=num)
    with pytest.raises(ConfigError, match=r"share in \(0, 1\).*1"):
        Sluice(4, ["a"], last_weight=1.0)
    with pytest.raises(ConfigError, match="not negative"):
        Sluice(4, ["a"], strength=-1.0)
