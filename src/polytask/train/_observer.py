"""What a validation sees beside the metrics: what the gates do, and which units are dead."""

from collections.abc import Iterable, Iterator
from typing import Any, final

import torch

from polytask.batch import Batch, Features
from polytask.model import MultiTaskModel, Outputs
from polytask.monitors import dead_units
from polytask.sharing import GateStatistics


@final
class Observer:
    """Looks on while one validation runs: at the gates on all rows, at the units on those of the first batch.

    Args:
        model: The model that is validated.
        device: Where it is.
    """

    def __init__(self, model: MultiTaskModel, device: torch.device) -> None:
        self._model, self._device = model, device
        self._gates = GateStatistics([task.name for task in model.tasks])
        self._probe: Features | None = None

    def watched(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; the first is remembered."""
        for batch in batches:
            self._probe = batch.features if self._probe is None else self._probe
            yield batch

    def see(self, outputs: Outputs) -> None:
        """Takes the outputs of a batch."""
        if outputs.gates is not None:
            self._gates.update(outputs.gates)

    def gates(self) -> dict[str, float]:
        """Statistics of the gates; empty where there are none."""
        return self._gates.compute()

    def units(self, optimizer: Any) -> dict[str, Any]:
        """Share of dead units of each layer ("dead_units"), and a word on each that is mostly dead ("findings")."""
        if self._probe is None:
            return {"dead_units": {}, "findings": []}
        layers = dead_units(self._model, Batch(self._probe, {}).to(self._device).features)
        findings = [layer.finding(optimizer) for layer in layers]
        return {"dead_units": {layer.layer: layer.dead for layer in layers}, "findings": [text for text in findings if text]}
