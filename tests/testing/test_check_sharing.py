"""The contract of sharings refuses what breaks each of its promises."""

import pytest
import torch
from torch import nn

from polytask.sharing import MLPs, PerTask, Shared, Sharing
from polytask.testing import check_sharing


class Good(Sharing):
    """A trunk, and one layer of its own a task."""

    def __init__(self, in_features, tasks):
        super().__init__(in_features, tasks)
        self.trunk = MLPs(1, in_features, (4,))
        self.own = PerTask({task: nn.Linear(4, 3) for task in tasks})
        self.out_features = 3

    def trunk_of(self, x):
        return self.trunk(x).squeeze(0)

    def junction(self, x, z):
        return (z,)

    def forward(self, x):
        z = self.trunk_of(x)
        outputs = torch.stack([self.own.of(task)(z) for task in self.tasks])
        return Shared(self.finish(outputs, x), self.junction(x, z), self.gates(z))

    def finish(self, outputs, x):
        return outputs

    def gates(self, z):
        return None


def test_a_good_one_passes():
    check_sharing(Good)


def breaking(**methods):
    return type("Broken", (Good,), methods)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (breaking(finish=lambda self, outputs, x: outputs.transpose(1, 2)), "not k n h"),
        (breaking(finish=lambda self, outputs, x: outputs.float()), "not float64 out"),
        (breaking(trunk_of=lambda self, x: self.trunk(x - x.mean(0)).squeeze(0)), "rows beside it"),
        (breaking(junction=lambda self, x, z: ()), "has a junction"),
        (breaking(junction=lambda self, x, z: (z, x)), "around the junction, or twice"),
        (breaking(finish=lambda self, outputs, x: outputs + x[:, :1]), "around the junction, or twice"),
        (breaking(finish=lambda self, outputs, x: outputs + outputs.flip(0)), "is private to"),
        (
            breaking(finish=lambda self, outputs, x: outputs * torch.arange(1, len(outputs) + 1)[:, None, None]),
            "permuting the tasks",
        ),
        (breaking(gates=lambda self, z: torch.full((len(self.tasks), len(z), 2), 0.6)), "do not sum to 1"),
        (breaking(gates=lambda self, z: torch.ones(len(z), len(self.tasks), 1)), "not k n e"),
        (
            breaking(trunk_of=lambda self, x: self.trunk(x).squeeze(0) * (1 + torch.rand(()))),
            "two passes in evaluation mode differ",
        ),
        (breaking(finish=lambda self, outputs, x: outputs + 0 * outputs[1]), "for one task only. It stopped with IndexError"),
    ],
)
def test_broken_promises_are_named(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_sharing(broken)


def test_private_in_name_only_is_found():
    class Hidden(Good):
        def __init__(self, in_features, tasks):
            super().__init__(in_features, tasks)
            self.own.private = False

    with pytest.raises(AssertionError, match="lies in no PerTask"):
        check_sharing(Hidden)
