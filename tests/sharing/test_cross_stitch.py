"""Cross-stitch: the contract, a slow reference, single task as a special case, scale at the start, towers of the user."""

import subprocess
import sys
from functools import partial

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
from polytask.sharing import CrossStitch, MLPs, SingleTask, private_parameters
from polytask.tasks import Binary, Regression
from polytask.testing import check_sharing
from polytask.train import train_step

OPTIONS = [
    {},
    {"hidden": (5,), "per_unit": False},
    {"hidden": (5, 7, 3), "stitch_last": False},
    {"hidden": (4, 6), "own_encoders": True, "activation": "silu"},
    {"hidden": (4, 6), "own_encoders": True, "stitch_last": False, "per_unit": False},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_contract(options):
    check_sharing(partial(CrossStitch, **{"hidden": (5, 4), **options}))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("tasks", ["ab", "cab"])
def test_equals_a_slow_reference(slow, scrambled, options, tasks):
    model = scrambled(CrossStitch(4, list(tasks), **{"hidden": (5, 3), **options, "activation": "relu"}))
    x = torch.randn(*([len(tasks)] if model.num_inputs > 1 else []), 6, 4, dtype=torch.float64)
    outputs = model(x).outputs
    for i in range(6):
        streams = {task: (x[place, i] if x.dim() == 3 else x[i]).tolist() for place, task in enumerate(tasks)}
        for place, stage in enumerate(model.stages):
            streams = {task: slow.mlp(stage.of(task), 0, streams[task]) for task in tasks}
            if place < len(model.stitches):
                streams = slow_stitch(model.stitches[place], streams)
        for place, task in enumerate(tasks):
            assert outputs[place, i].tolist() == pytest.approx(streams[task], abs=1e-10)


def slow_stitch(stitch, streams):
    """By the stored rows, whose columns are in the order of the names."""
    mixed = {}
    for task, own in streams.items():
        alpha = stitch.rows.of(task).alpha.view(len(streams), -1).tolist()
        weights = dict(zip(sorted(streams), alpha, strict=True))
        mixed[task] = [
            sum(weights[other][unit % len(weights[other])] * streams[other][unit] for other in streams)
            for unit in range(len(own))
        ]
    return mixed


@pytest.mark.parametrize("own_encoders", [False, True])
@pytest.mark.parametrize("per_unit", [False, True])
def test_with_an_identity_it_is_single_task(scrambled, own_encoders, per_unit):
    single = scrambled(SingleTask(4, ["c", "a", "b"], hidden=(5, 3)))
    options = {"hidden": (5, 3), "self_weight": 1.0, "own_encoders": own_encoders, "per_unit": per_unit}
    stitched = CrossStitch(4, ["c", "a", "b"], **options).double()
    for place, stage in enumerate(stitched.stages):
        for task in stitched.tasks:
            own, known = stage.of(task).layers[0], single.bottoms.of(task).layers[place]
            own.load_state_dict(known.state_dict())
    x = torch.randn(3, 6, 4, dtype=torch.float64)
    given, copied = (x, x) if own_encoders else (x[0], x[:1].expand(3, -1, -1))
    torch.testing.assert_close(stitched(given).outputs, single(copied).outputs, rtol=0, atol=1e-12)


def test_activations_are_not_scaled_at_the_start():
    """Public code starts with ones: activations then grow k-fold at each layer."""
    torch.manual_seed(0)
    tasks, x = [f"task {i}" for i in range(8)], torch.randn(200, 16)
    widths = (32,) * 4
    norms = {}
    for weight in (1.0, 0.9):
        torch.manual_seed(1)
        norms[weight] = CrossStitch(16, tasks, hidden=widths, self_weight=weight)(x).outputs.mean().item()
    assert norms[0.9] == pytest.approx(norms[1.0], rel=0.2)
    stitched = CrossStitch(16, tasks, hidden=(32,))
    before = torch.cat([tower(x) for tower in stitched.stages[0].values()])
    assert stitched(x).outputs.abs().max() <= before.abs().max()  # a mean of towers with weights that sum to 1


def test_what_is_private():
    def found(model):
        private = {id(parameter) for parameter in private_parameters(model, "a")}
        names = [name for name, parameter in model.named_parameters() if id(parameter) in private]
        return {".".join(name.split(".")[:4]) for name in names}

    assert found(CrossStitch(4, ["a", "b"], hidden=(3, 3))) == {"stitches.1.rows.task_a"}
    last = CrossStitch(4, ["a", "b"], hidden=(3, 3), stitch_last=False)
    assert found(last) == {"stitches.0.rows.task_a", "stages.1.task_a.layers"}


def test_encoders_of_stitched_towers_are_reached_by_all_losses_and_so_private_to_none():
    torch.manual_seed(0)
    tasks = [Regression("time"), Binary("click")]
    sharing = CrossStitch(3, ["time", "click"], hidden=(4,), own_encoders=True)
    model = MultiTaskModel([Numbers(3), Numbers(3)], sharing, Heads(4, tasks))
    features = Features(torch.zeros(5, 0, dtype=torch.int64), torch.rand(5, 3), {})
    labels = {"time": Labels(torch.randn(5), torch.ones(5).bool(), 5)}
    optimizer = build_optimizer(model, Equal(["time", "click"]), lr=0.1)
    train_step(model, Equal(["time", "click"]), optimizer, Batch(features, labels))
    assert (model.own_encoders.of("click").scale.grad != 0).any()  # the loss of "time" alone
    assert not {id(model.own_encoders.of("click").scale)} & {id(parameter) for parameter in private_parameters(model, "click")}


def test_a_task_learns_to_take_what_another_knows():
    """Tower "a" is frozen at what both targets need, "b" at noise: stitched, "b" shifts its weight to the tower of "a"."""
    torch.manual_seed(0)
    stitched = CrossStitch(4, ["b", "a"], hidden=(6,), per_unit=False)
    x, known = torch.randn(64, 4), stitched.stages[0].of("a")
    target = known(x)[0].detach()
    optimizer = torch.optim.Adam(stitched.stitches.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        (stitched(x).outputs - target).square().mean().backward()
        optimizer.step()
    own, other = stitched.stitches[0].weights()[0, :, 0].tolist()
    assert (own, other) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))


