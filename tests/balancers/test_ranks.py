"""Data parallelism: two processes decide and train as one process on the joined batch."""

import copy

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing, nn

from polytask.balancers import GradDrop, MetaBalance
from polytask.balancers._gradient import GramianBalancer

TASKS = ("a", "b", "c")
AT_COORDINATES = {"graddrop": GradDrop(TASKS, measure="parameters"), "metabalance": MetaBalance(TASKS, main="b")}
MEASURES = [
    "junction",
    "last_layer",
    {"name": "sketched", "rank": 3},
    {"name": "all_layers", "rank": 3},
    "parameters",
    *AT_COORDINATES,
]

pytestmark = pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="torch has no gloo here")


class Inverse(GramianBalancer):
    """Weights that lean on all of the Gramian and on the losses."""

    def weigh(self, measured, losses, names):
        scale = measured.gramian.diagonal().mean().clamp_min(1e-30)
        eye = torch.eye(len(losses), dtype=losses.dtype)
        return torch.linalg.solve(measured.gramian / scale + 0.1 * eye, losses)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(6, 1) for name in TASKS})
        self.double()

    def forward(self, x):
        z = self.trunk(x)
        return {name: head(z)[:, 0] for name, head in self.heads.items()}


def data():
    random = torch.Generator().manual_seed(1)
    return torch.randn(8, 5, generator=random, dtype=torch.float64), torch.randn(3, 8, generator=random, dtype=torch.float64)


def steps(model, measure, rows, *, missing=()):
    """Two backward passes that accumulate."""
    x, y = data()
    balancer = copy.deepcopy(AT_COORDINATES[measure]) if str(measure) in AT_COORDINATES else Inverse(TASKS, measure=measure)
    weights = []
    for _ in range(2):
        outputs = model(x[rows])
        losses = {
            name: (1 + i) * (outputs[name] - y[i][rows]).square().mean() for i, name in enumerate(TASKS) if name not in missing
        }
        unused = sum(0 * outputs[name].sum() for name in missing) if missing else None  # the reducer waits for all parameters
        weights.append(balancer.backward(losses, penalty=unused).weights)
    return weights, {name: p.grad for name, p in model.named_parameters()}


def rank(number, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=2)
    rows, results = slice(4 * number, 4 * number + 4), []
    for measure, missing in [*((measure, ()) for measure in MEASURES), *((measure, ("b",)) for measure in MEASURES)]:
        weights, gradients = steps(nn.parallel.DistributedDataParallel(Net()), measure, rows, missing=missing if number else ())
        results.append((weights, {name.removeprefix("module."): gradient for name, gradient in gradients.items()}))
    torch.save(results, f"{folder}/{number}")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What both ranks found: with all tasks, then with one that the second lacks."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(rank, (str(folder),), nprocs=2)
    return [torch.load(folder / str(number)) for number in range(2)]


@pytest.mark.parametrize("place", range(len(MEASURES)))
def test_ranks_have_one_gradient_and_it_is_that_of_the_joined_batch(ranks, place):
    (first, gradients), (second, others) = ranks[0][place], ranks[1][place]
    weights, wanted = steps(Net(), MEASURES[place], slice(None))
    for name, gradient in wanted.items():
        assert torch.equal(gradients[name], others[name]), name
        torch.testing.assert_close(gradients[name], gradient)
    for mine, theirs, ours in zip(first, second, weights, strict=True):
        assert mine == theirs
        torch.testing.assert_close(mine, ours)


@pytest.mark.parametrize("place", range(len(MEASURES)))
def test_a_task_that_one_rank_lacks_is_weighed_on_the_other(ranks, place):
    (first, gradients), (second, others) = ranks[0][len(MEASURES) + place], ranks[1][len(MEASURES) + place]
    assert set(first[0]) == set(TASKS)
    assert set(second[0]) == {"a", "c"}
    for name in ("a", "c"):
        assert first[0][name] == second[0][name]
    for name, gradient in gradients.items():
        assert torch.equal(gradient, others[name]), name
