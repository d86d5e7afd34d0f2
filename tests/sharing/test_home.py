"""HoME: the contract, a slow reference, groups and what is private, feature gates, self-gates, norms."""

import math

import pytest
import torch

from polytask.balancers import Equal
from polytask.batch import Batch, Features, Labels
from polytask.data import NumericField, Preprocessing
from polytask.errors import ConfigError
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.sharing import HoME, private_parameters
from polytask.tasks import Binary
from polytask.testing import check_sharing
from polytask.train import train_step

LISTS = [["time", "click"], ["buy"]]
UNEVEN = {"hidden": (7, 5), "meta_hidden": (6, 4), "num_task_experts": 3, "num_group_experts": 1, "gate_hidden": (6,)}


def made(options):
    """As `partial`; a contract with one task only has no groups."""

    def make(in_features, tasks):
        several = len(tasks) > 1
        return HoME(in_features, tasks, **{key: value for key, value in options.items() if several or key != "groups"})

    return make


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": (5,), "meta_hidden": (4,), "norm": "none", "expert_dropout": 0.3},
        {"groups": LISTS, **UNEVEN, "norm": "batch"},
        {"groups": {"click": "x", "buy": "y", "time": "z"}, **UNEVEN, "num_feature_gates": 0},
    ],
    ids=["one group", "two groups", "alone"],
)
def test_contract(options):
    check_sharing(made(options))


# a slow reference, row by row


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def swish(values):
    return [value * sigmoid(value) for value in values]


def linear(stack, layer, index, row):
    step = stack.steps()[layer]
    bias = [0.0] * step.weight.shape[1] if step.bias is None else step.bias[index].tolist()
    return [
        b + sum(w * v for w, v in zip(unit, row, strict=True)) for unit, b in zip(step.weight[index].tolist(), bias, strict=True)
    ]


def slow_gate(gate, row):
    for layer in range(len(gate.layers) - 1):
        row = swish(linear(gate, layer, 0, row))
    return linear(gate, len(gate.layers) - 1, 0, row)


def slow_expert(experts, e, row, softmax):
    if experts.num_gates:
        choice = softmax(linear(experts.choice, 0, e, row))
        lets = [0.0] * len(row)
        for j, share in enumerate(choice):
            low = linear(experts.down, 0, e * experts.num_gates + j, row)
            high = linear(experts.up, 0, e * experts.num_gates + j, low)
            lets = [let + share * 2 * sigmoid(value) for let, value in zip(lets, high, strict=True)]
        row = [value * let for value, let in zip(row, lets, strict=True)]
    last = len(experts.body.layers) - 1
    for layer in range(last):
        row = swish(linear(experts.body, layer, e, row))
    row = linear(experts.body, last, e, row)
    if experts.norm is not None:
        if experts.norm.batch:
            mean, variance = experts.norm.mean[e].tolist(), experts.norm.variance[e].tolist()
        else:
            mean = [sum(row) / len(row)] * len(row)
            variance = [sum((value - mean[0]) ** 2 for value in row) / len(row)] * len(row)
        row = [(value - m) / math.sqrt(v + 1e-5) for value, m, v in zip(row, mean, variance, strict=True)]
        scales = zip(row, experts.norm.scale[e].tolist(), experts.norm.shift[e].tolist(), strict=True)
        row = [value * scale + shift for value, scale, shift in scales]
    return swish(row)


def slow_self(gate, row, softmax):
    logits = slow_gate(gate, row)
    return softmax(logits) if len(logits) > 1 else [sigmoid(logits[0])]


