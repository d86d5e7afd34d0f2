"""Adapters: the contract, slow references, any backbone as it was at the start, tasks apart, merged weights, mistakes."""

import copy
from functools import partial

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from plain import Numbers
from polytask.balancers import Equal
from polytask.batch import Batch, Features, Labels
from polytask.errors import ConfigError
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.sharing import Adapters, SharedBottom, private_parameters
from polytask.tasks import Binary, Regression
from polytask.testing import check_sharing
from polytask.train import train_step

TASKS = ["click", "buy", "time"]
KINDS = ["low_rank", "bottleneck"]


class Residual(nn.Module):
    """A convolutional network with strides, statistics, an operation in place and a sum."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.BatchNorm2d(4)
        self.second, self.act = nn.Conv2d(4, 4, (3, 1), padding="same", dilation=2), nn.ReLU(inplace=True)
        self.third = nn.Conv2d(4, 4, 3, groups=2)

    def forward(self, x):
        x = self.act(self.norm(self.first(x)))
        y = self.second(x)
        y += x
        return self.third(self.act(y)).mean((2, 3))


class Reader(nn.Module):
    """A transformer; with rows on its second axis inside unless `batch_first`."""

    def __init__(self, batch_first):
        super().__init__()
        self.batch_first, self.embed = batch_first, nn.Linear(5, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=batch_first)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        z = self.embed(x)
        z = self.layers(z if self.batch_first else z.transpose(0, 1))
        return z.mean(1 if self.batch_first else 0)


BACKBONES = {
    "convolutional": (Residual, (5, 3, 9, 8)),
    "transformer": (partial(Reader, True), (5, 6, 5)),
    "transformer, rows second": (partial(Reader, False), (5, 6, 5)),
    "maps out": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Tanh(), nn.Conv2d(4, 2, 1))), (5, 3, 6, 7)),
    "sequence": (lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.Tanh(), nn.Conv1d(4, 2, 2)), (5, 3, 9)),
}


def wrapped(name, kind="low_rank", **options):
    torch.manual_seed(2)
    make, shape = BACKBONES[name]
    backbone, x = make().double(), torch.randn(shape, dtype=torch.float64)
    if name == "convolutional":
        backbone(x)  # statistics of its own
    adapters = Adapters.around(backbone, TASKS, x, kind=kind, rank=2, **options).eval()
    return adapters, backbone.eval(), x


def scatter(adapters):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in adapters.adapters.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))


OPTIONS = [
    {},
    {"hidden": (7, 5), "rank": 2, "dropout": 0.2},
    {"kind": "bottleneck", "hidden": (7, 5), "activation": "silu"},
    {"kind": "bottleneck", "frozen": True},
    {"hidden": (7, 5), "frozen": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_contract(options):
    check_sharing(partial(Adapters, **options))


@pytest.mark.parametrize("kind", KINDS)
def test_equals_a_slow_reference(scrambled, kind):
    model = scrambled(Adapters(4, TASKS, hidden=(5, 3), kind=kind, rank=2))
    x = torch.randn(6, 4, dtype=torch.float64)
    outputs = model(x).outputs
    linears = [stage for stage in model.backbone if isinstance(stage, nn.Linear)]
    for place, task in enumerate(TASKS):
        for i, row in enumerate(x.tolist()):
            z = row
            for linear, adapter in zip(linears, model.adapters.of(task).values(), strict=True):
                given = affine(linear.weight, linear.bias, z)
                if kind == "low_rank":
                    change = affine(adapter.up, None, affine(adapter.down, None, z))
                else:
                    inner = [max(value, 0.0) for value in affine(adapter.down, adapter.down_bias, given)]
                    change = affine(adapter.up, adapter.up_bias, inner)
                z = [max(a + b, 0.0) for a, b in zip(given, change, strict=True)]
            assert outputs[place, i].tolist() == pytest.approx(z, abs=1e-10)


def affine(weight, bias, row):
    biases = [0.0] * len(weight) if bias is None else bias.tolist()
    return [b + sum(w * v for w, v in zip(unit, row, strict=True)) for unit, b in zip(weight.tolist(), biases, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_starts_as_a_shared_bottom(kind):
    torch.manual_seed(0)
    bottom = SharedBottom(4, TASKS, hidden=(5, 3))
    torch.manual_seed(0)
    model = Adapters(4, TASKS, hidden=(5, 3), kind=kind)
    x = torch.randn(6, 4)
    torch.testing.assert_close(model(x).outputs, bottom(x).outputs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BACKBONES)
def test_at_the_start_every_task_has_the_backbone(name, kind):
    adapters, backbone, x = wrapped(name, kind)
    expected = backbone(x)
    torch.testing.assert_close(adapters(x).outputs, expected.expand(3, *expected.shape), rtol=0, atol=1e-12)
    assert adapters.out_features == expected.shape[1 if expected.dim() > 3 else -1]
    with torch.no_grad():  # where attentions of torch take a way of their own
        torch.testing.assert_close(adapters(x).outputs[1], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", BACKBONES)
def test_merged_weights_are_the_adapted_backbone(name):
    adapters, _, x = wrapped(name)
    scatter(adapters)
    outputs = adapters(x).outputs
    for place, task in enumerate(TASKS):
        merged = adapters.merged(task)
        torch.testing.assert_close(merged(x), outputs[place], rtol=0, atol=1e-12)
        assert merged.state_dict().keys() == BACKBONES[name][0]().state_dict().keys()
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-2)
    torch.testing.assert_close(adapters(x).outputs, outputs, rtol=0, atol=0)  # and is itself as before


@pytest.mark.parametrize("name", BACKBONES)
def test_bottlenecks_stand_behind_their_layers(name):
    """The backbone run for one task at a time, each layer's output corrected by the formula."""
    adapters, backbone, x = wrapped(name, "bottleneck")
    scatter(adapters)
    outputs = adapters(x).outputs
    for place, task in enumerate(TASKS):
        alone = copy.deepcopy(backbone)
        for key, adapter in adapters.adapters.of(task).items():
            layer = alone.get_submodule(key.replace("__", "."))
            layer.register_forward_hook(partial(corrected, adapter))
        torch.testing.assert_close(alone(x), outputs[place], rtol=0, atol=1e-12)


