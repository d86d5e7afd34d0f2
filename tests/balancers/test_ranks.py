"""Data parallelism: two processes decide and train as one process on the joined batch."""

import os
import socket

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing, nn

from polytask.balancers._gradient import GramianBalancer

TASKS = ("a", "b", "c")
MEASURES = ["junction", "last_layer", {"name": "sketched", "rank": 3}, {"name": "all_layers", "rank": 3}, "parameters"]

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
    balancer, weights = Inverse(TASKS, measure=measure), []
    for _ in range(2):
        outputs = model(x[rows])
        losses = {
            name: (1 + i) * (outputs[name] - y[i][rows]).square().mean() for i, name in enumerate(TASKS) if name not in missing
        }
        unused = sum(0 * outputs[name].sum() for name in missing) if missing else None  # the reducer waits for all parameters
        weights.append(balancer.backward(losses, penalty=unused).weights)
    return weights, {name: p.grad for name, p in model.named_parameters()}


def rank(number, port, missing, found):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=number, world_size=2)
    results = []
    for measure in MEASURES:
        model = nn.parallel.DistributedDataParallel(Net())
        rows = slice(4 * number, 4 * number + 4)
        results.append(steps(model, measure, rows, missing=missing if number == 1 else ()))
    found[number] = [
        (weights, {name.removeprefix("module."): gradient for name, gradient in gradients.items()})
        for weights, gradients in results
    ]
    dist.destroy_process_group()


def two_processes(missing=()):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with multiprocessing.Manager() as manager:
        found = manager.dict()
        multiprocessing.spawn(rank, (port, missing, found), nprocs=2)
        return found[0], found[1]


@pytest.fixture(scope="module")
def complete():
    return two_processes()


@pytest.mark.parametrize("place", range(len(MEASURES)))
def test_ranks_have_one_gradient_and_it_is_that_of_the_joined_batch(complete, place):
    (first, gradients), (second, others) = complete[0][place], complete[1][place]
    weights, wanted = steps(Net(), MEASURES[place], slice(None))
    for name, gradient in wanted.items():
        assert torch.equal(gradients[name], others[name]), name
        torch.testing.assert_close(gradients[name], gradient)
    for mine, theirs, ours in zip(first, second, weights, strict=True):
        assert mine == theirs
        torch.testing.assert_close(mine, ours)


def test_a_task_that_one_rank_lacks_is_weighed_on_the_other():
    (first, gradients), (second, others) = (results[1] for results in two_processes(missing=("b",)))
    assert set(first[0]) == set(TASKS)
    assert set(second[0]) == {"a", "c"}
    for name in ("a", "c"):
        assert first[0][name] == second[0][name]
    for name, gradient in gradients.items():
        assert torch.equal(gradient, others[name]), name
