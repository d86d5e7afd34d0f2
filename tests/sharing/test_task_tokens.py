"""Task tokens: the contract, a slow reference, who sees whom, tokens of the user's own encoder."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from polytask.balancers import Equal
from polytask.batch import Batch, Features, Labels
from polytask.errors import ConfigError
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.sharing import TaskTokens, private_parameters
from polytask.tasks import Regression
from polytask.testing import check_sharing
from polytask.train import train_step

SMALL = {"width": 8, "num_heads": 2, "hidden": 10, "num_tokens": 3}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sees": "all", "num_blocks": 1},
        {"num_tokens": 1, "num_blocks": 1, "width": 12, "num_heads": 3, "dropout": 0.2, "activation": "relu"},
    ],
)
def test_contract(options):
    check_sharing(partial(TaskTokens, **{**SMALL, **options}))


def test_contract_along_a_chain():
    def along(width, tasks):
        return TaskTokens(width, tasks, sees="chain", chain=[name for name in ("time", "click") if name in tasks], **SMALL)

    check_sharing(along)


def linear(layer, row):
    rows = layer.weight.tolist()
    return [
        b + sum(w * v for w, v in zip(weights, row, strict=True)) for weights, b in zip(rows, layer.bias.tolist(), strict=True)
    ]


def norm(layer, row):
    mean = sum(row) / len(row)
    variance = sum((value - mean) ** 2 for value in row) / len(row)
    scaled = [(value - mean) / math.sqrt(variance + layer.eps) for value in row]
    return [w * v + b for w, v, b in zip(layer.weight.tolist(), scaled, layer.bias.tolist(), strict=True)]


def slow_block(block, tokens, sees, slow):
    """One block on the tokens of one row, token by token and head by head."""
    normed = [norm(block.attention_norm, token) for token in tokens]
    size = len(tokens[0]) // block.num_heads
    pairs = [linear(block.key_value, token) for token in normed]
    after = []
    for place, token in enumerate(tokens):
        query, joined = linear(block.query, normed[place]), []
        for head in range(block.num_heads):
            part = slice(head * size, (head + 1) * size)
            keys = [pairs[other][: len(token)][part] for other in sees[place]]
            values = [pairs[other][len(token) :][part] for other in sees[place]]
            scores = [sum(q * k for q, k in zip(query[part], key, strict=True)) / math.sqrt(size) for key in keys]
            joined += slow.mix(slow.softmax(scores), values)
        attended = [a + b for a, b in zip(token, linear(block.out, joined), strict=True)]
        added = slow.mlp(block.mlp, 0, norm(block.mlp_norm, attended))
        after.append([a + b for a, b in zip(attended, added, strict=True)])
    return after


@pytest.mark.parametrize(
    ("options", "among_tasks"),
    [
        ({}, {"a": "a", "b": "b", "c": "c"}),
        ({"sees": "chain", "chain": ["c", "a", "b"]}, {"c": "c", "a": "ca", "b": "cab"}),
        ({"sees": "all"}, {"a": "abc", "b": "abc", "c": "abc"}),
    ],
)
def test_equals_a_slow_reference(slow, scrambled, options, among_tasks):
    sharing = scrambled(TaskTokens(4, ["a", "b", "c"], activation="relu", **{**SMALL, **options}))
    x = torch.randn(3, 4, dtype=torch.float64)
    outputs = sharing(x).outputs
    sees = [[0, 1, 2]] * 3 + [[0, 1, 2, *(3 + "abc".index(other) for other in among_tasks[name])] for name in "abc"]
    vectors = {
        name: group.of(name).vector.tolist() for group in (sharing.own_tokens, sharing.seen_tokens) for name in group.names
    }
    for i, row in enumerate(x.tolist()):
        flat = linear(sharing.tokenise, row)
        tokens = [flat[8 * place : 8 * (place + 1)] for place in range(3)] + [vectors[name] for name in "abc"]
        for block in sharing.blocks:
            tokens = slow_block(block, tokens, sees, slow)
        for place in range(3):
            assert outputs[place, i].tolist() == pytest.approx(norm(sharing.norm, tokens[3 + place]), abs=1e-10)


def on_some_tasks(sharing, tasks, **options):
    """The same weights with fewer tasks."""
    other = TaskTokens(4, tasks, **{**SMALL, **options}).double()
    of_tasks = ("own_tokens.", "seen_tokens.")
    state = {key.replace("seen_tokens", "own_tokens"): value for key, value in sharing.state_dict().items()}
    whole = {key: state[key.replace("seen_tokens", "own_tokens")] for key in other.state_dict()}
    assert any(key.startswith(of_tasks) for key in whole)
    other.load_state_dict(whole)
    return other.eval()


def test_without_sight_of_others_a_task_does_not_depend_on_which_there_are(scrambled):
    sharing = scrambled(TaskTokens(4, ["a", "b", "c"], num_blocks=3, **SMALL))
    x = torch.randn(5, 4, dtype=torch.float64)
    alone = on_some_tasks(sharing, ["c"], num_blocks=3)
    torch.testing.assert_close(alone(x).outputs[0], sharing(x).outputs[2], rtol=0, atol=1e-12)
    seeing = scrambled(TaskTokens(4, ["a", "b", "c"], num_blocks=3, sees="all", **SMALL))
    assert not torch.allclose(on_some_tasks(seeing, ["c"], num_blocks=3, sees="all")(x).outputs[0], seeing(x).outputs[2])


def test_along_a_chain_a_task_depends_on_those_before_it_alone(scrambled):
    options = {"sees": "chain", "num_blocks": 2}
    sharing = scrambled(TaskTokens(4, ["a", "b", "c", "d"], chain=["c", "a", "d"], **options, **SMALL))
    x = torch.randn(5, 4, dtype=torch.float64)
    shorter = on_some_tasks(sharing, ["a", "b", "c"], chain=["c", "a"], **options)
    torch.testing.assert_close(shorter(x).outputs, sharing(x).outputs[:3], rtol=0, atol=1e-12)
    assert not torch.allclose(on_some_tasks(sharing, ["a"], chain=["a"], **options)(x).outputs[0], sharing(x).outputs[0])


def test_tokens_that_no_other_task_sees_are_private():
    def private(**options):
        sharing = TaskTokens(4, ["a", "b", "c"], **SMALL, **options)
        return [task for task in sharing.tasks if private_parameters(sharing, task)]

    assert private() == ["a", "b", "c"]
    assert private(sees="all") == []
    assert private(sees="chain", chain=["c", "a"]) == ["a", "b"]
    assert private_parameters(TaskTokens(4, ["a"], sees="all"), "a")  # nobody else is there to see it


def test_a_sequence_of_any_length_and_order_of_tokens(scrambled):
    """Attention does not know places: the encoder tells them."""
    sharing = scrambled(TaskTokens(4, ["a", "b"], **{**SMALL, "num_tokens": 0}))
    words = torch.randn(5, 7, 4, dtype=torch.float64)
    outputs = sharing(words).outputs
    assert outputs.shape == (2, 5, 8)
    torch.testing.assert_close(sharing(words.flip(1)).outputs, outputs, rtol=0, atol=1e-12)
    assert not torch.allclose(sharing(words[:, :6]).outputs, outputs)
    torch.testing.assert_close(sharing(words[1:3]).outputs, outputs[:, 1:3], rtol=0, atol=1e-12)


class Words(nn.Module):
    """The user's own encoder: three numbers, a token each."""

    out_features = 5

    def __init__(self):
        super().__init__()
        self.places = nn.Parameter(torch.randn(3, 5))

    def forward(self, features):
        return features.numeric.unsqueeze(2) * self.places


