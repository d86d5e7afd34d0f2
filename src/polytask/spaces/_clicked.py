"""Each task on the rows of its own sample space."""

from collections.abc import Mapping
from typing import final

from jaxtyping import Float
from torch import Tensor

from polytask.batch import Labels
from polytask.spaces._base import Outputs, Space


@final
class Clicked(Space):
    """Rows outside of a task's sample space are left out: p(buy | click) is learnt from clicked rows.

    `L_buy = mean over clicked rows of l(buy, p(buy | click))`

    Prefer it as the baseline, and where clicks do not depend on what decides about purchases once the inputs are known: then it
    is the maximum of the likelihood and nothing beats it but luck. Not where predictions are wanted on every impression and
    clicked rows differ from the rest in what the inputs do not show, or the model is too small to be right everywhere at once.

    Cost: none; a batch without clicks does not train the tasks behind them.

    Source: "BASE" of the comparison in Ma et al., SIGIR 2018; with the loss on clicks it is the likelihood of both labels.

    Args:
        tasks: The declared tasks.

    Raises:
        ConfigError: As of `Space`.

    Example:
        >>> import torch
        >>> from polytask.tasks import Binary
        >>> space = Clicked([Binary("click"), Binary("buy", given="click")])
        >>> outputs = {"click": torch.zeros(2, 1), "buy": torch.zeros(2, 1)}
        >>> {name: round(p[0].item(), 4) for name, p in space.predict(outputs).items()}
        {'click': 0.5, 'buy': 0.5, 'click_and_buy': 0.25}
    """

    def losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """The plain loss of each task."""
        return self._own_losses(outputs, labels)
