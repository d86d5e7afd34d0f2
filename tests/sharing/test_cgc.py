"""CGC: the contract, a slow reference, one-level PLE, MMoE, what is private."""

from functools import partial

import pytest
import torch

from polytask.errors import ConfigError
from polytask.sharing import CGC, PLE, private_parameters
from polytask.testing import check_sharing

UNEVEN = {"hidden": (4, 3), "num_task_experts": 1, "num_shared_experts": 3, "gate_hidden": (4,), "expert_dropout": 0.3}


@pytest.mark.parametrize("options", [{"hidden": (4,)}, {"num_task_experts": 3, "num_shared_experts": 1, "hidden": (4,)}, UNEVEN])
def test_contract(options):
    check_sharing(partial(CGC, **options))


def test_equals_a_slow_reference(slow, scrambled):
    cgc = scrambled(CGC(4, ["a", "b", "c"], hidden=(5, 3), num_task_experts=2, num_shared_experts=3))
    x = torch.randn(5, 4, dtype=torch.float64)
    shared = cgc(x)
    for i, row in enumerate(x.tolist()):
        common = [slow.mlp(cgc.level.shared_experts, e, row) for e in range(3)]
        for place, task in enumerate("abc"):
            own = [slow.mlp(cgc.level.task_experts.of(task), e, row) for e in range(2)]
            gate = slow.softmax(slow.mlp(cgc.level.task_gates.of(task), 0, row))
            assert shared.outputs[place, i].tolist() == pytest.approx(slow.mix(gate, own + common), abs=1e-10)
            seen = [*range(2 * place, 2 * place + 2), 6, 7, 8]
            assert shared.gates[place, i, seen].tolist() == pytest.approx(gate, abs=1e-10)
            assert shared.gates[place, i].sum().item() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("options", [{}, {"expert_dropout": 0.4, "gate_hidden": (3,), "activation": "silu"}])
def test_equals_a_ple_of_one_level(scrambled, options):
    ple = scrambled(PLE(4, ["a", "b"], levels=[(5, 3)], num_task_experts=3, num_shared_experts=2, **options))
    cgc = CGC(4, ["a", "b"], hidden=(5, 3), num_task_experts=3, num_shared_experts=2, **options).double()
    cgc.level.load_state_dict(ple.levels[0].state_dict())
    x = torch.randn(6, 4, dtype=torch.float64)
    for mode in (True, False):
        results = []
        for sharing in (ple, cgc):
            torch.manual_seed(3)
            results.append(sharing.train(mode)(x))
        for mine, other in zip(*(torch.utils._pytree.tree_leaves(result) for result in results), strict=True):
            assert (mine is None and other is None) or torch.equal(mine, other)


def test_what_is_private():
    cgc = CGC(4, ["a", "b"], hidden=(3,), num_task_experts=2)
    private = {id(parameter) for parameter in private_parameters(cgc, "b")}
    names = {name for name, parameter in cgc.named_parameters() if id(parameter) in private}
    assert {".".join(name.split(".")[:3]) for name in names} == {"level.task_experts.task_b", "level.task_gates.task_b"}


@pytest.mark.parametrize("sharing", [CGC, partial(PLE, levels=[(3,), (2,)])])
def test_owners_follow_the_gates(sharing):
    made = sharing(4, ["a", "b"], num_task_experts=2, num_shared_experts=1)
    assert made.expert_owners == (("a",), ("a",), ("b",), ("b",), ("a", "b"))
    seen = (made(torch.randn(3, 4)).gates > 0).all(1)
    assert seen.tolist() == [[task in owners for owners in made.expert_owners] for task in "ab"]


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="0 MLPs of 4"):
        CGC(4, ["a"], num_shared_experts=0)
    with pytest.raises(ConfigError, match="Expert dropout is a probability"):
        CGC(4, ["a"], expert_dropout=-0.1)
    with pytest.raises(ConfigError, match="positive widths"):
        CGC(4, ["a"], hidden=())
