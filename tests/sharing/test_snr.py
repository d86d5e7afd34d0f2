"""SNR: the contract, slow references of both routes, hard concrete gates in closed form, reductions, what the penalty closes."""

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
from polytask.sharing import SNR, SharedBottom, SingleTask
from polytask.sharing._snr import evaluation_gates, open_probability, training_gates
from polytask.tasks import Regression
from polytask.testing import check_sharing
from polytask.train import train_step

SMALL = {"num_subnetworks": 3, "levels": [(5, 4)]}


@pytest.mark.parametrize("route", ["transform", "average"])
@pytest.mark.parametrize("options", [SMALL, {"num_subnetworks": 2, "levels": [(4,), (5, 3), (2,)], "fix_after": 3}])
def test_contract(options, route):
    check_sharing(partial(SNR, route=route, **options))


def slow_gate(log_alpha):
    return min(1.0, max(0.0, 1.2 / (1 + math.exp(-log_alpha)) - 0.1))


def slow_draw(log_alpha, u):
    s = 1 / (1 + math.exp(-(math.log(u) - math.log(1 - u) + log_alpha) / 0.9))
    return min(1.0, max(0.0, s * 1.2 - 0.1))


def slow_route(below, gates, weight):
    """What one place reads: the sum over sub-networks of gate times matrix times output."""
    width = len(below[0])
    read = [0.0] * width
    for j, u in enumerate(below):
        for o in range(width):
            moved = u[o] if weight is None else sum(weight[o][j][i] * u[i] for i in range(width))
            read[o] += gates[j] * moved
    return read


@pytest.mark.parametrize("route", ["transform", "average"])
@pytest.mark.parametrize("training", [False, True])
def test_equals_a_slow_reference(slow, scrambled, route, training):
    snr = scrambled(SNR(4, ["a", "b"], num_subnetworks=3, levels=[(3,), (5, 2)], route=route, strength=0.7)).train(training)
    x = torch.randn(4, 4, dtype=torch.float64)
    torch.manual_seed(8)
    shared = snr(x)
    torch.manual_seed(8)
    draws = [torch.rand(3, 3, dtype=torch.float64).tolist(), torch.rand(2, 3, dtype=torch.float64).tolist()]
    logs = [snr.routes[0].log_alpha.tolist(), [snr.task_routes.of(task).log_alpha[0].tolist() for task in "ab"]]
    gates = [
        [[slow_draw(a, u) if training else slow_gate(a) for a, u in zip(*rows, strict=True)] for rows in zip(*pair, strict=True)]
        for pair in zip(logs, draws, strict=True)
    ]
    weights = [None if route == "average" else snr.routes[0].weight.tolist()]
    weights += [None if route == "average" else [snr.task_routes.of(task).weight[0].tolist() for task in "ab"]]
    for i, row in enumerate(x.tolist()):
        u = [slow.mlp(snr.levels[0], e, row) for e in range(3)]
        reads = [slow_route(u, gates[0][e], weights[0] and weights[0][e]) for e in range(3)]
        u = [slow.mlp(snr.levels[1], e, reads[e]) for e in range(3)]
        for place in range(2):
            expected = slow_route(u, gates[1][place], weights[1] and weights[1][place])
            assert shared.outputs[place, i].tolist() == pytest.approx(expected, abs=1e-10)
    expected_l0 = sum(1 / (1 + math.exp(-(a - 0.9 * math.log(0.1 / 1.1)))) for table in logs for row in table for a in row)
    assert (shared.penalty is None) if not training else (shared.penalty.item() == pytest.approx(0.7 * expected_l0, abs=1e-10))


@pytest.mark.parametrize("log_alpha", [-1.5, 0.0, 0.8, 3.0])
def test_draws_are_exactly_0_and_1_as_often_as_the_closed_form_says(log_alpha):
    generator = torch.Generator().manual_seed(4)
    uniform = torch.rand(400_000, generator=generator, dtype=torch.float64)
    z = training_gates(torch.tensor(log_alpha, dtype=torch.float64), uniform)
    closed = 1 / (1 + math.exp(-(0.9 * math.log(0.1 / 1.1) - log_alpha)))
    full = 1 / (1 + math.exp(-(log_alpha - 0.9 * math.log(1.1 / 0.1))))
    assert (z == 0).double().mean().item() == pytest.approx(closed, abs=0.003)
    assert (z == 1).double().mean().item() == pytest.approx(full, abs=0.003)
    assert open_probability(torch.tensor(log_alpha, dtype=torch.float64)).item() == pytest.approx(1 - closed, abs=1e-12)


def test_evaluation_has_neither_noise_nor_temperature():
    log_alpha = torch.linspace(-4, 4, 33, dtype=torch.float64)
    assert evaluation_gates(log_alpha).tolist() == pytest.approx([slow_gate(a) for a in log_alpha.tolist()], abs=1e-14)
    middle = training_gates(log_alpha, torch.full_like(log_alpha, 0.5))
    assert not torch.allclose(middle, evaluation_gates(log_alpha))  # the median draw is hotter than what is served
    assert (evaluation_gates(log_alpha) == 0).sum() == (log_alpha < math.log(1 / 11)).sum()


