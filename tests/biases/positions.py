"""A small table with a position, for tests of biases."""

import torch

from polytask.batch import Batch, Features, Labels
from polytask.data import CategoricalField, NumericField, Preprocessing
from polytask.data.vocabulary import Vocabulary
from polytask.model import MultiTaskModel
from polytask.tasks import Binary, Regression

# The position is the second of the columns, and the dictionaries are in no order: places and values must be told apart.
ITEM = CategoricalField("item", Vocabulary("text", ("b", "a", "c", "d")))
POSITION = CategoricalField("position", Vocabulary("integer", (2, 1, 3)))
DEVICE = CategoricalField("device", Vocabulary("text", ("phone", "desktop")))
RANDOM = CategoricalField("random", Vocabulary("integer", (0, 1)))
COLUMNS = Preprocessing(
    (ITEM, POSITION, DEVICE, RANDOM), (NumericField("x", 0.0, 1.0, (-2.0, 0.0, 2.0)),), (), (Binary("buy"), Binary("click"))
)
TASKS = (Binary("buy"), Binary("click"), Regression("watch"))


def position_id(value):
    return 3 + POSITION.values.index(value)


def features(rows=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([field.size for field in COLUMNS.categorical])
    ids = 3 + (torch.rand(rows, 4, generator=generator) * (sizes - 3)).long()
    return Features(ids.int(), torch.randn(rows, 1, generator=generator))


def elsewhere(shown):
    """The same rows, shown at other positions and on other devices, or nobody knows where."""
    other = shown.categorical.clone()
    other[:, 1:3] = torch.randint(0, 5, (len(other), 2), generator=torch.Generator().manual_seed(9), dtype=other.dtype)
    return shown._replace(categorical=other)


def batch(rows=40, seed=0):
    generator = torch.Generator().manual_seed(seed + 1)
    labels = {task.name: Labels.of((torch.rand(rows, generator=generator) < 0.4).float()) for task in TASKS}
    return Batch(features(rows, seed), labels)


def model(seed=3, **bias):
    torch.manual_seed(seed)
    bias = {"columns": ["position", "device"], "tasks": ["click"], **bias}
    return MultiTaskModel.build(COLUMNS, TASKS, sharing={"name": "shared_bottom", "hidden": (8,)}, bias=bias)
