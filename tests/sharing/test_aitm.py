"""AITM: the contract, a slow reference, who reaches whom, what a chain is worth."""

import math

import pytest
import torch

from polytask.errors import ConfigError
from polytask.sharing import AITM, SingleTask, private_parameters
from polytask.testing import check_sharing


def in_chain(chain, **options):
    return lambda width, tasks: AITM(width, tasks, chain=[name for name in chain if name in tasks], **options)


@pytest.mark.parametrize(
    ("chain", "options"),
    [
        (["time", "click", "buy"], {"hidden": (7, 9), "activation": "silu"}),  # few units of a relu may all be dead
        (["buy", "time"], {}),
        (["click"], {"hidden": (5,), "dropout": 0.3}),
        (["buy", "click", "time"], {"dropout": 0.3}),
    ],
)
def test_contract(chain, options):
    check_sharing(in_chain(chain, **options))


def slow_aitm(aitm, slow, row):
    """One row, pair by pair; h1, h2, h3 are thirds of the maps."""
    towers = {name: slow.mlp(group.of(name), 0, row) for group in (aitm.passing_towers, aitm.own_towers) for name in group.names}
    streams, pairs = dict(towers), {}
    for source, target in zip(aitm.chain, aitm.chain[1:], strict=False):
        into = aitm.own_links if target == aitm.chain[-1] else aitm.passing_links
        link = into.of(target).of(source)
        width = aitm.out_features
        scores, values = [], []
        for u in (towers[target], slow.mlp(link.transfer, 0, streams[source])):
            mapped = slow.mlp(link.maps, 0, u)
            h1, h2, h3 = mapped[:width], mapped[width : 2 * width], mapped[2 * width :]
            scores.append(sum(a * b for a, b in zip(h2, h3, strict=True)) / math.sqrt(width))
            values.append(h1)
        pairs[target] = slow.softmax(scores)
        streams[target] = slow.mix(pairs[target], values)
    return streams, pairs


def test_equals_a_slow_reference(slow, scrambled):
    aitm = scrambled(AITM(4, ["a", "b", "c", "d"], chain=["c", "a", "d"], hidden=(5, 3)))
    x = torch.randn(6, 4, dtype=torch.float64)
    shared = aitm(x)
    for i, row in enumerate(x.tolist()):
        streams, pairs = slow_aitm(aitm, slow, row)
        for place, name in enumerate("abcd"):
            assert shared.outputs[place, i].tolist() == pytest.approx(streams[name], abs=1e-10)
            assert shared.gates[place, i].tolist() == pytest.approx(pairs.get(name, [1.0, 0.0]), abs=1e-10)
    assert sorted(pairs) == ["a", "d"]


def test_out_of_the_chain_is_a_tower_alone(scrambled):
    aitm = scrambled(AITM(4, ["a", "b"], chain=["b"], hidden=(5, 3)))
    single = SingleTask(4, ["a", "b"], hidden=(5, 3)).double()
    for name in "ab":
        single.bottoms.of(name).load_state_dict(aitm.own_towers.of(name).state_dict())
    x = torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(aitm(x).outputs, single(x.expand(2, -1, -1)).outputs, rtol=0, atol=1e-12)


def test_what_is_later_reaches_what_is_earlier_and_never_the_other_way():
    aitm = AITM(4, ["a", "b", "c", "d"], chain=["c", "a", "d"], hidden=(16,)).double()
    outputs = aitm(torch.randn(9, 4, dtype=torch.float64)).outputs
    towers = {name: next(group.of(name).parameters()) for group in (aitm.passing_towers, aitm.own_towers) for name in group.names}
    reached = {}
    for place, name in enumerate("abcd"):
        gradients = torch.autograd.grad(outputs[place].sum(), list(towers.values()), retain_graph=True, allow_unused=True)
        reached[name] = {other for other, found in zip(towers, gradients, strict=True) if found is not None and found.abs().sum()}
    assert reached == {"c": {"c"}, "a": {"c", "a"}, "d": {"c", "a", "d"}, "b": {"b"}}


def test_only_the_end_of_the_chain_and_what_is_outside_it_is_private():
    aitm = AITM(4, ["a", "b", "c", "d"], chain=["c", "a", "d"])
    names = {id(parameter): name for name, parameter in aitm.named_parameters()}
    private = {task: {names[id(p)].rsplit(".", 3)[0] for p in private_parameters(aitm, task)} for task in aitm.tasks}
    own = {"own_towers.task_d", "own_links.task_d.task_a.transfer", "own_links.task_d.task_a.maps"}
    assert private == {"a": set(), "b": {"own_towers.task_b"}, "c": set(), "d": own}


def test_the_state_of_one_chain_is_not_taken_for_another():
    state = AITM(4, list("abcd"), chain="abcd").state_dict()
    AITM(4, list("dbca"), chain="abcd").load_state_dict(state)  # tasks in another order, the same chain
    with pytest.raises(RuntimeError, match=r"task_c\.task_b"):
        AITM(4, list("abcd"), chain="acbd").load_state_dict(state)


def fitted(make, seed):
    """Error on new rows of a rare task whose answer is the upper half of a frequent task's, in units of its variance."""
    torch.manual_seed(seed)
    x, w = torch.randn(2000, 20), torch.randn(20)
    click = torch.tanh(x @ w / 4) + 0.1 * torch.randn(2000)
    buy = 2 * torch.tanh(x @ w / 4).relu() + 0.1 * torch.randn(2000)
    sharing = make(20, ["click", "buy"])
    heads = torch.nn.ModuleList(torch.nn.Linear(sharing.out_features, 1) for _ in range(2))
    optimizer = torch.optim.AdamW([*sharing.parameters(), *heads.parameters()], lr=1e-2, weight_decay=0.01)
    train, rare = slice(0, 1000), slice(0, 100)

    def estimates(rows):
        rows = rows if sharing.num_inputs == 1 else rows.expand(2, -1, -1)
        return [head(z).squeeze(1) for head, z in zip(heads, sharing(rows).outputs, strict=True)]

    for _ in range(80):
        optimizer.zero_grad()
        first, second = estimates(x[train])
        loss = (first - click[train]).square().mean() + (second[rare] - buy[rare]).square().mean()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return ((estimates(x[1000:])[1] - buy[1000:]).square().mean() / buy[1000:].var()).item()


def test_a_rare_step_learns_from_the_frequent_one_before_it():
    def chained(width, tasks):
        return AITM(width, tasks, chain=tasks, hidden=(24,))

    def alone(width, tasks):
        return AITM(width, tasks, chain=tasks[:1], hidden=(24,))

    errors = [(fitted(chained, seed), fitted(alone, seed)) for seed in range(3)]
    assert sum(with_chain for with_chain, _ in errors) < 0.8 * sum(without for _, without in errors), errors


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="Did you mean 'buy'"):
        AITM(4, ["click", "buy"], chain=["click", "bui"])
