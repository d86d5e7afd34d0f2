"""AdaTT: the contract, a slow reference of both variants, the residual, the authors' slips, who trains what."""

from functools import partial

import pytest
import torch

from polytask.errors import ConfigError
from polytask.sharing import AdaTT, MMoE, private_parameters
from polytask.testing import check_sharing

UNEVEN = {"levels": [(4,), (5, 4), (3,)], "num_shared_experts": 3, "gate_hidden": (4,), "activation": "silu"}


@pytest.mark.parametrize(
    "options",
    [{}, {"levels": [(4, 3)], "num_task_experts": 3}, {**UNEVEN, "expert_dropout": 0.3}, {**UNEVEN, "num_task_experts": 2}],
)
def test_contract(options):
    check_sharing(partial(AdaTT, **options))


def residual(held, unit, num):
    return [1.0] * num if held is None else (held.of(unit) if unit else held).weight.tolist()


def slow_adatt(adatt, slow, row):
    """The streams of one row, unit by unit."""
    streams = dict.fromkeys([*adatt.tasks, None], row)  # None is the shared unit
    for level in adatt.levels:
        stacks = {task: level.task_experts.of(task) for task in adatt.tasks}
        stacks |= {} if level.shared_experts is None else {None: level.shared_experts}
        experts = {unit: [slow.mlp(stack, e, streams[unit]) for e in range(stack.num)] for unit, stack in stacks.items()}
        gates = {task: level.task_gates.of(task) for task in adatt.tasks}
        gates |= {} if level.shared_gate is None else {None: level.shared_gate}
        weights = {unit: slow.softmax(slow.mlp(gate, 0, streams[unit])) for unit, gate in gates.items()}
        fused = {}
        for unit in gates:
            held = level.task_residuals if unit else level.shared_residual
            mixed = slow.mix(weights[unit], [expert for stack in experts.values() for expert in stack])
            added = slow.mix(residual(held, unit, len(experts[unit])), experts[unit])
            fused[unit] = [a + b for a, b in zip(mixed, added, strict=True)]
        streams = fused
    return streams, weights


@pytest.mark.parametrize("num_task_experts", [1, 3])
@pytest.mark.parametrize("num_shared_experts", [0, 1, 2])
@pytest.mark.parametrize("levels", [[(3,)], [(4, 3), (5,), (2,)]])
def test_equals_a_slow_reference(slow, scrambled, num_task_experts, num_shared_experts, levels):
    numbers = {"num_task_experts": num_task_experts, "num_shared_experts": num_shared_experts}
    adatt = scrambled(AdaTT(4, ["a", "b", "c"], levels=levels, **numbers))
    x = torch.randn(5, 4, dtype=torch.float64)
    shared = adatt(x)
    for i, row in enumerate(x.tolist()):
        streams, weights = slow_adatt(adatt, slow, row)
        for place, task in enumerate("abc"):
            assert shared.outputs[place, i].tolist() == pytest.approx(streams[task], abs=1e-10)
            own = residual(adatt.levels[-1].task_residuals, task, num_task_experts)
            taken = list(weights[task])
            for e, weight in enumerate(own):
                taken[place * num_task_experts + e] += abs(weight)
            expected = [share / sum(taken) for share in taken]
            assert shared.gates[place, i].tolist() == pytest.approx(expected, abs=1e-10)


def test_without_residual_one_level_is_an_mmoe_over_all_experts(scrambled):
    adatt = scrambled(AdaTT(4, ["a", "b"], levels=[(3,)], num_task_experts=2, num_shared_experts=1))
    level = adatt.levels[0]
    mmoe = MMoE(4, ["a", "b"], num_experts=5, hidden=(3,)).double()
    with torch.no_grad():
        for task in "ab":
            level.task_residuals.of(task).weight.zero_()
            mmoe.gates.of(task).layers[0].weight.copy_(level.task_gates.of(task).layers[0].weight)
        stacks = [level.task_experts.of("a"), level.task_experts.of("b"), level.shared_experts]
        for name, parameter in mmoe.levels[0].named_parameters():
            parameter.copy_(torch.cat([stack.get_parameter(name) for stack in stacks]))
    x = torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(adatt(x).outputs, mmoe(x).outputs, rtol=0, atol=1e-12)


def test_a_task_keeps_its_own_experts_whatever_its_gate_says(scrambled):
    """The residual is what AdaTT adds to a mixture: with gates that look only at the other task, the task's own stay."""
    adatt = scrambled(AdaTT(4, ["a", "b"], levels=[(3,)]))
    x = torch.rand(6, 4, dtype=torch.float64) + 1
    with torch.no_grad():
        gate = adatt.levels[0].task_gates.of("a").layers[0].weight
        gate[0, 0], gate[0, 1] = -200.0, 0.0
    a, b = (adatt.levels[0].task_experts.of(task)(x)[0] for task in "ab")
    torch.testing.assert_close(adatt(x).outputs[0], a + b)


@pytest.mark.parametrize(("own", "shared"), [(1, 0), (1, 1), (1, 3), (2, 0), (3, 1), (3, 2)])
def test_every_level_has_its_residual_and_all_of_it_is_registered(own, shared):
    """Public code counts residual weights by the levels that have some, learns one for a single expert, makes ones on the CPU."""
    adatt = AdaTT(4, ["a", "b"], levels=[(4,), (4,), (4,)], num_task_experts=own, num_shared_experts=shared)
    names = [name for name, _ in adatt.named_parameters()]
    assert sum("task_residuals" in name for name in names) == (6 if own > 1 else 0)
    assert sum("shared_residual" in name for name in names) == (2 if shared > 1 else 0)
    x = torch.randn(6, 4)
    elsewhere = adatt.to("meta")(x.to("meta"))  # a tensor left on the CPU would raise
    assert elsewhere.outputs.device.type == elsewhere.gates.device.type == "meta"


def test_residual_weights_start_within_the_published_bound():
    torch.manual_seed(0)
    adatt = AdaTT(4, [f"t{i}" for i in range(40)], levels=[(3,)], num_task_experts=4)
    weights = torch.stack(list(adatt.levels[0].task_residuals.parameters()))
    assert weights.abs().max() <= 0.5
    assert weights.abs().max() > 0.45
    assert weights.std().item() == pytest.approx(0.5 / 3**0.5, abs=0.04)


def test_only_the_last_gates_and_residuals_are_private():
    adatt = AdaTT(4, ["a", "b"], levels=[(3,), (3,)], num_task_experts=2, num_shared_experts=1)
    private = {id(parameter) for parameter in private_parameters(adatt, "a")}
    names = {name for name, parameter in adatt.named_parameters() if id(parameter) in private}
    assert names == {"levels.1.task_gates.task_a.layers.0.weight", "levels.1.task_residuals.task_a.weight"}
    assert adatt.expert_owners == (("a",), ("a",), ("b",), ("b",), ("a", "b"))


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="needs widths for each level"):
        AdaTT(4, ["a"], levels=[(4,), ()])
    with pytest.raises(ConfigError, match=r"0 shared experts or more\. Received: -1"):
        AdaTT(4, ["a"], num_shared_experts=-1)
    with pytest.raises(ConfigError, match="0 MLPs of 4"):
        AdaTT(4, ["a"], num_task_experts=0)
