"""What a balancer remembers of each task, kept by the task's name."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from polytask.balancers._places import Places

_PREFIX = "task_"


@final
class PerTaskState(nn.Module):
    """A number or a vector of each task. A state dict holds it by name, so tasks may come in another order when it is loaded.

    Args:
        tasks: Names of the k tasks.
        fill: What every task starts with.

    Example:
        >>> mean = PerTaskState(["click", "buy"], fill=1.0)
        >>> mean.put(("buy",), torch.tensor([3.0]))
        >>> mean.value, mean.at(("buy", "click"))
        (tensor([1., 3.]), tensor([3., 1.]))
    """

    value: Tensor
    """All tasks in order: `k`, or `k f` once vectors were put."""

    def __init__(self, tasks: Sequence[str], *, fill: float = 0.0) -> None:
        super().__init__()
        self.tasks, self.fill = tuple(tasks), fill
        self.register_buffer("value", torch.full((len(self.tasks),), float(fill)), persistent=False)
        self._places = Places(self.tasks)

    def at(self, names: Sequence[str]) -> Tensor:
        """What is kept of some tasks, in their order."""
        return self.value if tuple(names) == self.tasks else self.value[self.index(names)]

    @torch.no_grad()
    def put(self, names: Sequence[str], values: Tensor) -> None:
        """Keeps values of some tasks; the others stay as they are. Vectors may take the place of numbers once."""
        wider = values.dim() > self.value.dim()
        kept = self.value.new_full((len(self.tasks), *values.shape[1:]), self.fill) if wider else self.value.clone()
        kept[self.index(names)] = values.detach().to(kept.dtype)
        self.value = kept  # not in place: what `at` gave before stays what it was

    def index(self, names: Sequence[str]) -> Tensor:
        """Places of some tasks."""
        return self._places.of(names, self.value.device)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:  # noqa: ARG002
        for name, value in zip(self.tasks, self.value, strict=True):
            destination[f"{prefix}{_PREFIX}{name}"] = value.detach().clone()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        _, strict, missing, unexpected = args[:4]
        keys = [f"{prefix}{_PREFIX}{name}" for name in self.tasks]
        found = {key: state_dict[key] for key in keys if key in state_dict}
        missing += [key for key in keys if key not in found]
        if strict:
            mine = {key for key in state_dict if key.startswith(prefix + _PREFIX)}
            unexpected += sorted(mine.difference(keys))
        if len(found) == len(keys):
            self.value = torch.stack([found[key] for key in keys]).to(self.value)


@final
class PairState(nn.Module):
    """A number of each ordered pair of tasks. A state dict holds the matrix in the order of the sorted names.

    Args:
        tasks: Names of the k tasks.
        fill: What every pair starts with.
    """

    value: Tensor
    """`k k`, in the order of the tasks."""

    def __init__(self, tasks: Sequence[str], *, fill: float = 0.0) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.register_buffer("value", torch.full((len(self.tasks),) * 2, float(fill)), persistent=False)
        self._places = Places(self.tasks)

    def at(self, names: Sequence[str]) -> Tensor:
        """The pairs among some tasks, in their order."""
        return self.value if tuple(names) == self.tasks else self.value[self._grid(names)]

    @torch.no_grad()
    def put(self, names: Sequence[str], values: Tensor) -> None:
        """Keeps the pairs among some tasks; pairs with another task stay as they are."""
        kept = self.value.clone()
        kept[self._grid(names)] = values.detach().to(kept.dtype)
        self.value = kept  # not in place: what `at` gave before stays what it was

    def _grid(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        places = self._places.of(names, self.value.device)
        return places[:, None], places[None, :]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:  # noqa: ARG002
        destination[f"{prefix}pairs"] = self.at(sorted(self.tasks)).detach().clone()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        missing, errors = args[2], args[4]
        key = f"{prefix}pairs"
        if key not in state_dict:
            missing.append(key)
        elif state_dict[key].shape != self.value.shape:
            errors.append(f"{key}: pairs of {len(state_dict[key])} tasks cannot be those of {len(self.tasks)}.")
        else:
            self.put(sorted(self.tasks), state_dict[key])


@final
class Count(nn.Module):
    """A number of times, kept on the host: reading it waits for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def next(self) -> int:
        """How often it was called before."""
        self.times += 1
        return self.times - 1

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:  # noqa: ARG002
        destination[f"{prefix}times"] = torch.tensor(self.times)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        key, missing = f"{prefix}times", args[2]
        if key in state_dict:
            self.times = int(state_dict[key])
        else:
            missing.append(key)
