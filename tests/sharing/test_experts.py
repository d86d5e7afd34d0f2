"""Mixtures of experts of several kinds: the contract, order of experts, histories, a user's own modules, what an order needs."""

from functools import partial
from typing import final

import pytest
import torch
from torch import nn

from polytask.errors import ConfigError
from polytask.sharing import DSelectK, MMoE, OMoE, Sharing
from polytask.sharing._experts import EXPERTS, ExpertPlan
from polytask.testing import check_sharing

FOUR = {"num_experts": 4, "expert_kinds": ["mlp", "recurrent", "cross", "attention"], "hidden": (5, 4)}
TWO = {"num_experts": 2, "expert_kinds": ["recurrent", "mlp"], "hidden": (4,)}


@final
class OfHistories(Sharing):
    """Reads the contract's rows of 6 numbers as histories of 3 steps."""

    def __init__(self, in_features, tasks, *, make):
        super().__init__(in_features, tasks)
        self.mixture = make(in_features // 3, tasks)
        self.out_features = self.mixture.out_features

    def forward(self, x):
        return self.mixture(x.unflatten(1, (3, -1)))


def user_mixture(in_features, tasks):
    experts = [
        nn.Sequential(nn.Flatten(), nn.Linear(3 * in_features, 4), nn.Tanh()),
        nn.Sequential(nn.Flatten(), nn.Linear(3 * in_features, 4), nn.SiLU()),
    ]
    gate_input = nn.Sequential(nn.Flatten(), nn.Linear(3 * in_features, 5))
    return MMoE.around(5, tasks, experts=experts, out_features=4, gate_input=gate_input, gate_hidden=(3,))


@pytest.mark.parametrize(
    "make",
    [
        partial(MMoE, num_experts=3, expert_kinds=["cross", "mlp", "cross"], hidden=(5, 4), trunk=(4,)),
        partial(MMoE, step_width=2, **FOUR),
        partial(OfHistories, make=partial(MMoE, **FOUR)),
        partial(OMoE, num_experts=2, expert_kinds=["mlp", "cross"], hidden=(4,)),
        partial(
            OfHistories, make=partial(DSelectK, per_example=True, num_experts=2, expert_kinds=["recurrent", "mlp"], hidden=(4,))
        ),
        partial(OfHistories, make=user_mixture),
    ],
    ids=["flat", "cut", "history", "omoe", "dselect_k", "around"],
)
def test_contract(make):
    check_sharing(make)


@pytest.mark.parametrize("cut", [False, True])
def test_expert_i_has_kind_i(scrambled, cut):
    kinds = ["attention", "mlp", "recurrent", "mlp", "attention", "cross"]
    width = 8 if cut else 2
    mixture = scrambled(MMoE(width, ["a", "b"], num_experts=6, expert_kinds=kinds, hidden=(4,), step_width=2 if cut else 0))
    steps = torch.randn(5, 4, 2, dtype=torch.float64)
    x = steps.flatten(1) if cut else steps
    flat = x if cut else steps.mean(1)
    groups = mixture.levels[0].groups
    inputs = {name: steps if EXPERTS[name].reads_steps else flat for name in groups}
    outputs = {name: group(inputs[name]) for name, group in groups.items()}
    seen = dict.fromkeys(groups, 0)
    shared = mixture(x)
    experts = shared.junction[0]
    for place, kind in enumerate(kinds):
        assert torch.equal(experts[place], outputs[kind][seen[kind]])
        seen[kind] += 1
    expected = torch.einsum("kne,enh->knh", shared.gates, experts)
    torch.testing.assert_close(shared.outputs, expected, rtol=0, atol=1e-12)


def test_mlps_named_as_such_are_the_same_mixture(scrambled):
    plain = scrambled(MMoE(4, ["a", "b"], num_experts=3, hidden=(5, 2)))
    named = MMoE(4, ["a", "b"], num_experts=3, hidden=(5, 2), expert_kinds=["mlp"] * 3).double()
    state = {name.replace("levels.0.", "levels.0.groups.mlp."): value for name, value in plain.state_dict().items()}
    named.load_state_dict(state)
    x = torch.randn(6, 4, dtype=torch.float64)
    assert torch.equal(named(x).outputs, plain(x).outputs)
    history = torch.randn(6, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(plain(history).outputs, plain(history.mean(1)).outputs, rtol=0, atol=1e-12)


def test_a_users_modules_are_mixed_whatever_their_input():
    images = torch.randn(5, 2, 6, 6)
    convolution = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    means = nn.Sequential(nn.AvgPool2d(6), nn.Flatten(), nn.Linear(2, 3))
    gate_input = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    mixture = MMoE.around(2, ["a", "b"], experts=[convolution, means], out_features=3, gate_input=gate_input)
    shared = mixture(images)
    gates = torch.stack([mixture.gates.of(task)(gate_input(images))[0].softmax(-1) for task in "ab"])
    expected = gates[..., :1] * convolution(images) + gates[..., 1:] * means(images)
    torch.testing.assert_close(shared.outputs, expected)
    assert mixture.out_features == 3


def ordered(seed):
    """Whether the large step came before the small one, and the sum of the steps."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(256, 6, 3, generator=generator)
    places = torch.rand(256, 6, generator=generator).argsort(1)[:, :2]
    rows = torch.arange(256)
    x[rows, places[:, 0], 0], x[rows, places[:, 1], 0] = 3.0, -3.0
    return x, torch.where(places[:, 0] < places[:, 1], 1.0, -1.0), x.sum((1, 2)) / 4


def shares_left(kinds):
    """Share of each target's variance that a trained mixture leaves on new rows."""
    torch.manual_seed(1)
    mixture = MMoE(3, ["order", "sum"], num_experts=2, expert_kinds=kinds, hidden=(16,))
    heads = nn.ModuleList([nn.Linear(16, 1), nn.Linear(16, 1)])
    optimizer = torch.optim.Adam([*mixture.parameters(), *heads.parameters()], 0.02)

    def errors(x, *targets):
        outputs = mixture(x).outputs
        return [(head(z).squeeze(-1) - y).pow(2).mean() / y.var() for head, z, y in zip(heads, outputs, targets, strict=True)]

    for seed in range(120):
        sum(errors(*ordered(seed))).backward()
        optimizer.step()
        optimizer.zero_grad()
    return [error.item() for error in errors(*ordered(999))]


def test_experts_that_read_steps_learn_what_their_mean_does_not_hold():
    assert shares_left(["mlp", "mlp"])[0] > 0.9
    for kind in ("recurrent", "attention"):
        order, total = shares_left(["mlp", kind])
        assert order < 0.3
        assert total < 0.1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"expert_kinds": ["mlp", "crss"], "num_experts": 2}, "cross"),
        ({"expert_kinds": ["mlp", "cross"]}, "8 experts have a kind each. Received: 2 kinds. .*num_experts = 2"),
        ({"expert_kinds": ["cross"], "num_experts": 1, "num_layers": 2}, "stand in one level"),
        ({"expert_kinds": ["cross"], "num_experts": 1, "step_width": 2}, "for experts that read steps"),
        ({"step_width": 2}, "MLPs read no steps"),
    ],
)
def test_mistakes_are_named(options, expected):
    with pytest.raises(ConfigError, match=expected):
        MMoE(4, ["a"], **options)


def test_inputs_that_do_not_fit_are_named():
    plan = ExpertPlan(1, (3,), ["recurrent"])
    with pytest.raises(ConfigError, match=r"read a history.*Received: an input of shape \(5, 4\).*step_width"):
        plan.build(4)(torch.zeros(5, 4))
    with pytest.raises(ConfigError, match="a whole number of them"):
        plan._replace(step_width=3).build(4)(torch.zeros(5, 4))
    with pytest.raises(ConfigError, match="at least one expert"):
        MMoE.around(4, ["a"], experts=[], out_features=3)
    mixture = MMoE.around(4, ["a"], experts=[nn.Linear(4, 3), nn.Linear(4, 2)], out_features=3)
    with pytest.raises(ConfigError, match=r"Expert 1 \(Linear\) gives rows of width 3. Received: shape \(5, 2\)"):
        mixture(torch.zeros(5, 4))
