"""Weights from how fast each loss fell over the last two epochs."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._epoch_means import EpochMeans
from polytask.balancers._given import check_positive
from polytask.balancers._loss import LossBalancer
from polytask.balancers._places import Places
from polytask.balancers._state import PerTaskState


@final
class DynamicAverage(LossBalancer):
    """Dynamic weight average (DWA): a task whose loss falls slowly weighs more in the next epoch.

    `objective = Σ_k w_k L_k`, `w = K softmax_k(r_k / T)`, `r_k = L_k(e - 1) / L_k(e - 2)` with epoch means `L_k(e)`, over all K
    tasks; `r_k = 1` until two epochs are known

    Prefer it with many epochs and tasks that learn at unlike speed. Not with a handful of epochs, where it is the plain sum,
    and not to bring losses to one scale: it sees ratios only. At T = 2 the weights hardly leave 1, since r is near 1.

    Cost: none beside the backward pass. Call `after_epoch()` after each pass over the data; the trainer does.

    Source: Liu, Johns & Davison 2019, "End-to-End Multi-Task Learning with Attention", eq. 7 (checked against two
    implementations; the text was not at hand).
    Differs: a task counts the batches it was present in. A task that missed an epoch keeps its ratio and its last mean; an
    absent task takes its share with it and changes no other weight. Means below `floor` count as `floor`, so a ratio is
    always a number. The means of a broken-off epoch are part of the state.

    Args:
        tasks: Names of the k tasks.
        temperature: T; greater ones bring the weights to 1.
        floor: Least epoch mean that is told from smaller ones, above 0.

    Raises:
        ConfigError: If `temperature` or `floor` is not above 0.

    Example:
        >>> import torch
        >>> balancer = DynamicAverage(["click", "buy"])
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> for factor in (1.0, 0.1, 0.1):  # the loss of "buy" fell to a tenth, that of "click" stayed
        ...     balance = balancer.backward({"click": 2 * x, "buy": factor * x**2})
        ...     balancer.after_epoch()
        >>> {name: round(weight.item(), 3) for name, weight in balance.weights.items()}
        {'click': 1.221, 'buy': 0.779}
    """

    def __init__(self, tasks: Sequence[str], *, temperature: float = 2.0, floor: float = 1e-6) -> None:
        super().__init__(tasks)
        check_positive(temperature=temperature, floor=floor)
        self.temperature, self.floor = temperature, floor
        self._places = Places(sorted(self.tasks))
        self.epoch = EpochMeans(self.tasks)
        self.last = PerTaskState(self.tasks, fill=0.0)  # 0: no epoch is known
        self.ratio = PerTaskState(self.tasks, fill=1.0)

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:
        """`Σ_k w_k L_k`."""
        self.epoch.add(names, losses.detach())
        ratios = self.ratio.at(self._places.order)  # sorted names: sums round alike in whatever order the tasks are given
        weights = len(self.tasks) * torch.softmax(ratios / self.temperature, 0)
        return (weights[self._places.of(names, losses.device)] * losses).sum()

    @torch.no_grad()
    def after_epoch(self) -> None:
        """The means of the epoch become those of the last one."""
        mean, seen = self.epoch.take()
        mean, last = mean.clamp_min(self.floor), self.last.value
        self.ratio.put(self.tasks, torch.where(seen & (last > 0), mean / last, self.ratio.value))
        self.last.put(self.tasks, torch.where(seen, mean, last))
