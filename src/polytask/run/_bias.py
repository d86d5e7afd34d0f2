"""The learnt bias by position, written beside a trained model."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polytask.biases import Seen
from polytask.data import Loader, Rows
from polytask.files import replacing
from polytask.model import MultiTaskModel
from polytask.run._directory import RunDirectory
from polytask.run._fitted import Fitted, load
from polytask.tasks import Task

_ROWS, _BATCH = 1 << 19, 8192
"""Training rows that the curve is refined on, and rows of a batch of them: a pass of some seconds."""


def fit_bias(model: MultiTaskModel, rows: Rows, tasks: Sequence[Task]) -> None:
    """Lets the bias of a model see the training rows, where it must before training."""
    if model.bias is not None and model.bias.needs_fit:
        model.bias.fit(Loader(rows, tasks, batch_size=1 << 16, shuffle=False))


def write_curve(place: RunDirectory, rows: Rows, *, device: str = "auto") -> None:
    """Writes `bias.json` of a trained run; nothing where it has no bias.

    Args:
        place: Directory of the run.
        rows: Its training rows; the first ones are looked at.
        device: Where to compute.
    """
    fitted = load(place.path, device=device)
    if fitted.model.bias is None:
        return
    with replacing(place.bias) as scratch:
        scratch.write_text(json.dumps(_curve(fitted, rows), indent=1) + "\n", encoding="utf-8")


def read_curve(place: RunDirectory) -> list[Mapping[str, Any]]:
    """What `write_curve` wrote; empty where there is none."""
    try:
        return list(json.loads(place.bias.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return []


def _curve(fitted: Fitted, rows: Rows) -> list[dict[str, Any]]:
    bias, tasks = fitted.model.bias, fitted.preprocessing.tasks
    assert bias is not None  # noqa: S101 - asked before
    columns = rows.read(slice(0, _ROWS))
    batch = columns.to_batch(tasks, fitted.device)
    parts: dict[str, list[Tensor]] = {task: [] for task in bias.tasks}
    with torch.inference_mode():
        for start in range(0, columns.num_rows, _BATCH):
            some = columns.take(np.arange(start, min(start + _BATCH, columns.num_rows)))
            outputs = fitted.model(some.to_batch((), fitted.device).features).by_task
            for task, found in parts.items():
                found.append(outputs[task].float())
        seen = Seen(batch.features, {task: torch.cat(found) for task, found in parts.items()}, batch.labels)
        return bias.curve(seen)
