"""Methods of TorchJD, in any place that takes a balancer."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.balancers._comparing import ComparingBalancer
from polytask.balancers._cut import Cut
from polytask.balancers.measures import DEFAULT_MEASURE, AtParameters, Measure, Measured, build_measure
from polytask.errors import ConfigError, message


@final
class TorchJD(ComparingBalancer):
    """An aggregator or a weighting of TorchJD, given the present tasks' gradients or their inner products.

    `d = aggregator(J)`, J the exact gradients of all shared parameters, a row a task; or `d = Σ_i w_i g_i`, `w = weighting(G)`

    What belongs to one task gets that task's own gradient. A task whose gradient is not finite is absent.

    Prefer it for methods that are not here, and to compare with those that are. Not for those that are here: TorchJD's see
    absolute sizes of gradients, wait for the device, and where they keep a state it is by position, lost when a task is absent,
    and cannot be loaded from a checkpoint.

    Size: as TorchJD has it. Most of its methods take a mean, `1 / k` of what balancers here do.

    Cost: an aggregator, or a weighting of the Jacobian, k passes through the trunk; another weighting what the measure costs. It
    waits for the device.

    Source: TorchJD 0.18 (torchjd.org), an optional package. `Balance.weights` of an aggregator are those with which the
    gradients come nearest to its d.

    Args:
        tasks: Names of the k tasks.
        aggregator: An `Aggregator` or a `Weighting` of `torchjd.aggregation`.
        measure: Where a weighting compares gradients: a name in `MEASURES`, a table of its options, or a `Measure`.

    Raises:
        ConfigError: If TorchJD is not installed, or `aggregator` is none of its objects.

    Example:
        >>> # from torchjd.aggregation import UPGradWeighting
        >>> # balancer = TorchJD(["click", "buy"], aggregator=UPGradWeighting())
    """

    def __init__(
        self, tasks: Sequence[str], *, aggregator: nn.Module, measure: str | Mapping[str, Any] | Measure = DEFAULT_MEASURE
    ) -> None:
        super().__init__(tasks)
        theirs = _aggregation()
        if any(base.__name__ == "_MatrixWeighting" for base in type(aggregator).__mro__):
            aggregator = theirs.WeightedAggregator(aggregator)
        if not isinstance(aggregator, theirs.Aggregator | theirs.Weighting):
            raise ConfigError(
                message(
                    "Expected an Aggregator or a Weighting of torchjd.aggregation.",
                    received=type(aggregator).__name__,
                    way_out="Pass an object: `aggregator=UPGrad()`.",
                )
            )
        self.aggregator = aggregator
        self.reads_rows = isinstance(aggregator, theirs.Aggregator)
        self.measure = None if self.reads_rows else build_measure(measure)

    def balance(self, parts: Cut, penalty: Tensor | None) -> tuple[Float[Tensor, " m"], Float[Tensor, "m m"]]:
        """Sends on what TorchJD makes of the gradients."""
        measured = AtParameters()(parts) if self.measure is None else self.measure(parts)
        finite = parts.losses.isfinite() & measured.gramian.diagonal().isfinite()
        weights = finite.to(measured.gramian.dtype)
        kept = finite.nonzero().squeeze(1)
        step = self._aggregated if self.reads_rows else self._weighted
        step(parts, measured, weights, kept, penalty)
        return weights, measured.gramian

    def _weighted(self, parts: Cut, measured: Measured, weights: Tensor, kept: Tensor, penalty: Tensor | None) -> None:
        if len(kept) and measured.gramian.any():  # else nothing is shared
            with torch.no_grad():
                weights[kept] = self.aggregator(measured.gramian[kept][:, kept]).to(weights)
        parts.keep(weights.new_zeros(len(weights), dtype=torch.bool).index_fill(0, kept, value=True))
        parts.send(parts.weighted(weights), penalty)

    def _aggregated(self, parts: Cut, measured: Measured, weights: Tensor, kept: Tensor, penalty: Tensor | None) -> None:
        roots: list[tuple[Tensor, Tensor]] = []
        if len(kept) and measured.features and measured.exact is not None:
            with torch.no_grad():
                rows = torch.cat([feature[kept] for feature in measured.features], 1)
                direction = self.aggregator(rows)
                weights[kept] = _nearest(measured.gramian[kept][:, kept], rows @ direction)
            roots = measured.exact.back(direction.split([feature.shape[1] for feature in measured.features]))
        parts.write(roots, penalty)


def _nearest(gramian: Float[Tensor, "m m"], projections: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Weights of the rows whose sum comes nearest to a vector, from its inner products with the rows."""
    weights: Tensor = torch.linalg.pinv(gramian, hermitian=True) @ projections.to(gramian)
    return weights


def _aggregation() -> Any:
    try:
        return importlib.import_module("torchjd.aggregation")
    except ImportError as error:
        raise ConfigError(
            message("This balancer needs the package torchjd.", received=str(error), way_out="Install it: pip install torchjd")
        ) from error
