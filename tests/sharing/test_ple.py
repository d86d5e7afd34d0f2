"""PLE: the contract, a slow reference of two levels, CGC, what is private."""

from functools import partial

import pytest
import torch

from polytask.errors import ConfigError
from polytask.sharing import PLE, MMoE, private_parameters
from polytask.testing import check_sharing

UNEVEN = {"levels": [(4, 3), (5,), (6,)], "num_task_experts": 1, "num_shared_experts": 3, "gate_hidden": (4,)}


@pytest.mark.parametrize("options", [{"levels": [(4,)]}, {"levels": [(4,), (5, 3)]}, {**UNEVEN, "expert_dropout": 0.3}])
def test_contract(options):
    check_sharing(partial(PLE, **options))


def slow_ple(ple, slow, row):
    """The streams of one row, as in equations 1 to 7: `[task experts; shared experts]`, the shared stream over everything."""
    streams, shared = dict.fromkeys(ple.tasks, row), row
    for level in ple.levels:
        num_own = level.num_own
        own = {task: [slow.mlp(level.task_experts.of(task), e, streams[task]) for e in range(num_own)] for task in ple.tasks}
        common = [slow.mlp(level.shared_experts, e, shared) for e in range(level.shared_experts.num)]
        gates = {task: slow.softmax(slow.mlp(level.task_gates.of(task), 0, streams[task])) for task in ple.tasks}
        if level.above:
            logits = [logit for task in ple.tasks for logit in slow.mlp(level.shared_gate_own.of(task), 0, shared)]
            gate = slow.softmax(logits + slow.mlp(level.shared_gate_common, 0, shared))
            shared = slow.mix(gate, [expert for task in ple.tasks for expert in own[task]] + common)
        streams = {task: slow.mix(gates[task], own[task] + common) for task in ple.tasks}
    return streams


@pytest.mark.parametrize("options", [{"levels": [(3,)]}, {"levels": [(4, 3), (5,), (2,)]}])
def test_equals_a_slow_reference(slow, scrambled, options):
    ple = scrambled(PLE(4, ["a", "b", "c"], num_task_experts=2, num_shared_experts=3, **options))
    x = torch.randn(5, 4, dtype=torch.float64)
    outputs = ple(x).outputs
    for i, row in enumerate(x.tolist()):
        for place, (_, stream) in enumerate(slow_ple(ple, slow, row).items()):
            assert outputs[place, i].tolist() == pytest.approx(stream, abs=1e-10)


def test_gates_of_unseen_experts_are_zero(scrambled):
    ple = scrambled(PLE(4, ["a", "b"], levels=[(3,)], num_task_experts=2, num_shared_experts=3))
    gates = ple(torch.randn(5, 4, dtype=torch.float64)).gates
    assert gates.shape == (2, 5, 7)
    seen = torch.tensor([[1, 1, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1]]).bool()
    assert ((gates > 0) == seen.unsqueeze(1)).all()


def test_cgc_whose_tasks_ignore_their_own_experts_is_an_mmoe(scrambled):
    ple = scrambled(PLE(4, ["a", "b"], levels=[(3,)], num_task_experts=2, num_shared_experts=3))
    mmoe = MMoE(4, ["a", "b"], num_experts=3, hidden=(3,)).double()
    level = ple.levels[0]
    mmoe.levels[0].load_state_dict(level.shared_experts.state_dict())
    x = torch.rand(6, 4, dtype=torch.float64) + 1
    with torch.no_grad():
        for task in "ab":
            gate = level.task_gates.of(task).layers[0].weight
            gate[0, :2] = -200.0  # inputs are above 1: own experts get a weight of e^-800
            mmoe.gates.of(task).layers[0].weight.copy_(gate[:, 2:])
    torch.testing.assert_close(ple(x).outputs, mmoe(x).outputs, rtol=0, atol=1e-12)


def test_what_is_private():
    ple = PLE(4, ["a", "b"], levels=[(3,), (3,), (3,)])
    private = {id(parameter) for parameter in private_parameters(ple, "a")}
    names = {name for name, parameter in ple.named_parameters() if id(parameter) in private}
    assert {".".join(name.split(".")[:4]) for name in names} == {
        "levels.1.task_gates.task_a",
        "levels.2.task_gates.task_a",
        "levels.2.task_experts.task_a",
    }


@pytest.mark.parametrize("levels", [[], [()], [(4,), ()]])
def test_mistakes_are_named(levels):
    with pytest.raises(ConfigError, match="needs widths for each level"):
        PLE(4, ["a"], levels=levels)
