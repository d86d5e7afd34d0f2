"""One step: outputs, losses, balanced gradient, update."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from polytask.balancers import Balance, Balancer
from polytask.batch import Batch
from polytask.model import MultiTaskModel
from polytask.precision import autocast, matmul_precision
from polytask.sharing import private_parameters
from polytask.train._again import Draws, draws, losses_again


@runtime_checkable
class Stateful(Protocol):
    """What a checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


@runtime_checkable
class Stepping(Stateful, Protocol):
    """An optimizer: of `polytask.optimizers`, or of torch."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any: ...

    def zero_grad(self) -> None: ...


def train_step(
    model: MultiTaskModel,
    balancer: Balancer,
    optimizer: Stepping,
    batch: Batch,
    *,
    precision: str = "float32",
    clip: float | None = None,
) -> Balance:
    """One step on one batch: outputs, losses, balanced gradient, update.

    What belongs to a task that has no label in the batch gets no gradient, so the optimizer leaves it bit for bit as it was.
    A batch without any label changes nothing and gives an empty `Balance`.

    Args:
        model: Is trained.
        balancer: Makes one gradient of many losses.
        optimizer: Holds the parameters of the model and of the balancer.
        batch: Rows and labels, on the device of the model.
        precision: A key of `polytask.precision.PRECISIONS`; autocast covers the forward pass and the losses only.
        clip: Greatest norm of the whole gradient.
    """
    return accumulated_step(model, balancer, optimizer, [batch], precision=precision, clip=clip)[0]


def accumulated_step(
    model: MultiTaskModel,
    balancer: Balancer,
    optimizer: Stepping,
    batches: Sequence[Batch],
    *,
    precision: str = "float32",
    clip: float | None = None,
) -> list[Balance]:
    """One step on the mean of the gradients that several batches give; one balance for each.

    Args: as of `train_step`, with several batches.
    """
    optimizer.zero_grad()
    device = batches[0].features.categorical.device
    looks_again = type(balancer).after_step is not Balancer.after_step
    balances: list[Balance] = []
    last: tuple[Batch, Draws] | None = None
    with matmul_precision(precision, device):
        for batch in batches:
            before = draws(device) if looks_again else {}
            balances.append(_backward(model, balancer, batch, precision))
            if balances[-1].losses:
                last = (batch, before)
    if last is None:
        return balances
    if len(batches) > 1:
        for parameter in _parameters(optimizer):
            if parameter.grad is not None:
                parameter.grad.div_(len(batches))
    if clip is not None:
        _clip(optimizer, clip)
    optimizer.step()
    model.sharing.after_step(optimizer.param_groups[0]["lr"])
    balancer.after_step(partial(losses_again, model, *last, precision=precision, apart=balancer.compares_gradients))
    return balances


def _backward(model: MultiTaskModel, balancer: Balancer, batch: Batch, precision: str) -> Balance:
    with autocast(precision, batch.features.categorical.device):
        outputs = model(batch.features, apart=balancer.compares_gradients)
        losses = model.losses(outputs, batch.labels)
        penalty = model.penalty(outputs, batch.labels)
    if not losses:
        return Balance({}, {})
    with _untouched(model, model.untrained(losses)):
        return balancer.backward(losses, junction=model.junction(outputs), penalty=penalty)


@contextmanager
def _untouched(model: nn.Module, tasks: Sequence[str]) -> Iterator[None]:
    """Keeps gradients away from what is private to some tasks; what earlier batches left there stays."""
    held = [(parameter, parameter.grad) for task in tasks for parameter in private_parameters(model, task)]
    for parameter, _ in held:
        parameter.grad = None
    yield
    for parameter, gradient in held:
        parameter.grad = gradient


def _parameters(optimizer: Stepping) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _clip(optimizer: Stepping, norm: float) -> None:
    own = getattr(optimizer, "clip", None)
    if own is None:
        nn.utils.clip_grad_norm_(_parameters(optimizer), norm)
    else:
        own(norm)