def slow_home(home, slow, row):
    def all_of(experts, z):
        return [slow_expert(experts, e, z, slow.softmax) for e in range(experts.num)]

    def of_group(container, group, members):
        return container.several.of(group) if len(members) > 1 else container.alone.of(members[0])

    meta = home.meta
    own = {group: all_of(meta.group_experts.of(group), row) for group in home.groups}
    common = all_of(meta.shared_experts, row)
    streams = {}
    for group, members in home.groups.items():
        weights = slow.softmax(slow_gate(of_group(meta.group_gates, group, members), row))
        added = slow_self(of_group(meta.self_gates, group, members), row, slow.softmax)
        streams[group] = slow.mix([*weights, *added], [*own[group], *common, *own[group]])
    logits = [logit for group in home.groups for logit in slow_gate(meta.shared_gate_groups.of(group), row)]
    weights = slow.softmax(logits + slow_gate(meta.shared_gate_common, row))
    added = slow_self(meta.shared_self_gate, row, slow.softmax)
    shared = slow.mix([*weights, *added], [*(e for group in home.groups for e in own[group]), *common, *common])

    outputs = {}
    for group, members in home.groups.items():
        z = streams[group]
        for task in members:
            mine = all_of(home.task_experts.of(task), z)
            theirs = all_of(of_group(home.group_experts, group, members), z)
            logits = zip(
                slow_gate(home.task_gates.of(task), z), slow_gate(home.task_gates_of_shared.of(task), shared), strict=True
            )
            weights = slow.softmax([one + other for one, other in logits])
            added = slow_self(home.self_gates.of(task), z, slow.softmax)
            outputs[task] = slow.mix([*weights, *added], [*mine, *theirs, *all_of(home.shared_experts, shared), *mine])
    return outputs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"groups": [["a", "c"], ["b"]], "num_shared_experts": 3, "num_feature_gates": 3},
        {"groups": [["c"], ["b"], ["a"]], **UNEVEN, "num_feature_gates": 0},
        {"groups": {"b": "x", "a": "y", "c": "y"}, "norm": "batch", "num_task_experts": 2, "meta_hidden": (3, 2)},
    ],
)
def test_equals_a_slow_reference(slow, scrambled, options):
    home = scrambled(HoME(4, ["a", "b", "c"], **{"hidden": (3,), "meta_hidden": (5,), "feature_rank": 2, **options}))
    for buffer in home.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2.0)
    x = torch.randn(3, 4, dtype=torch.float64)
    outputs = home(x).outputs
    for i, row in enumerate(x.tolist()):
        for task, expected in slow_home(home, slow, row).items():
            assert outputs["abc".index(task), i].tolist() == pytest.approx(expected, abs=1e-10)


def test_gates_start_open_so_that_feature_gates_start_as_none(scrambled):
    torch.manual_seed(0)
    gated, plain = HoME(4, ["a", "b"]).double(), HoME(4, ["a", "b"], num_feature_gates=0).double()
    plain.load_state_dict({name: gated.state_dict()[name] for name in plain.state_dict()})
    x = torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(gated(x).outputs, plain(x).outputs)
    assert not torch.allclose(scrambled(gated)(x).outputs, plain(x).outputs)


def test_layer_norm_gives_every_expert_the_same_scale_whatever_its_weights():
    """What collapses experts is that some speak louder than others."""
    torch.manual_seed(0)
    home = HoME(8, ["a", "b"], num_shared_experts=2)
    with torch.no_grad():
        home.shared_experts.body.layers[0].weight[1] *= 100
    x = torch.randn(50, 128)
    quiet, loud = home.shared_experts(x).square().mean((1, 2)).sqrt().tolist()
    assert loud == pytest.approx(quiet, rel=0.2)


def test_batch_norm_in_training_is_that_of_torch_and_remembers():
    torch.manual_seed(0)
    home = HoME(4, ["a", "b"], norm="batch", num_feature_gates=0, num_shared_experts=2).double().train()
    experts = home.shared_experts
    reference = [torch.nn.BatchNorm1d(128).double() for _ in range(2)]
    x = torch.randn(9, 128, dtype=torch.float64)
    for _ in range(2):
        found = experts(x)
        for e, norm in enumerate(reference):
            torch.testing.assert_close(found[e], torch.nn.functional.silu(norm(experts.body(x)[e])))
    for e, norm in enumerate(reference):
        torch.testing.assert_close(experts.norm.mean[e], norm.running_mean)
        torch.testing.assert_close(experts.norm.variance[e], norm.running_var)
    experts(x[:1])  # one row alone has no spread to divide by