def corrected(adapter, layer, args, output):
    y = output[0] if isinstance(output, tuple) else output
    last = y.movedim(1, -1) if isinstance(layer, (nn.Conv1d, nn.Conv2d)) else y
    change = (last @ adapter.down.mT + adapter.down_bias).relu() @ adapter.up.mT + adapter.up_bias
    y = y + (change.movedim(-1, 1) if isinstance(layer, (nn.Conv1d, nn.Conv2d)) else change)
    return (y, *output[1:]) if isinstance(output, tuple) else y


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BACKBONES)
def test_a_step_of_one_task_leaves_the_others_to_the_bit(name, kind):
    adapters, _, x = wrapped(name, kind)
    scatter(adapters)
    before, state = adapters(x).outputs.detach(), copy.deepcopy(adapters.backbone.state_dict())
    optimizer = torch.optim.SGD(adapters.parameters(), lr=0.1)
    adapters.train()(x).outputs[1].square().sum().backward()
    optimizer.step()
    after = adapters.eval()(x).outputs
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[2], before[2])
    assert not torch.allclose(after[1], before[1], atol=1e-4)
    for key, value in adapters.backbone.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_a_trainable_backbone_learns_from_all_tasks_and_the_users_own_does_not():
    adapters, backbone, x = wrapped("convolutional", frozen=False)
    scatter(adapters)
    state = copy.deepcopy(backbone.state_dict())
    shared = adapters.train()(x)
    shared.outputs.square().sum().backward()
    assert all(parameter.grad is not None for parameter in adapters.parameters())
    assert not torch.equal(adapters.backbone.norm.running_mean, state["norm.running_mean"])
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in backbone.parameters())
    assert len(backbone.first._forward_hooks) == 0


def test_what_lies_before_the_first_corrected_layer_runs_once():
    rows = []
    common = nn.Conv2d(3, 4, 3)
    network = nn.Sequential(common, nn.ReLU(), nn.Sequential(nn.Flatten(), nn.Linear(64, 6)), nn.Tanh(), nn.Linear(6, 2))
    x = torch.randn(5, 3, 6, 6)
    adapters = Adapters.around(network, TASKS, x, where=["2.*", "4"])
    for stage in (0, 3):
        adapters.backbone[stage].register_forward_hook(lambda layer, args, output: rows.append(len(output)))
    adapters(x)
    assert rows == [5, 15]
    assert list(adapters.adapters.of("buy")) == ["2__1", "4"]


def test_where_chooses_layers():
    adapters, _, _ = wrapped("transformer", where=["layers.*.linear?"])
    assert list(adapters.adapters.of("buy")) == [f"layers__layers__{i}__linear{j}" for i in (0, 1) for j in (1, 2)]
    adapters, _, _ = wrapped("transformer", "bottleneck", where="*self_attn")
    assert list(adapters.adapters.of("buy")) == [f"layers__layers__{i}__self_attn" for i in (0, 1)]
    adapters, _, _ = wrapped("convolutional")
    assert list(adapters.adapters.of("buy")) == ["first", "second"]  # the third is grouped
    single = Adapters.around(nn.Linear(3, 2), TASKS, torch.randn(2, 3))
    assert single(torch.zeros(4, 3)).outputs.shape == (3, 4, 2)


