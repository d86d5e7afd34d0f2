"""Learned branching: the contract, a slow reference, gates and temperature, groups that are found."""

from functools import partial

import pytest
import torch

from polytask.balancers import Equal
from polytask.batch import Batch, Features, Labels
from polytask.errors import ConfigError
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.sharing import LearnedBranching, MMoE, SharedBottom
from polytask.tasks import Regression
from polytask.testing import check_sharing
from polytask.train import train_step


@pytest.mark.parametrize("options", [{}, {"levels": [(5, 4)]}, {"hard": True}, {"num_branches": 1, "dropout": 0.2}])
def test_contract(options):
    check_sharing(partial(LearnedBranching, **{"levels": [(7,), (5,)], "num_branches": 3, **options}))


def slow_tree(sharing, slow, row, choose):
    """One row from the input up; `choose` gives the weights of the parents from logits."""
    branches = [slow.mlp(sharing.levels[0], i, row) for i in range(sharing.levels[0].num)]
    for parents, level in zip(sharing.parents, list(sharing.levels)[1:], strict=True):
        logits = (10 * parents.tenths).tolist()
        branches = [slow.mlp(level, i, slow.mix(choose(logits[i]), branches)) for i in range(level.num)]
    chosen = {task: choose((10 * sharing.choices.of(task).tenths[0]).tolist()) for task in sharing.tasks}
    return {task: slow.mix(weights, branches) for task, weights in chosen.items()}, chosen


@pytest.mark.parametrize("hard", [False, True])
def test_equals_a_slow_reference(slow, scrambled, hard):
    options = {"levels": [(5, 3), (4,), (2,)], "num_branches": 3, "hard": hard, "temperature": 4.0, "final_temperature": 1.0}
    sharing = scrambled(LearnedBranching(4, ["a", "b", "c"], anneal_steps=8, **options))
    for _ in range(4):
        sharing.after_step(0.1)
    temperature = 2.0  # half of the way from 4 to 1

    def choose(logits):
        if hard:
            return [float(i == logits.index(max(logits))) for i in range(len(logits))]
        return slow.softmax([logit / temperature for logit in logits])

    x = torch.randn(6, 4, dtype=torch.float64)
    shared = sharing(x)
    for i, row in enumerate(x.tolist()):
        outputs, chosen = slow_tree(sharing, slow, row, choose)
        for place, task in enumerate("abc"):
            assert shared.outputs[place, i].tolist() == pytest.approx(outputs[task], abs=1e-10)
            assert shared.gates[place, i].tolist() == pytest.approx(chosen[task], abs=1e-10)


def test_one_branch_is_a_shared_bottom(scrambled):
    sharing = scrambled(LearnedBranching(4, ["a", "b"], levels=[(5,), (3,)], num_branches=1))
    bottom = SharedBottom(4, ["a", "b"], hidden=(5, 3)).double()
    layers = {f"layers.{i}.{key}": value for i in range(2) for key, value in sharing.levels[i].layers[0].state_dict().items()}
    bottom.trunk.load_state_dict(layers)
    x = torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(sharing(x).outputs, bottom(x).outputs, rtol=0, atol=1e-12)


