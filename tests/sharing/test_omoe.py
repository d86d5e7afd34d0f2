"""OMoE: the contract, a slow reference, and MMoE with tied gates."""

from functools import partial

import pytest
import torch

from polytask.sharing import MMoE, OMoE
from polytask.testing import check_sharing


@pytest.mark.parametrize("options", [{}, {"gate_hidden": (4,), "expert_dropout": 0.3, "hidden": (7, 5)}])
def test_contract(options):
    check_sharing(partial(OMoE, num_experts=3, **options))


def test_equals_a_slow_reference(slow, scrambled):
    omoe = scrambled(OMoE(4, ["a", "b"], num_experts=3, hidden=(5, 2)))
    x = torch.randn(6, 4, dtype=torch.float64)
    expected = []
    for row in x.tolist():
        gate = slow.softmax(slow.mlp(omoe.gate, 0, row))
        expected.append(slow.mix(gate, [slow.mlp(omoe.experts, i, row) for i in range(3)]))
    expected = torch.tensor(expected, dtype=torch.float64).expand(2, -1, -1)
    torch.testing.assert_close(omoe(x).outputs, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("gate_hidden", [(), (3,)])
def test_equals_mmoe_with_tied_gates(scrambled, gate_hidden):
    omoe = scrambled(OMoE(4, ["a", "b"], num_experts=3, hidden=(5,), gate_hidden=gate_hidden))
    mmoe = MMoE(4, ["a", "b"], num_experts=3, hidden=(5,), gate_hidden=gate_hidden).double()
    mmoe.levels[0].load_state_dict(omoe.experts.state_dict())
    for task in "ab":
        mmoe.gates.of(task).load_state_dict(omoe.gate.state_dict())
    x = torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(omoe(x).outputs, mmoe(x).outputs, rtol=0, atol=1e-12)
    torch.testing.assert_close(omoe(x).gates, mmoe(x).gates, rtol=0, atol=1e-12)
