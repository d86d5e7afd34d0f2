"""Models of every mixture; one input is 1 on every row, so that its weight can open or shut a gate without a bias."""

from types import SimpleNamespace

import pytest
import torch

from polytask.balancers import Equal
from polytask.batch import Batch, Features, Labels
from polytask.encoders import Encoder
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.sharing import SHARINGS
from polytask.tasks import Binary
from polytask.train import train_step

TASKS = ("click", "buy", "like")
SMALL = {"num_task_experts": 2, "num_shared_experts": 2}
MIXTURES = {
    "mmoe": {"num_experts": 4, "hidden": (8,)},
    "omoe": {"num_experts": 4, "hidden": (8,)},
    "cgc": {"hidden": (8,), **SMALL},
    "ple": {"levels": [(8,), (8,)], **SMALL},
    "adatt": {"levels": [(8,), (8,)], **SMALL},
    "stem": {"hidden": (8,), **SMALL},
    "home": {"groups": [["buy", "click"], ["like"]], "hidden": (8,), "meta_hidden": (8,), **SMALL},
}


class Numbers(Encoder):
    out_features = 6

    def forward(self, features):
        return features.numeric


def rows(num_rows=1024, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_rows, 6, generator=generator)
    x[:, 5] = 1.0
    labels = {"click": x[:, 0] + x[:, 1] > 0, "buy": x[:, 0] > x[:, 2], "like": x[:, 3] * x[:, 0] > 0.2}
    return Features(torch.zeros(num_rows, 0, dtype=torch.int32), x), {name: Labels.of(y.float()) for name, y in labels.items()}


def model(name, *, seed=0, **options):
    torch.manual_seed(seed)
    sharing = SHARINGS[name](6, TASKS, **{**MIXTURES.get(name, {}), **options})
    return MultiTaskModel(
        [Numbers() for _ in range(sharing.num_inputs)], sharing, Heads(sharing.out_features, [Binary(task) for task in TASKS])
    )


def trained(mixture, *, steps=150, lr=1e-2):
    optimizer = build_optimizer(mixture, torch.nn.Identity(), lr=lr)
    for step in range(steps):
        train_step(mixture, Equal(list(TASKS)), optimizer, Batch(*rows(256, seed=step + 1)))
    return mixture


@pytest.fixture(scope="session")
def mixtures():
    """Makers of models, rows and trained models."""
    return SimpleNamespace(names=tuple(MIXTURES), tasks=TASKS, model=model, rows=rows, trained=trained)
