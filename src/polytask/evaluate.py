"""Predictions over a whole loader, and what each task's metrics say of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polytask import metrics
from polytask.batch import Batch, Labels
from polytask.model import MultiTaskModel, Outputs
from polytask.precision import precision_context
from polytask.spaces import Joint
from polytask.tasks import Task

_NO_ROWS = np.zeros(0, dtype=bool)
_ROWS_A_COPY = 65_536
"""Rows that wait on the device before they are copied to the host together: a copy waits for all work before it."""


def evaluate(
    model: MultiTaskModel,
    loader: Iterable[Batch],
    tasks: Sequence[Task] | None = None,
    *,
    device: torch.device | str = "cpu",
    precision: str = "float32",
    observe: Callable[[Outputs], None] | None = None,
) -> dict[str, dict[str, float]]:
    """Metrics of each task on its own sample space: the rows where it has a label.

    A task with `given` has beside it the joint one, `click_and_buy`, on all rows on which it is known whether it happened.

    A task without any label in the loader has no entry. Kept on the host meanwhile are label, prediction and weight of each
    labelled row: 12 bytes a task, 16 where a prediction is a float64, more where it is several numbers.

    Args:
        model: The model; it is evaluated in evaluation mode and left in the mode it was in.
        loader: Batches with labels.
        tasks: Which tasks; those that are served where None.
        device: Where the model is.
        precision: Arithmetic of the forward pass.
        observe: Sees the outputs of each batch on the device: statistics of gates come from there.
    """
    tasks = model.space.served if tasks is None else tasks
    served: tuple[Task | Joint, ...] = (*tasks, *model.space.joints(tasks))
    found: dict[str, list[Judged]] = {task.name: [] for task in served}
    for batch in judged(model, loader, tasks, device=device, precision=precision, observe=observe):
        for name, part in batch.items():
            if part.label.size:
                found[name].append(part._replace(observed=_NO_ROWS))
    results: dict[str, dict[str, float]] = {}
    for task in served:
        parts = found.pop(task.name)
        # Of a task without any label nothing but what did not happen is known: its joint is not judged by that alone.
        unknown = isinstance(task, Joint) and task.task.name not in results
        if parts and not unknown:
            label, prediction = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
            weights = [part.weight for part in parts if part.weight is not None]
            groups = [part.group for part in parts if part.group is not None]
            weight, group = (np.concatenate(own) if own else None for own in (weights, groups))
            results[task.name] = metrics.evaluate(task, label, prediction, weight, groups=group)
    return results


class Judged(NamedTuple):
    """Labelled rows of one task in one batch.

    Args:
        label: Encoded labels.
        prediction: On the labels' own scale.
        weight: Weight of each, or None where all weigh the same.
        observed: Which rows of the batch they are.
        group: Number of the group of each, or None where none was declared.
    """

    label: Float[np.ndarray, " m"]
    prediction: Float[np.ndarray, "m ..."]
    weight: Float[np.ndarray, " m"] | None
    observed: Bool[np.ndarray, " n"]
    group: Int[np.ndarray, " m"] | None = None


def judged(
    model: MultiTaskModel,
    loader: Iterable[Batch],
    tasks: Sequence[Task] | None = None,
    *,
    device: torch.device | str = "cpu",
    precision: str = "float32",
    observe: Callable[[Outputs], None] | None = None,
) -> Iterator[dict[str, Judged]]:
    """Labels beside predictions, batch by batch, of every task and joint prediction of which the loader has labels.

    Args:
        model: As of `evaluate`.
        loader: As of `evaluate`.
        tasks: As of `evaluate`.
        device: As of `evaluate`.
        precision: As of `evaluate`.
        observe: As of `evaluate`.
    """
    tasks = model.space.served if tasks is None else tasks
    joints = model.space.joints(tasks)
    for batch, predictions in _predicted(model, _Pass(loader, tasks, device, precision, observe)):
        labels = {**batch.labels, **{joint.name: joint.labels(batch.labels) for joint in joints}}
        known = {name: own for name in predictions if (own := labels.get(name)) is not None}
        yield {name: _observed(own, predictions[name], batch.group) for name, own in known.items()}


def predict_batches(
    model: MultiTaskModel, loader: Iterable[Batch], *, device: torch.device | str = "cpu", precision: str = "float32"
) -> Iterator[dict[str, Float[np.ndarray, "n ..."]]]:
    """Predictions of the served tasks on their labels' own scale, batch by batch, in the order of the loader; also joint ones."""
    for _, predictions in _predicted(model, _Pass(loader, model.space.served, device, precision)):
        yield predictions


def _observed(labels: Labels, prediction: Float[np.ndarray, "n ..."], group: Int[Tensor, " n"] | None) -> Judged:
    rows = labels.observed.cpu().numpy()
    weight = None if labels.weight is None else labels.weight.cpu().numpy()[rows]
    groups = None if group is None else group.cpu().numpy()[rows]
    return Judged(labels.value.cpu().numpy()[rows], prediction[rows], weight, rows, groups)


class _Pass(NamedTuple):
    loader: Iterable[Batch]
    tasks: Sequence[Task]
    device: torch.device | str
    precision: str
    observe: Callable[[Outputs], None] | None = None


def _predicted(model: MultiTaskModel, plan: _Pass) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    waiting: list[tuple[Batch, dict[str, Tensor]]] = []
    num_waiting = 0
    most = _ROWS_A_COPY if _waits(plan.device) else 0
    try:
        for batch in plan.loader:
            with torch.inference_mode(), precision_context(plan.precision, plan.device):
                outputs = model(Batch(batch.features, {}).to(plan.device).features)
                if plan.observe is not None:
                    plan.observe(outputs)
                waiting.append((batch, model.space.predict(outputs.by_task, plan.tasks)))
            num_waiting += batch.num_rows
            if num_waiting >= most:
                yield from _copied(waiting)
                waiting, num_waiting = [], 0
        yield from _copied(waiting)
    finally:
        for module, training in modes:  # each its own: a part that its owner froze stays frozen
            module.training = training


def _waits(device: torch.device | str) -> bool:
    """Whether a copy to the host waits for the device."""
    return torch.device(device).type != "cpu"


def _copied(waiting: Sequence[tuple[Batch, dict[str, Tensor]]]) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
    if not waiting:
        return
    columns = {name: torch.cat([found[name] for _, found in waiting]).cpu().numpy() for name in waiting[0][1]}
    stops = np.cumsum([batch.num_rows for batch, _ in waiting])
    for stop, (batch, _) in zip(stops.tolist(), waiting, strict=True):
        yield batch, {name: column[stop - batch.num_rows : stop] for name, column in columns.items()}