def test_one_level_is_a_mixture_whose_gates_read_no_input(scrambled):
    sharing = scrambled(LearnedBranching(4, ["a", "b"], levels=[(5, 3)], num_branches=3, temperature=1.0))
    mmoe = MMoE(5, ["a", "b"], num_experts=3, hidden=(5, 3)).double()
    with torch.no_grad():  # a constant in the input carries the logits; the experts ignore it
        for name in "ab":
            gate = mmoe.gates.of(name).layers[0].weight
            gate.zero_()
            gate[0, :, 4] = 10 * sharing.choices.of(name).tenths[0]
        for ours, theirs in zip(sharing.levels[0].layers, mmoe.levels[0].layers, strict=True):
            theirs.weight.zero_()
            theirs.weight[..., : ours.weight.shape[-1]] = ours.weight
            theirs.bias.copy_(ours.bias)
    x = torch.randn(6, 4, dtype=torch.float64)
    with_constant = torch.cat([x, torch.ones(6, 1, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(sharing(x).outputs, mmoe(with_constant).outputs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("hard", [False, True])
def test_draws_are_of_all_rows_and_as_likely_as_the_logits_say(hard):
    torch.manual_seed(0)
    sharing = LearnedBranching(4, ["a"], levels=[(3,)], num_branches=3, hard=hard, temperature=0.01, final_temperature=0.01)
    likely = torch.tensor([0.6, 0.3, 0.1])
    with torch.no_grad():
        sharing.choices.of("a").tenths.copy_(likely.log() / 10)
    x = torch.randn(2, 4)
    draws = torch.stack([sharing(x).gates[0] for _ in range(1000)]).detach()
    assert (draws == draws[:, :1]).all()  # one choice for all rows
    torch.testing.assert_close(draws.sum(-1), torch.ones(1000, 2))
    torch.testing.assert_close(draws[:, 0].mean(0), likely, rtol=0, atol=0.06)
    assert ((draws == 0) | (draws - 1).abs().lt(1e-6)).all() or not hard
    assert torch.equal(sharing.eval()(x).gates, sharing(x).gates)  # without noise


def test_a_hard_choice_hands_its_gradient_to_the_logits():
    torch.manual_seed(0)
    sharing = LearnedBranching(4, ["a", "b"], levels=[(16,), (16,)], num_branches=3, hard=True)
    sharing(torch.randn(5, 4)).outputs.sin().sum().backward()
    logits = [*sharing.parents.parameters(), *sharing.choices.parameters()]
    assert all(parameter.grad.abs().sum() > 0 for parameter in logits)
    for level in sharing.levels:  # branches that were not drawn learn nothing
        assert (level.layers[0].weight.grad.abs().sum((1, 2)) == 0).any()


def test_the_temperature_falls_geometrically_and_stays():
    sharing = LearnedBranching(4, ["a"], temperature=8.0, final_temperature=0.5, anneal_steps=4)
    found = []
    for _ in range(6):
        found.append(sharing.temperature().item())
        sharing.after_step(0.1)
    assert found == pytest.approx([8.0, 4.0, 2.0, 1.0, 0.5, 0.5])
    other = LearnedBranching(4, ["a"], temperature=8.0, final_temperature=0.5, anneal_steps=4)
    other.load_state_dict(sharing.state_dict())
    assert other.temperature().item() == pytest.approx(0.5)  # a resumed run goes on where it was


def test_paths_and_tree_by_name():
    sharing = LearnedBranching(4, ["time", "click", "buy"], levels=[(3,), (3,), (3,)], num_branches=3)
    with torch.no_grad():
        for task, branch in {"time": 2, "click": 0, "buy": 1}.items():
            sharing.choices.of(task).tenths[0, branch] = 1
        for parents, chosen in zip(sharing.parents, ([1, 2, 0], [0, 0, 1]), strict=True):
            for child, parent in enumerate(chosen):
                parents.tenths[child, parent] = 1
    assert sharing.paths() == {"time": (2, 1, 2), "click": (1, 0, 0), "buy": (1, 0, 1)}
    assert sharing.tree().splitlines() == [
        "level 1, branch 1: click, buy",
        "  level 2, branch 0: click, buy",
        "    level 3, branch 0: click",
        "    level 3, branch 1: buy",
        "level 1, branch 2: time",
        "  level 2, branch 1: time",
        "    level 3, branch 2: time",
    ]


WAVES = {"a": (0, [1.0, 0.8, 1.2]), "c": (1, [1.0, 0.8, 1.2]), "b": (0, [1.1, 0.9, 1.0]), "d": (1, [1.1, 0.9, 1.0])}


def planted(seed):
    """Two pairs of tasks: each pair weighs the same three waves, each task in its way; the pairs have no wave in common."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(512, 8, generator=generator)
    waves = torch.sin(x @ torch.randn(2, 8, 3, generator=generator) / 2**0.5)
    values = torch.stack([waves[pair] @ torch.tensor(weights) for pair, weights in WAVES.values()])
    return x, (values - values.mean(1, keepdim=True)) / values.std(1, keepdim=True)


def test_tasks_that_need_the_same_end_on_the_same_branch():
    """Eight replicas at once, each with seeds, data and draws of its own."""

    def make():
        return LearnedBranching(8, list(WAVES), levels=[(16,), (16,)], num_branches=3, anneal_steps=350)

    torch.manual_seed(0)
    replicas = [make() for _ in range(8)]
    x, y = (torch.stack(parts) for parts in zip(*(planted(seed) for seed in range(8)), strict=True))
    parameters, buffers = torch.func.stack_module_state(replicas)
    parameters = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    heads = (torch.randn(8, 4, 16) / 4).requires_grad_()

    def loss(parameters, buffers, heads, x, y):
        shared = torch.func.functional_call(replicas[0], (parameters, buffers), (x,))
        return (torch.einsum("knh,kh->kn", shared.outputs, heads) - y).square().mean(1).sum()

    losses = torch.func.vmap(loss, randomness="different")
    optimizer = torch.optim.Adam([*parameters.values(), heads], lr=0.005)
    for step in range(500):
        optimizer.zero_grad()
        losses(parameters, {"steps": buffers["steps"] + step}, heads, x, y).sum().backward()
        optimizer.step()
    found = []
    for place in range(8):
        learned = make()
        learned.load_state_dict({name: value[place] for name, value in {**parameters, **buffers}.items()})
        top = {task: path[-1] for task, path in learned.paths().items()}
        found.append(top["a"] == top["b"] != top["c"] == top["d"])
    assert sum(found) >= 6, found  # by chance: 2 in 27


class Rows(torch.nn.Module):
    out_features = 3

    def forward(self, features):
        return features.numeric


def test_trains_in_the_usual_loop_and_its_temperature_falls_there():
    torch.manual_seed(0)
    tasks = ["sum", "product"]
    sharing = LearnedBranching(3, tasks, levels=[(16,)], num_branches=2, anneal_steps=40)
    model = MultiTaskModel([Rows()], sharing, Heads(16, [Regression(name) for name in tasks]))
    optimizer = build_optimizer(model, Equal(tasks), lr=0.01, weight_decay=0.1)
    x = torch.randn(128, 3)
    targets = {"sum": x.sum(1), "product": x[:, 0] * x[:, 1]}
    labels = {name: Labels(value, torch.ones(128, dtype=torch.bool), 128) for name, value in targets.items()}
    batch = Batch(Features(torch.zeros(128, 0, dtype=torch.int64), x, {}), labels)
    balances = [train_step(model, Equal(tasks), optimizer, batch) for _ in range(80)]
    assert sharing.temperature().item() == pytest.approx(0.2)
    for name in tasks:
        assert balances[-1].losses[name] < 0.5 * balances[0].losses[name]


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="needs widths for each level"):
        LearnedBranching(4, ["a"], levels=[])
    with pytest.raises(ConfigError, match=r"positive and falls\. Received: temperature=0\.1, final_temperature=0\.2"):
        LearnedBranching(4, ["a"], temperature=0.1)
    with pytest.raises(ConfigError, match="at least one step"):
        LearnedBranching(4, ["a"], anneal_steps=0)
