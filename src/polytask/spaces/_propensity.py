"""How likely a row is in a task's sample space, as the model itself estimates it."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.batch import Labels
from polytask.spaces._base import Outputs, Space, not_negative, share
from polytask.spaces._joint_losses import joint_losses, log_odds
from polytask.tasks import Task


class PropensitySpace(Space):
    """Base of the spaces that weigh a row by the probability of its being clicked.

    `q = max(p(click), clip)`, of a chain the product of all its steps, from the model's own heads, detached: what is weighed by
    it never trains it.

    Args:
        tasks: The declared tasks.
        clip: Least propensity.
        joint_weight: What the loss of `entire_space` is multiplied by before it is added to that of a binary task with `given`.

    Raises:
        ConfigError: If `clip` is not above 0 and at most 1, or `joint_weight` is below 0.
    """

    def __init__(self, tasks: Sequence[Task], *, clip: float, joint_weight: float = 0.0) -> None:
        super().__init__(tasks)
        self.clip, self.joint_weight = share("clip", clip), not_negative("joint_weight", joint_weight)
        self.couples = joint_weight > 0 and len(self.tree.names) > 1

    def propensities(self, outputs: Outputs) -> dict[str, Float[Tensor, " n"]]:
        """Of each step of the tree, that it and all before it happen; detached, at least float32, not clipped."""
        with torch.no_grad():
            half = (torch.float16, torch.bfloat16)
            wide = {name: outputs[name].float() if outputs[name].dtype in half else outputs[name] for name in self.tree.names}
            return {name: log.exp() for name, log in self.tree.log_joint(self.steps(wide)).items()}

    def inverse(self, propensity: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """`1 / max(q, clip)`; 1 where q is not a number, so that a row that does not count leaves no trace."""
        return 1 / torch.nan_to_num(propensity, nan=1.0).clamp_min(self.clip)

    def _with_joint(
        self, found: dict[str, Tensor], outputs: Outputs, labels: Mapping[str, Labels]
    ) -> dict[str, Float[Tensor, ""]]:
        """The losses in the order of the tasks, with what the joint loss adds."""
        if self.joint_weight:
            joint = joint_losses(self.tree, outputs, labels, partial(log_odds, self.tree))
            for name, loss in joint.items():
                if self.tree.parent[name] is not None:
                    added = self.joint_weight * loss
                    found[name] = found[name] + added if name in found else added
        return {task.name: found[task.name] for task in self.tasks if task.name in found}
