"""Balancers that look at each task's gradient: cut the graph where tasks part, decide, send one gradient on."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from polytask.balancers._base import Balance, Balancer
from polytask.balancers._cut import Cut, cut
from polytask.sharing import Shared


class ComparingBalancer(Balancer):
    """What is shared gets what the method decides, what belongs to one task that task's own gradient.

    Args:
        tasks: Names of the k tasks.
    """

    compares_gradients = True

    @abstractmethod
    def balance(self, parts: Cut, penalty: Tensor | None) -> tuple[Float[Tensor, " m"], Float[Tensor, "m m"] | None]:
        """Sends the balanced gradient on; gives what each task counted for, and the Gramian where one was measured.

        Args:
            parts: Gradients of the m present tasks, and their losses.
            penalty: What is added to the losses whatever their weights.
        """

    def parts(self, losses: Mapping[str, Tensor], shared: Iterable[nn.Parameter], junction: Shared | Sequence[Tensor]) -> Cut:
        """The cut at which gradients are compared."""
        return cut(losses, junction, list(shared), self.tasks)

    def backward(
        self,
        losses: Mapping[str, Tensor],
        shared: Iterable[nn.Parameter] = (),
        junction: Shared | Sequence[Tensor] = (),
        penalty: Tensor | None = None,
    ) -> Balance:
        """Adds to `.grad` the balanced gradient of what is shared, and its own of what belongs to a task."""
        self._check(losses)
        parts = self.parts(losses, shared, junction)
        weights, gramian = self.balance(parts, penalty)
        decided = dict(zip(parts.names, weights.unbind(), strict=True))
        return Balance({name: loss.detach() for name, loss in losses.items()}, decided, gramian)
