"""DSelect-k: the contract, the smooth step, slow references, codes without an expert, the penalty of every task, what is left."""

import math
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
from polytask.sharing import DSelectK
from polytask.sharing._dselect_k import smooth_step
from polytask.tasks import Regression
from polytask.testing import check_sharing
from polytask.train import train_step

UNEVEN = {"num_experts": 6, "num_selected": 3, "gamma": 0.7, "hidden": (5, 4)}


@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.parametrize("options", [{"num_experts": 4}, {"num_experts": 1, "num_selected": 1}, UNEVEN])
def test_contract(options, per_example):
    check_sharing(partial(DSelectK, per_example=per_example, **options))


@pytest.mark.parametrize("gamma", [1.0, 0.4])
def test_smooth_step_has_its_closed_form_and_derivative(gamma):
    c = torch.linspace(-0.9 * gamma, 0.9 * gamma, 41, dtype=torch.float64, requires_grad=True)
    value = smooth_step(c, gamma)
    (slope,) = torch.autograd.grad(value.sum(), c)
    for one, step, rate in zip(c.tolist(), value.tolist(), slope.tolist(), strict=True):
        if abs(one) < gamma / 2:
            assert step == pytest.approx(-2 * one**3 / gamma**3 + 3 * one / (2 * gamma) + 0.5, abs=1e-14)
            assert rate == pytest.approx(-6 * one**2 / gamma**3 + 3 / (2 * gamma), abs=1e-13)
        else:
            assert step == (one > 0)
            assert rate == 0


def slow_selector(codes, gamma, num_experts):
    """`r` of one selector as published, over the codes of experts alone."""
    shares = []
    for expert in range(num_experts):
        share = 1.0
        for place, code in enumerate(codes):
            bit = expert >> (len(codes) - 1 - place) & 1
            step = 0.0 if code <= -gamma / 2 else 1.0 if code >= gamma / 2 else -2 * code**3 / gamma**3 + 1.5 * code / gamma + 0.5
            share *= step if bit else 1 - step
        shares.append(share)
    return shares


def slow_gate(model, task, row, num_experts):
    selectors = model.selectors.of(task)
    logits = selectors.bias.tolist()
    if selectors.weight is not None:
        maps = selectors.weight.tolist()
        logits = [b + sum(w * v for w, v in zip(line, row, strict=True)) for b, line in zip(logits, maps, strict=True)]
    num, bits = model.num_selected, model.num_bits
    powers = [math.exp(logit) for logit in logits[num * bits :]]
    chosen = [slow_selector(logits[s * bits : (s + 1) * bits], model.gamma, num_experts) for s in range(num)]
    gate = [sum(power / sum(powers) * one[e] for power, one in zip(powers, chosen, strict=True)) for e in range(num_experts)]
    entropy = -sum(share * math.log(share + 1e-6) for one in chosen for share in one)
    return gate, entropy


@pytest.mark.parametrize("per_example", [False, True])
def test_equals_the_published_formula(slow, scrambled, per_example):
    """With as many experts as codes; the penalty counts every task, in the mean over rows."""
    options = {"num_experts": 8, "hidden": (3,), "num_selected": 3, "gamma": 0.8, "entropy": 0.3}
    model = scrambled(DSelectK(4, ["a", "b", "c"], per_example=per_example, **options))
    x = torch.randn(6, 4, dtype=torch.float64)
    shared, penalty = model(x), 0.0
    for i, row in enumerate(x.tolist()):
        experts = [slow.mlp(model.experts, e, row) for e in range(8)]
        for place, task in enumerate("abc"):
            gate, entropy = slow_gate(model, task, row, 8)
            penalty += 0.3 * entropy / len(x)
            assert shared.gates[place, i].tolist() == pytest.approx(gate, abs=1e-10)
            assert shared.outputs[place, i].tolist() == pytest.approx(slow.mix(gate, experts), abs=1e-10)
    assert shared.penalty is None
    assert model.train()(x).penalty.item() == pytest.approx(penalty, abs=1e-10)


def test_codes_without_an_expert_fall_to_the_expert_left_when_their_useless_bits_are_cleared():
    """Six experts, eight codes: 110 and 111 name none, and without their middle bit 100 and 101 remain."""
    model = DSelectK(4, ["a"], num_experts=6, hidden=(3,), num_selected=1).double()
    with torch.no_grad():
        model.selectors.of("a").bias[:3] = torch.tensor([0.1, -0.3, 0.2])
    published = slow_selector(model.selectors.of("a").bias[:3].tolist(), 1.0, 8)
    expected = [*published[:4], published[4] + published[6], published[5] + published[7]]
    gate = model(torch.zeros(2, 4, dtype=torch.float64)).gates[0, 1]
    assert gate.tolist() == pytest.approx(expected, abs=1e-12)
    assert sum(published[:6]) < 0.99  # what the published gate would sum to