def test_gradient_of_a_draw_and_of_the_penalty():
    log_alpha = torch.tensor([-2.0, 0.0, 0.5, 4.0], dtype=torch.float64, requires_grad=True)
    uniform = torch.tensor([0.3, 0.4, 0.7, 0.9], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: training_gates(a, uniform), log_alpha)
    assert torch.autograd.gradcheck(open_probability, log_alpha)
    (gradient,) = torch.autograd.grad(training_gates(log_alpha, uniform).sum(), log_alpha)
    assert (gradient > 0).tolist() == [False, True, True, False]  # a closed draw and a full one send nothing back
    s = 1 / (1 + math.exp(-math.log(0.4 / 0.6) / 0.9))
    assert gradient[1].item() == pytest.approx(1.2 * s * (1 - s) / 0.9)


def opened(snr, gates):
    with torch.no_grad():
        for task, row in zip(snr.tasks, gates, strict=True):
            snr.task_routes.of(task).log_alpha.copy_(40 * torch.tensor([row]) - 20)
    return snr


def test_a_connection_of_ones_own_each_is_single_task_and_one_for_all_a_shared_bottom(scrambled):
    snr = scrambled(SNR(4, ["a", "b"], num_subnetworks=2, levels=[(5, 3)], route="average"))
    x = torch.randn(6, 4, dtype=torch.float64)
    single = SingleTask(4, ["a", "b"], hidden=(5, 3)).double()
    bottom = SharedBottom(4, ["a", "b"], hidden=(5, 3)).double()
    for place, task in enumerate("ab"):
        state = {name: value[place : place + 1] for name, value in snr.levels[0].state_dict().items()}
        single.bottoms.of(task).load_state_dict(state)
    bottom.trunk.load_state_dict(state)
    expected = single(x.expand(2, -1, -1)).outputs
    torch.testing.assert_close(opened(snr, [[1.0, 0.0], [0.0, 1.0]])(x).outputs, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(opened(snr, [[0.0, 1.0], [0.0, 1.0]])(x).outputs, bottom(x).outputs, rtol=0, atol=1e-12)


def trained(steps, **options):
    torch.manual_seed(2)
    names = ["time", "price"]
    sharing = SNR(4, names, num_subnetworks=3, levels=[(8,), (8,)], **options)
    model = MultiTaskModel([Numbers()], sharing, Heads(8, [Regression(name) for name in names]))
    balancer = Equal(names)
    optimizer = build_optimizer(model, balancer, lr=0.06, weight_decay=0.1)
    x = torch.randn(256, 4)
    everywhere = torch.ones(256, dtype=torch.bool)
    labels = {"time": x[:, 0] + x[:, 1], "price": x[:, 2].abs()}
    batch = Batch(
        Features(torch.zeros(256, 0, dtype=torch.int64), x, {}),
        {name: Labels(value, everywhere, 256) for name, value in labels.items()},
    )
    for _ in range(steps):
        train_step(model, balancer, optimizer, batch)
    return sharing


def test_the_penalty_closes_connections_and_decay_does_not():
    free, sparse = trained(150, strength=0.0), trained(150, strength=0.1)
    closed = [sum(int((gate == 0).sum()) for gate in snr.connections()) for snr in (free, sparse)]
    assert closed[0] == 0
    assert 4 <= closed[1] < 15
    assert len(list(sparse.penalised_parameters())) == 3


def test_fixed_gates_are_those_of_evaluation_and_no_longer_learn():
    snr = trained(4, strength=0.1, fix_after=4)
    x = torch.randn(5, 4)
    shared = snr.train()(x)
    torch.testing.assert_close(shared.outputs, snr.eval()(x).outputs, rtol=0, atol=0)
    snr.zero_grad()
    shared = snr.train()(x)
    (shared.outputs.sum() + shared.penalty).backward()
    assert all(parameter.grad.abs().max() == 0 for parameter in snr.penalised_parameters())
    earlier = trained(3, strength=0.1, fix_after=4)
    assert not torch.equal(earlier.train()(x).outputs, earlier(x).outputs)  # still drawn
    earlier.load_state_dict(snr.state_dict())
    torch.testing.assert_close(earlier.train()(x).outputs, snr.eval()(x).outputs, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"levels": []}, "widths for each level"),
        ({"route": "averge"}, "average"),
        ({"strength": -1.0}, "not negative"),
        ({"fix_after": -1}, "after some steps, or never"),
        ({"num_subnetworks": 0}, "0 MLPs of 4"),
    ],
)
def test_mistakes_are_named(options, expected):
    with pytest.raises(ConfigError, match=expected):
        SNR(4, ["a"], **options)
