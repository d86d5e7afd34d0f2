"""Gradients kept from step to step, by the name of the task and the layer that they are of."""

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polytask.balancers._places import Places
from polytask.balancers._state import PerTaskState
from polytask.errors import PolytaskError, message

_PREFIX = "task_"


@final
class Memory(nn.Module):
    """One vector a task, made of the blocks of all layers that were ever reached.

    A block that no task reaches in a step keeps its place and counts as zero; a layer that is reached for the first time is
    appended.

    Args:
        tasks: Names of the k tasks.

    Example:
        >>> memory = Memory(["click", "buy"])
        >>> today = memory.joined([torch.ones(2, 1), torch.full((2, 2), 3.0)], places=(0, 4))
        >>> memory.put(("buy", "click"), today, torch.tensor([True, False]))
        >>> memory.joined([torch.full((2, 2), 5.0)], places=(4,))
        tensor([[0., 5., 5.],
                [0., 5., 5.]])
        >>> memory.at(("click", "buy"))
        tensor([[0., 0., 0.],
                [1., 3., 3.]])
    """

    value: Tensor
    """All tasks in order: `k f`."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks, self._places = tuple(tasks), Places(tasks)
        self.register_buffer("value", torch.zeros(len(self.tasks), 0), persistent=False)
        self._widths: dict[int, int] = {}
        self._filled = dict.fromkeys(self.tasks, 0)  # how far each task's vector went when it was last there

    @torch.no_grad()
    def joined(self, features: Sequence[Float[Tensor, "m _"]], places: Sequence[int]) -> Float[Tensor, "m f"]:
        """Blocks of a step as vectors, laid out as what is kept.

        Args:
            features: A matrix for each block that was reached.
            places: Which layer or parameter each is of.

        Raises:
            PolytaskError: If a block has another width than in earlier steps.
        """
        found = dict(zip(places, features, strict=True))
        self._make_room({place: feature.shape[1] for place, feature in found.items()})
        like, kept = features[0], self.value
        blocks = [found[p] if p in found else like.new_zeros((len(like), width)) for p, width in self._widths.items()]
        return torch.cat([block.to(kept.dtype) for block in blocks], 1)

    def split(self, vectors: Float[Tensor, "m f"], places: Sequence[int]) -> list[Float[Tensor, "m _"]]:
        """Some blocks of vectors."""
        blocks = dict(zip(self._widths, torch.split(vectors, list(self._widths.values()), 1), strict=True))
        return [blocks[place] for place in places]

    def at(self, names: Sequence[str]) -> Float[Tensor, "m f"]:
        """Vectors of some tasks."""
        return self.value[self._places.of(names, self.value.device)]

    @torch.no_grad()
    def put(self, names: Sequence[str], vectors: Float[Tensor, "m f"], finite: Bool[Tensor, " m"]) -> None:
        """Keeps vectors of the tasks that count."""
        self.value[self._places.of(names, self.value.device)] = torch.where(finite.unsqueeze(1), vectors, self.at(names))
        self._filled |= dict.fromkeys(self._counting(names, finite), self.value.shape[1])

    def _counting(self, names: Sequence[str], finite: Bool[Tensor, " m"]) -> Sequence[str]:
        """Tasks that count, where one may look: elsewhere it would be to wait, and zeros of a lost task are kept with it."""
        if finite.device.type != "cpu":
            return names
        return [name for name, counts in zip(names, finite.tolist(), strict=True) if counts]

    def _make_room(self, widths: dict[int, int]) -> None:
        for place, width in widths.items():
            if self._widths.setdefault(place, width) != width:
                raise PolytaskError(
                    message(
                        f"A layer's gradient has the size of earlier steps, {self._widths[place]}.",
                        received=width,
                        way_out="Sparse gradients of tables do that: measure 'last_layer', or a sketch of it.",
                    )
                )
        missing = sum(self._widths.values()) - self.value.shape[1]
        if missing:
            self.value = torch.cat([self.value, self.value.new_zeros((len(self.tasks), missing))], 1)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:  # noqa: ARG002
        for name, vector in zip(self.tasks, self.value, strict=True):
            destination[f"{prefix}{_PREFIX}{name}"] = vector[: self._filled[name]].detach().clone()
        layout = [[place, width] for place, width in self._widths.items()]
        destination[f"{prefix}layout"] = torch.tensor(layout, dtype=torch.int64).view(-1, 2)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        _, strict, missing, unexpected = args[:4]
        keys = [f"{prefix}{_PREFIX}{name}" for name in self.tasks]
        absent = [key for key in (*keys, f"{prefix}layout") if key not in state_dict]
        missing += absent
        if strict:
            unexpected += sorted({key for key in state_dict if key.startswith(prefix + _PREFIX)}.difference(keys))
        if absent:
            return
        self._widths = {int(place): int(width) for place, width in state_dict[f"{prefix}layout"].tolist()}
        self._filled = {name: len(state_dict[key]) for name, key in zip(self.tasks, keys, strict=True)}
        self.value = self.value.new_zeros((len(self.tasks), sum(self._widths.values())))
        for row, key in zip(self.value, keys, strict=True):
            row[: len(state_dict[key])] = state_dict[key].to(row)


@final
class MovingAverages(nn.Module):
    """`ã_t = (1 - r_t) ã_(t-1) + r_t a_t` from zero, divided by the share `1 - Π (1 - r)` that is not zero's.

    Where all tasks were there from the first step, the division is the same for all. Without it a task that is first labelled
    later would be taken for one of small gradients.

    Args:
        tasks: Names of the k tasks.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.memory = Memory(tasks)
        self.steps = PerTaskState(tasks)
        self.missing = PerTaskState(tasks, fill=1.0)

    def next_step(self, names: Sequence[str]) -> Float[Tensor, " m"]:
        """How many steps each task will have been there, this one included."""
        return self.steps.at(names) + 1

    def at(self, names: Sequence[str]) -> Float[Tensor, "m f"]:
        """Averages of some tasks; zeros for one that was never there."""
        share = 1 - self.missing.at(names)
        return self.memory.at(names) / torch.where(share > 0, share, 1.0).unsqueeze(1)

    @torch.no_grad()
    def follow(
        self, names: Sequence[str], today: Float[Tensor, "m f"], rate: Float[Tensor, " m"], finite: Bool[Tensor, " m"]
    ) -> Float[Tensor, "m f"]:
        """Takes up a step, and gives the averages.

        Args:
            names: The m tasks.
            today: What `Memory.joined` made of the step.
            rate: How much of it the averages become, from 0 to 1.
            finite: Which tasks count.
        """
        steps, missing = self.steps.at(names), self.missing.at(names)
        self.memory.put(names, torch.lerp(self.memory.at(names), today, rate.unsqueeze(1).to(today.dtype)), finite)
        self.steps.put(names, torch.where(finite, steps + 1, steps))
        self.missing.put(names, torch.where(finite, missing * (1 - rate), missing))
        return self.at(names)