def conv_towers(tasks, *, start=(), end=(), widths=(4, 3)):
    def tower():
        first = nn.Sequential(*start, nn.Conv2d(2, widths[0], 3, padding=1), nn.ReLU())
        second = nn.Sequential(nn.Conv2d(widths[0], widths[1], 3, stride=2), nn.ReLU(), *(make() for make in end))
        return [first, second]

    return {task: tower() for task in tasks}


@pytest.mark.parametrize("options", [{}, {"per_unit": False, "stitch_last": False}])
def test_towers_of_the_user_keep_the_contract(options):
    def make(width, tasks):
        start, end = [nn.Unflatten(1, (2, 1, width // 2))], [nn.Flatten, partial(nn.LazyLinear, 5)]
        towers = conv_towers(tasks, start=[nn.ZeroPad2d(1), *start][::-1], end=end)
        return CrossStitch.around(towers, torch.randn(2, width), **options)

    check_sharing(make)


def test_feature_maps_equal_stitching_by_hand():
    torch.manual_seed(0)
    towers = conv_towers("ba")
    images = torch.randn(5, 2, 7, 7)
    stitched = CrossStitch.around(towers, images[:1])
    assert (stitched.in_features, stitched.out_features) == (2, 3)
    with torch.no_grad():
        for parameter in stitched.stitches.parameters():
            parameter.add_(torch.randn_like(parameter))
    streams = dict.fromkeys("ba", images)
    for place, stitch in enumerate(stitched.stitches):
        streams = {task: towers[task][place](streams[task]) for task in "ba"}
        alpha = {task: stitch.rows.of(task).alpha.view(2, -1, 1, 1) for task in "ba"}  # columns: a, b
        streams = {task: alpha[task][0] * streams["a"] + alpha[task][1] * streams["b"] for task in "ba"}
    shared = stitched(images)
    torch.testing.assert_close(shared.outputs, torch.stack([streams["b"], streams["a"]]))
    assert shared.junction[0].shape == shared.outputs.shape == (2, 5, 3, 3, 3)


def test_towers_may_differ_inside():
    towers = {"a": [MLPs(1, 4, (3,), activation="silu")], "b": [MLPs(1, 4, (6, 3))]}
    x = torch.randn(5, 4)
    stitched = CrossStitch.around({task: [nn.Sequential(*tower, nn.Flatten(0, 1))] for task, tower in towers.items()}, x)
    own, other = towers["a"][0](x)[0], towers["b"][0](x)[0]
    torch.testing.assert_close(stitched(x).outputs, torch.stack([0.9 * own + 0.1 * other, 0.1 * own + 0.9 * other]))


def test_probing_leaves_towers_as_they_were():
    towers = {task: [nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5)).train()] for task in "ab"}
    towers["b"][0][1].eval()
    before = {task: towers[task][0][1].running_mean.clone() for task in "ab"}
    stitched = CrossStitch.around(towers, torch.randn(2, 4, 2, 3, 3), own_encoders=True)
    assert towers["a"][0][1].training
    assert not towers["b"][0][1].training
    assert all(torch.equal(towers[task][0][1].running_mean, before[task]) for task in "ab")
    assert stitched.num_inputs == 2
    assert stitched(torch.randn(2, 4, 2, 3, 3)).outputs.shape == (2, 4, 3, 3, 3)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"needs a layer to stitch.*1 layers"):
        CrossStitch(4, ["a"], stitch_last=False)
    with pytest.raises(ConfigError, match="needs a layer to stitch"):
        CrossStitch(4, ["a"], hidden=())
    images = torch.randn(2, 2, 7, 7)
    uneven = conv_towers("a") | {"b": conv_towers("b")["b"][:1]}
    with pytest.raises(ConfigError, match=r"equally many stages.*'a': 2, 'b': 1"):
        CrossStitch.around(uneven, images)
    with pytest.raises(ConfigError, match=r"Stage 1 of every tower must give one shape.*'b': \(5, 3, 3\)"):
        CrossStitch.around(conv_towers("a") | conv_towers("b", widths=(4, 5)), images)
    with pytest.raises(ConfigError, match=r"give 3 inputs.*\(2, 2, 7, 7\)"):
        CrossStitch.around(conv_towers("abc"), images, own_encoders=True)
    one = conv_towers("a")["a"]
    with pytest.raises(ConfigError, match=r"a tower of its own.*'a' and 'b'"):
        CrossStitch.around({"a": one, "b": one}, images)


def test_compiles_whole_with_dropout():
    """In a process of its own: the shape checks of the tests cannot be compiled. What dropout sends back of rows-last activations
    has other strides than the compiler thinks: a view of it fails there only."""
    program = """
import torch
from polytask.sharing import CrossStitch
for options in ({}, {"per_unit": False, "stitch_last": False}):
    model = CrossStitch(4, ["b", "a"], hidden=(5, 2), dropout=0.2, **options)
    x = torch.randn(6, 4)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    compiled(x).outputs.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    torch.testing.assert_close(compiled.eval()(x).outputs, model.eval()(x).outputs)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=120)