def test_what_a_group_of_one_uses_is_private_to_it_and_groups_do_not_meet():
    home = HoME(4, ["a", "b", "c"], groups=[["a", "c"], ["b"]])
    names = {
        task: {
            name for name, parameter in home.named_parameters() if any(parameter is own for own in private_parameters(home, task))
        }
        for task in "abc"
    }
    assert {name.partition(".task_b")[0] for name in names["b"]} == {
        "meta.group_gates.alone",
        "meta.self_gates.alone",
        "group_experts.alone",
        "task_experts",
        "task_gates",
        "task_gates_of_shared",
        "self_gates",
    }
    assert all("task_b" in name for name in names["b"])
    assert not any("alone" in name for name in names["a"] | names["c"])
    assert home.expert_owners == (("a",), ("b",), ("c",), ("a", "c"), ("a", "c"), ("b",), ("b",), *[("a", "b", "c")] * 2)
    gates = home(torch.randn(5, 4)).gates
    seen = torch.tensor([[1, 0, 0, 1, 1, 0, 0, 1, 1], [0, 1, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 0, 0, 1, 1]]).bool()
    assert ((gates > 0) == seen.unsqueeze(1)).all()


def test_the_self_gate_keeps_a_tasks_own_experts(scrambled):
    """With a gate that looks at shared experts only, own experts still have half of what a task takes."""
    home = scrambled(HoME(4, ["a", "b"], num_task_experts=2))
    x = torch.randn(1, 4, dtype=torch.float64)
    read = home.meta(x, 0.0).joint[0][0]
    with torch.no_grad():
        home.task_gates.of("a").layers[0].weight.zero_()[0, :2] = -1e3 * read
        home.task_gates_of_shared.of("a").layers[0].weight.zero_()
    gates = home(x).gates[0, 0]
    assert gates[:2].sum().item() == pytest.approx(0.5)


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_trains(norm):
    torch.manual_seed(0)
    tasks = [Binary("click"), Binary("buy"), Binary("like")]
    columns = Preprocessing((), (NumericField("x", 0.0, 1.0, (-1.0, 0.0, 1.0)),), (), tuple(tasks))
    sharing = {"name": "home", "groups": [["click", "buy"], ["like"]], "hidden": [8], "meta_hidden": [8], "norm": norm}
    model = MultiTaskModel.build(columns, tasks, sharing=sharing)
    balancer = Equal(["click", "buy", "like"])
    optimizer = build_optimizer(model, balancer, lr=0.02)
    features = Features(torch.zeros(64, 0, dtype=torch.int32), torch.randn(64, 1))
    x = features.numeric[:, 0]
    labels = {"click": Labels.of((x > 0).float()), "buy": Labels.of((x > 1).float()), "like": Labels.of((x.abs() < 0.7).float())}
    losses = [sum(train_step(model, balancer, optimizer, Batch(features, labels)).losses.values()).item() for _ in range(100)]
    assert losses[-1] < 0.2 * losses[0]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train_step(model, balancer, optimizer, Batch(features, {"click": labels["click"]}))
    still = {parameter for task in ("buy", "like") for parameter in private_parameters(model, task)}
    assert still
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters() if parameter in still)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"groups": [["a"], ["b", "clik"]]}, r"unknown task\. Received: 'clik'"),
        ({"groups": [["a"], ["b"]]}, r"Each task is in one group\. Received: 'click' is in 0"),
        ({"groups": [["a", "b"], ["b", "click"]]}, r"Received: 'b' is in 2"),
        ({"groups": {"a": "x", "b": "x"}}, "'click' is in 0"),
        ({"groups": ["a", "b", "click"]}, "Groups are lists of tasks"),
        ({"norm": "batchnorm"}, "Unknown norm.*batch"),
        ({"num_feature_gates": -1}, "Feature gates are 0 or more"),
        ({"hidden": ()}, "widths for both levels"),
        ({"num_task_experts": 0}, "0 MLPs of 128"),
        ({"num_shared_experts": 0}, "0 MLPs of 4"),
    ],
)
def test_mistakes_are_named(options, words):
    with pytest.raises(ConfigError, match=words):
        HoME(4, ["a", "b", "click"], **options)
