"""MMoE: the contract, slow references, reductions, expert dropout."""

import subprocess
import sys
from functools import partial

import pytest
import torch

from polytask.errors import ConfigError
from polytask.sharing import MMoE, SharedBottom
from polytask.testing import check_sharing

STACKED = {"num_layers": 3, "hidden": (5, 4), "trunk": (7,), "gate_hidden": (6,)}


@pytest.mark.parametrize("options", [{}, {"num_experts": 1}, {"expert_dropout": 0.4}, STACKED])
def test_contract(options):
    check_sharing(partial(MMoE, **{"num_experts": 3, **options}))


def test_equals_a_slow_reference(slow, scrambled):
    mmoe = scrambled(MMoE(4, ["a", "b", "c"], num_experts=3, hidden=(5, 2)))
    x = torch.randn(6, 4, dtype=torch.float64)
    shared = mmoe(x)
    for place, task in enumerate("abc"):
        for i, row in enumerate(x.tolist()):
            gate = slow.softmax(slow.mlp(mmoe.gates.of(task), 0, row))
            expected = slow.mix(gate, [slow.mlp(mmoe.levels[0], e, row) for e in range(3)])
            assert shared.outputs[place, i].tolist() == pytest.approx(expected, abs=1e-10)
            assert shared.gates[place, i].tolist() == pytest.approx(gate, abs=1e-10)


def test_stacked_with_trunk_equals_a_slow_reference(slow, scrambled):
    mmoe = scrambled(MMoE(4, ["a", "b"], num_experts=3, hidden=(5,), num_layers=2, trunk=(6,), gate_hidden=(4,)))
    x = torch.randn(5, 4, dtype=torch.float64)
    outputs = mmoe(x).outputs
    for i, row in enumerate(x.tolist()):
        z = slow.mlp(mmoe.trunk, 0, row)
        below = [slow.mlp(mmoe.levels[0], e, z) for e in range(3)]
        fed = [slow.mix(slow.softmax(slow.mlp(mmoe.level_gates[0], e, z)), below) for e in range(3)]
        above = [slow.mlp(mmoe.levels[1], e, fed[e]) for e in range(3)]
        for place, task in enumerate("ab"):
            expected = slow.mix(slow.softmax(slow.mlp(mmoe.gates.of(task), 0, z)), above)
            assert outputs[place, i].tolist() == pytest.approx(expected, abs=1e-10)


def test_one_expert_is_a_shared_bottom(scrambled):
    mmoe = scrambled(MMoE(4, ["a", "b"], num_experts=1, hidden=(5, 3)))
    bottom = SharedBottom(4, ["a", "b"], hidden=(5, 3)).double()
    bottom.trunk.load_state_dict(mmoe.levels[0].state_dict())
    x = torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(mmoe(x).outputs, bottom(x).outputs, rtol=0, atol=1e-12)


def test_expert_dropout_drops_at_its_rate_renormalises_and_never_drops_all():
    torch.manual_seed(0)
    mmoe = MMoE(4, ["a", "b"], num_experts=3, hidden=(5,), expert_dropout=0.4)
    x = torch.randn(20_000, 4)
    whole, dropped = mmoe.eval()(x).gates, mmoe.train()(x).gates
    kept = dropped > 0
    torch.testing.assert_close(dropped.sum(-1), torch.ones(2, 20_000))
    expected = torch.where(kept, whole, 0.0)
    torch.testing.assert_close(dropped, expected / expected.sum(-1, keepdim=True))
    # a draw that leaves none (0.4 ** 3 of the rows) leaves all
    assert (~kept).float().mean().item() == pytest.approx(0.4 - 0.4**3, abs=0.01)
    assert (kept.sum(-1) == 3).float().mean().item() == pytest.approx(0.6**3 + 0.4**3, abs=0.01)
    assert (kept[0] != kept[1]).any()  # tasks draw apart
    assert torch.isfinite(torch.autograd.grad(mmoe(x).outputs.sum(), list(mmoe.parameters()))[0]).all()


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="at least one level"):
        MMoE(4, ["a"], num_layers=0)
    with pytest.raises(ConfigError, match=r"Expert dropout is a probability in \[0, 1\)\. Received: 1"):
        MMoE(4, ["a"], expert_dropout=1.0)
    with pytest.raises(ConfigError, match="0 MLPs of 4"):
        MMoE(4, ["a"], num_experts=0)


def test_compiles_whole():
    """In a process of its own: the shape checks of the tests cannot be compiled."""
    program = """
import torch
from polytask.sharing import MMoE
model = MMoE(4, ["a", "b"], num_experts=3, hidden=(5, 2), expert_dropout=0.2)
x = torch.randn(6, 4)
for backend in ("aot_eager",):
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    compiled(x).outputs.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    torch.testing.assert_close(compiled.eval()(x).outputs, model.eval()(x).outputs)
    model.train()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=120)
