"""TensorFactorization: the contract, a slow reference, single tasks at full rank, the size of what it gives at the start."""

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
from polytask.sharing import SingleTask, TensorFactorization, private_parameters
from polytask.tasks import Regression
from polytask.testing import check_sharing
from polytask.train import train_step

KINDS = ("tucker", "tt", "laf")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kind": "tt", "hidden": (7, 3), "task_rank": 2},
        {"kind": "laf", "hidden": (4, 5), "task_rank": [1, 0.7], "own_encoders": True},
    ],
)
def test_contract(options):
    check_sharing(partial(TensorFactorization, **options))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("own_encoders", [False, True])
def test_equals_a_slow_reference(scrambled, kind, own_encoders):
    options = {"kind": kind, "hidden": (5, 3), "task_rank": 2, "own_encoders": own_encoders}
    factorized = scrambled(TensorFactorization(4, ["a", "b", "c"], **options))
    x = torch.randn(*([3] if own_encoders else []), 6, 4, dtype=torch.float64)
    outputs = factorized(x).outputs
    for place, task in enumerate("abc"):
        own = factorized.own.of(task)
        for i in range(6):
            row = (x[place, i] if own_encoders else x[i]).tolist()
            for factors, taken, bias in zip(factorized.factors, own.rows, own.biases, strict=True):
                matrices, s = factors.matrices().tolist(), taken.tolist()
                weights = [[sum(s[r] * matrices[r][o][j] for r in range(2)) for j in range(len(row))] for o in range(len(bias))]
                row = [
                    max(0.0, b + sum(w * v for w, v in zip(unit, row, strict=True)))
                    for unit, b in zip(weights, bias.tolist(), strict=True)
                ]
            assert outputs[place, i].tolist() == pytest.approx(row, abs=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_full_rank_is_single_tasks(scrambled, kind):
    single = scrambled(SingleTask(4, ["a", "b", "c"], hidden=(5, 3), activation="silu"))
    factorized = TensorFactorization.from_single_task(single, kind=kind, tolerance=0.0).eval()
    x = torch.randn(3, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(factorized(x).outputs, single(x).outputs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_from_single_tasks_within_a_tolerance(kind):
    """Eight tasks of which seven are the first, nearly: few directions do for 10 %, and their options build it again."""
    torch.manual_seed(2)
    names = list("abcdefgh")
    single = SingleTask(12, names, hidden=(10, 6), dropout=0.25)
    for task in names[1:]:
        for own, first in zip(single.bottoms.of(task).parameters(), single.bottoms.of("a").parameters(), strict=True):
            own.data = first.data + 0.02 * torch.randn_like(first) + (own.data if task == "b" else 0)
    factorized = TensorFactorization.from_single_task(single, kind=kind, own_encoders=False)
    assert [ranks.task for ranks in factorized.ranks] == [2, 2]
    for place, factors in enumerate(factorized.factors):
        rows = torch.stack([factorized.own.of(task).rows[place] for task in names])
        found = torch.einsum("kr,roi->koi", rows, factors.matrices())
        weight = torch.cat([single.bottoms.of(task).layers[place].weight for task in names])
        assert ((found - weight).norm() / weight.norm()).item() <= 0.1
    output_rank, input_rank, task_rank = zip(*factorized.ranks, strict=True)
    options = {"kind": kind, "output_rank": output_rank, "input_rank": input_rank, "task_rank": task_rank, "dropout": 0.25}
    again = TensorFactorization(12, names, hidden=(10, 6), **options)
    again.load_state_dict(factorized.state_dict())
    x = torch.randn(5, 12)
    assert torch.equal(again.eval()(x).outputs, factorized.eval()(x).outputs)
    assert repr(again.activations) == repr(factorized.activations)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ranks", [(1.0, 1.0, 1.0), (0.25, 0.25, 0.5), (0.5, 0.5, 1)])
@pytest.mark.parametrize("depth", [1, 4])
def test_activations_start_at_the_size_of_single_tasks(kind, ranks, depth):
    """Whatever form, rank and depth; factors that are each drawn as a layer of their own miss by orders of magnitude."""
    torch.manual_seed(5)
    names = list("abcdef")
    x = torch.randn(128, 48)
    sizes: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(12):
        options = dict(zip(("output_rank", "input_rank", "task_rank"), ranks, strict=True))
        models = (
            SingleTask(48, names, hidden=(48,) * depth),
            TensorFactorization(48, names, hidden=(48,) * depth, kind=kind, **options),
        )
        for model in models:
            single = isinstance(model, SingleTask)
            outputs = model(x.expand(6, -1, -1) if single else x).outputs
            sizes[single].append(outputs.square().mean().item())
    ratio = sum(sizes[False]) / sum(sizes[True])
    assert 0.5 < ratio < 2


def test_what_is_private_and_what_is_shared():
    factorized = TensorFactorization(4, ["a", "b"], hidden=(5, 3), kind="tucker")
    private = {id(parameter) for task in "ab" for parameter in private_parameters(factorized, task)}
    shared = {name.split(".")[0] for name, parameter in factorized.named_parameters() if id(parameter) not in private}
    assert shared == {"factors"}
    assert len(private_parameters(factorized, "a")) == 4
    x = torch.randn(3, 4)
    assert [tuple(part.shape) for part in factorized(x).junction] == [(2, 5, 4), (2, 3, 5), (3, 4)]


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains(kind):
    """Three tasks made of two directions: a few hundred steps explain most of them, and a layer has the rank that was asked."""
    torch.manual_seed(6)
    tasks = [Regression(name) for name in ("a", "b", "c")]
    names = [task.name for task in tasks]
    sharing = TensorFactorization(6, names, hidden=(16, 16), kind=kind, task_rank=2)
    model = MultiTaskModel([Numbers()], sharing, Heads(16, tasks))
    optimizer = build_optimizer(model, Equal(names), lr=1e-2)
    x = torch.randn(256, 6)
    parts = torch.stack([(x[:, 0] * x[:, 1]), torch.relu(x[:, 2] - x[:, 3])])
    values = torch.tensor([[1.0, 0.0], [0.7, 0.7], [-1.0, 1.0]]) @ parts
    values = (values - values.mean(1, keepdim=True)) / values.std(1, keepdim=True)
    labels = {name: Labels(value, torch.ones(256).bool(), 256) for name, value in zip(names, values, strict=True)}
    batch = Batch(Features(torch.zeros(256, 0, dtype=torch.int64), x, {}), labels)
    balances = [train_step(model, Equal(names), optimizer, batch) for _ in range(120)]
    first, last = (sum(balance.losses.values()).item() for balance in (balances[0], balances[-1]))
    assert last < 0.3 * first
    rows = torch.stack([sharing.own.of(name).rows[0] for name in names])
    weights = torch.einsum("kr,roi->koi", rows, sharing.factors[0].matrices()).detach()
    assert torch.linalg.matrix_rank(weights.flatten(1)).item() == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "tuker"}, r"Unknown kind of factorisation\. Received: 'tuker'\. .*tucker"),
        ({"task_rank": 0}, "A rank is a whole number"),
        ({"output_rank": 1.5}, "A rank is a whole number"),
        ({"task_rank": [1, 2]}, r"one for each of 1\. Received: \[1, 2\]"),
        ({"hidden": ()}, "positive widths"),
        ({"activation": "rleu"}, "Unknown activation"),
    ],
)
def test_mistakes_are_named(options, said):
    with pytest.raises(ConfigError, match=said):
        TensorFactorization(4, ["a", "b"], **options)


def test_an_impossible_tolerance_is_named():
    with pytest.raises(ConfigError, match=r"A relative error is in \[0, 1\)\. Received: 1"):
        TensorFactorization.from_single_task(SingleTask(4, ["a"]), tolerance=1.0)