def test_a_selector_decided_for_a_code_without_an_expert_stays_finite():
    """The published penalty `1 / Σ r` divides by zero there."""
    model = DSelectK(4, ["a", "b"], num_experts=5, hidden=(3,), num_selected=1, per_example=True)
    with torch.no_grad():
        model.selectors.of("b").bias[:3] = 1.0  # code 7
    shared = model(torch.zeros(3, 4))
    assert shared.gates[1].tolist() == [[0, 0, 0, 0, 1]] * 3
    (shared.outputs.sum() + shared.penalty).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_starts_undecided_within_the_published_bounds():
    torch.manual_seed(0)
    model = DSelectK(50, ["a", "b"], num_experts=16, num_selected=3, gamma=0.5, per_example=True)
    for task in "ab":
        for parameter in model.selectors.of(task).parameters():
            codes, weights = parameter.abs().split([12, 3])
            assert 0.003 < codes.max() <= 0.005
            assert 0.02 < weights.max() <= 0.05


def test_the_penalty_alone_reaches_every_task_and_decides_it():
    torch.manual_seed(0)
    model = DSelectK(4, ["a", "b", "c"], num_experts=6, hidden=(3,), entropy=1.0)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for step in range(60):
        optimizer.zero_grad(set_to_none=True)
        model(torch.zeros(2, 4)).penalty.backward()
        gradients = [model.selectors.of(task).bias.grad.abs().max() for task in "abc"]
        assert step or min(gradients) > 1e-3
        optimizer.step()
    assert ((model(torch.zeros(1, 4)).gates > 0).sum(-1) <= 2).all()


@pytest.mark.parametrize("per_example", [False, True])
def test_gradient_of_the_penalty_is_its_slope(scrambled, per_example):
    model = scrambled(DSelectK(3, ["a", "b"], num_experts=5, hidden=(2,), per_example=per_example)).train()
    x = torch.randn(4, 3, dtype=torch.float64)
    model(x).penalty.backward()
    parameter = next(iter(model.selectors.of("b").parameters()))
    flat = parameter.detach().view(-1)
    for place in range(0, flat.numel(), 3):
        values = []
        for shift in (1e-6, -2e-6):
            flat[place] += shift
            values.append(model(x).penalty.item())
        flat[place] += 1e-6
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(parameter.grad.view(-1)[place].item(), abs=1e-6)


def test_training_ends_on_at_most_k_experts_and_decay_leaves_them_alone():
    torch.manual_seed(1)
    tasks = [Regression(name) for name in ("time", "price")]
    sharing = DSelectK(4, ["time", "price"], num_experts=5, hidden=(8,), num_selected=2, entropy=0.02)
    model = MultiTaskModel([Numbers()], sharing, Heads(8, tasks))
    balancer = Equal(["time", "price"])
    optimizer = build_optimizer(model, balancer, lr=0.01, weight_decay=0.1)
    x = torch.randn(256, 4)
    everywhere = torch.ones(256, dtype=torch.bool)
    labels = {"time": x[:, 0] * x[:, 1], "price": x[:, 2].abs()}
    batch = Batch(
        Features(torch.zeros(256, 0, dtype=torch.int64), x, {}),
        {name: Labels(value, everywhere, 256) for name, value in labels.items()},
    )
    for _ in range(200):
        train_step(model, balancer, optimizer, batch)
    gates = sharing.eval()(x).gates
    assert ((gates > 0).sum(-1) <= 2).all()
    torch.testing.assert_close(gates.sum(-1), torch.ones(2, 256))
    assert set(sharing.penalised_parameters()) == set(sharing.selectors.parameters())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"num_selected": 9}, "between 1 and 8 of them. Received: num_selected=9"),
        ({"num_selected": 0}, "between 1 and 8"),
        ({"gamma": 0.0}, "positive width"),
        ({"entropy": -1.0}, "not negative"),
        ({"num_experts": 0, "num_selected": 0}, "between 1 and 0"),
    ],
)
def test_mistakes_are_named(options, expected):
    with pytest.raises(ConfigError, match=expected):
        DSelectK(4, ["a"], **options)