def test_trains_on_tokens_of_the_users_encoder():
    torch.manual_seed(0)
    tasks = [Regression("sum"), Regression("product")]
    sharing = TaskTokens(5, ["sum", "product"], **{**SMALL, "num_tokens": 0})
    model = MultiTaskModel([Words()], sharing, Heads(8, tasks))
    optimizer = build_optimizer(model, Equal(["sum", "product"]), lr=0.01)
    x = torch.randn(128, 3)
    targets = {"sum": x.sum(1), "product": x[:, 0] * x[:, 1]}
    labels = {name: Labels(value, torch.ones(128, dtype=torch.bool), 128) for name, value in targets.items()}
    batch = Batch(Features(torch.zeros(128, 0, dtype=torch.int64), x, {}), labels)
    balances = [train_step(model, Equal(["sum", "product"]), optimizer, batch) for _ in range(120)]
    for name in targets:
        assert balances[-1].losses[name] < 0.2 * balances[0].losses[name]


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"Unknown mask between task tokens\. Received: 'nome'\. Did you mean 'none'"):
        TaskTokens(4, ["a"], sees="nome")
    with pytest.raises(ConfigError, match="A chain is for tokens that see along it"):
        TaskTokens(4, ["a"], chain=["a"])
    with pytest.raises(ConfigError, match="Heads share a token evenly"):
        TaskTokens(4, ["a"], width=9, num_heads=2)
    with pytest.raises(ConfigError, match="Tokens and blocks are counted"):
        TaskTokens(4, ["a"], num_blocks=0)
    with pytest.raises(ConfigError, match=r"tokens, `n t d`\. Received: \(3, 4\) with num_tokens=0"):
        TaskTokens(4, ["a"], num_tokens=0)(torch.zeros(3, 4))
    with pytest.raises(ConfigError, match="a representation a row"):
        TaskTokens(4, ["a"])(torch.zeros(3, 2, 4))