def test_what_is_private_is_small():
    adapters, backbone, _ = wrapped("transformer")
    own = sum(parameter.numel() for parameter in private_parameters(adapters, "buy"))
    assert own == 2 * (5 + 8) + 2 * 2 * 2 * (8 + 16)
    learn = sum(parameter.numel() for parameter in adapters.parameters() if parameter.requires_grad)
    assert learn == 3 * own
    assert sum(parameter.numel() for parameter in adapters.backbone.parameters()) == sum(p.numel() for p in backbone.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_state_goes_through_a_file_and_copies_are_apart(kind):
    adapters, backbone, x = wrapped("transformer", kind)
    scatter(adapters)
    state = load(save(adapters.state_dict()))
    other = Adapters.around(Reader(True).double(), ["time", "click", "buy"], x, kind=kind, rank=2).eval()
    other.load_state_dict(state)
    torch.testing.assert_close(other(x).outputs[[1, 2, 0]], adapters(x).outputs, rtol=0, atol=1e-13)
    adapters.backbone.load_state_dict(backbone.state_dict())  # its names are those of the user's module
    twin, before = copy.deepcopy(adapters), adapters(x).outputs
    scatter(twin)
    assert torch.equal(adapters(x).outputs, before)
    assert not torch.allclose(twin(x).outputs, before, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["convolutional", "transformer"])
def test_wrapped_backbones_are_exported_with_any_number_of_rows(name, kind):
    adapters, _, x = wrapped(name, kind)
    scatter(adapters)

    class Outputs(nn.Module):
        def __init__(self):
            super().__init__()
            self.adapters = adapters

        def forward(self, x):
            return self.adapters(x).outputs

    exported = torch.export.export(Outputs(), (x,), dynamic_shapes=({0: torch.export.Dim("rows", min=2)},)).module()
    more = torch.cat([x, -x])
    torch.testing.assert_close(exported(more), adapters(more).outputs, rtol=0, atol=1e-10)


def test_tokens_are_read_too():
    network = nn.Sequential(nn.Embedding(10, 6), nn.Flatten(), nn.Linear(18, 4))
    adapters = Adapters.around(network, TASKS, torch.arange(6).view(2, 3))
    shared = adapters(torch.randint(0, 10, (5, 3)))
    assert shared.outputs.shape == (3, 5, 4)
    assert len(shared.junction) == 1  # of what the embedding gave


def test_frozen_and_trained_each_task_learns_its_own():
    torch.manual_seed(0)
    tasks = [Regression("time"), Binary("click")]
    x = torch.randn(256, 4)
    labels = {
        "time": Labels(x[:, 0] - x[:, 1], torch.ones(256).bool(), 256),
        "click": Labels((x[:, 1] > 0).float(), torch.ones(256).bool(), 256),
    }
    sharing = Adapters(4, ["time", "click"], hidden=(16,), rank=2, frozen=True)
    model = MultiTaskModel([Numbers()], sharing, Heads(16, tasks))
    optimizer = build_optimizer(model, Equal(["time", "click"]), lr=0.02)
    batch = Batch(Features(torch.zeros(256, 0, dtype=torch.int64), x, {}), labels)
    trunk = sharing.backbone[0].weight.clone()
    losses = [train_step(model, Equal(["time", "click"]), optimizer, batch).losses for _ in range(80)]
    assert losses[-1]["time"] < 0.2 * losses[0]["time"]
    assert losses[-1]["click"] < 0.4 * losses[0]["click"]
    assert torch.equal(trunk, sharing.backbone[0].weight)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Adapters(4, TASKS, kind="lora"), "Unknown kind of adapter. Received: 'lora'. Did you mean 'low_rank'"),
        (lambda: Adapters(4, TASKS, rank=0), "rank of an adapter is at least 1. Received: 0"),
        (lambda: Adapters(4, TASKS, hidden=()), "positive widths"),
        (lambda: Adapters(4, TASKS, activation="rellu"), "Did you mean 'relu'"),
        (
            lambda: wrapped("transformer", where=["layers.*.linaer1"]),
            "no layer that can be corrected. Received: layers.*.linaer1",
        ),
        (lambda: wrapped("transformer", where=["*self_attn*"]), "no layer that can be corrected"),
        (lambda: Adapters.around(nn.ReLU(), TASKS, torch.randn(2, 3)), "needs a layer that can be corrected. Received: none"),
        (lambda: Adapters.around(nn.Linear(3, 2), TASKS, torch.randn(1, 3)), "at least two rows"),
        (lambda: Adapters.around(nn.LSTM(3, 2), TASKS, torch.randn(4, 5, 3)), "gives one tensor. Received: tuple"),
        (
            lambda: Adapters.around(nn.Sequential(nn.Linear(3, 2), nn.Flatten(0)), TASKS, torch.randn(4, 3)),
            r"rows along the first axis, each from .* Received: .2,. and .6,. for 1 and 3 rows",
        ),
        (lambda: Adapters(4, TASKS, kind="bottleneck").merged("buy"), "Only low-rank changes are a change of weights"),
    ],
)
def test_mistakes_are_named(make, said):
    with pytest.raises(ConfigError, match=said):
        make()
