"""How long to train, how to judge, what to keep."""

from dataclasses import dataclass, fields
from typing import final

import torch

from polytask.errors import ConfigError, message


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings of a `Trainer`.

    Args:
        epochs: Passes over the data at most.
        max_steps: Optimizer steps at most; None leaves it to `epochs`.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto" for the fastest at hand.
        precision: A key of `polytask.precision.PRECISIONS`.
        compile: Whether `torch.compile` translates the model; on a CPU that makes training slower, so it is off.
        clip: Greatest norm of the whole gradient; None does not clip.
        accumulate: Batches a step. The gradient is the mean over those batches of what each alone would give, so a task's
            labels weigh more in a batch that has few of them; a batch without them counts as a zero.
        average: Memory of a moving average of the weights (`polytask.optimizers.WeightAverage`), 0.999 for about a thousand
            steps; the average is what is validated, kept as the best, and served. None keeps none.
        main: What is judged: a task, `task.metric`, or None for all served tasks together (`Judge` says how).
        patience: Validations without improvement after which training stops; None never stops early.
        validate_every: Steps between validations; None validates after each epoch.
        checkpoint_every: Steps between checkpoints; None saves after each validation, and every ten minutes.
        log_every: Steps between records of the training losses; the losses stay on the device in between.
        best_per_task: Whether the best checkpoint of each served task is kept too, by its first metric.

    Raises:
        ConfigError: If a number is out of range (all are listed).
    """

    epochs: int = 10
    max_steps: int | None = None
    device: str = "auto"
    precision: str = "float32"
    compile: bool = False
    clip: float | None = None
    accumulate: int = 1
    average: float | None = None
    main: str | None = None
    patience: int | None = None
    validate_every: int | None = None
    checkpoint_every: int | None = None
    log_every: int = 50
    best_per_task: bool = False

    def __post_init__(self) -> None:
        counts = ("epochs", "max_steps", "accumulate", "patience", "validate_every", "checkpoint_every", "log_every")
        wrong = [name for name in counts if (value := getattr(self, name)) is not None and value < 1]
        if self.clip is not None and not self.clip > 0:
            wrong.append("clip")
        if wrong:
            received = ", ".join(f"{field.name} = {getattr(self, field.name)!r}" for field in fields(self) if field.name in wrong)
            raise ConfigError(
                message(f"{', '.join(map(repr, sorted(wrong)))} must be at least 1 (clip: above 0).", received=received)
            )


def resolve_device(name: str) -> torch.device:
    """The device of a name, with "auto" decided: CUDA, then Apple's GPU, then the processor.

    Raises:
        ConfigError: If the name is no device, or the device is not here.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, present in here.items() if present))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            message("Unknown device.", received=repr(name), way_out="Valid: 'auto', 'cpu', 'cuda', 'mps'.")
        ) from None
    if not here.get(device.type, False) or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(
            message("The device is not available here.", received=repr(name), way_out="Use 'auto' to take the fastest at hand.")
        )
    return device
