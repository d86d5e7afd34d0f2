"""What an evaluation sees beside the metrics: what the gates do, which experts collapsed, which units are dead."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, final

import torch

from polytask.batch import Batch, Features
from polytask.model import MultiTaskModel, Outputs
from polytask.monitors._dead_units import dead_units
from polytask.monitors._expert_collapse import expert_zeros
from polytask.monitors._findings import Finding
from polytask.monitors._gate_findings import gate_findings
from polytask.sharing import GateStatistics

_ENOUGH: Final = 256
"""Rows from which something is said of a model: on a handful a unit that answers to one row in ten looks dead."""


class Look(NamedTuple):
    """What was seen.

    Args:
        gates: Statistics of the gates; empty where there are none.
        units: Share of dead units of each layer, and of zeros in what each expert gives; empty where nobody looked.
        findings: All that is wrong.
    """

    gates: dict[str, float]
    units: dict[str, dict[str, float]]
    findings: list[Finding]


@final
class Observer:
    """Looks on while one evaluation runs: at the gates on all rows, at units and experts on those of the first batch.

    Args:
        model: The model that is evaluated.
        device: Where it is.
    """

    def __init__(self, model: MultiTaskModel, device: torch.device | str) -> None:
        self._model, self._device = model, device
        self._gates = GateStatistics(model.sharing.tasks)
        self._num_gated = 0
        self._probe: Features | None = None

    def watched(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; the first is remembered."""
        for batch in batches:
            self._probe = batch.features if self._probe is None else self._probe
            yield batch

    def see(self, outputs: Outputs) -> None:
        """Takes the outputs of a batch."""
        if outputs.shared.gates is not None:
            self._gates.update(outputs.shared.gates)
            self._num_gated += outputs.shared.gates.shape[1]

    def look(self, optimizer: Any = None, *, hooks: bool = True) -> Look:
        """Everything seen so far.

        Args:
            optimizer: Its `param_groups` ("name", "lr") say how fast a layer learned.
            hooks: Whether to look at units and experts too, by hooks, which would make a compiler start again.
        """
        gates, sharing = self._gates.compute(), self._model.sharing
        findings = gate_findings(gates, sharing.tasks, sharing.expert_owners) if self._num_gated >= _ENOUGH else []
        if self._probe is None or not hooks:
            return Look(gates, {}, findings)
        probe = Batch(self._probe, {}).to(self._device).features
        layers, experts = dead_units(self._model, probe), expert_zeros(self._model, probe)
        if probe.num_rows >= _ENOUGH:
            findings += [found for expert in experts for found in expert.findings()]
            findings += [found for layer in layers for found in layer.findings(optimizer)]
        units = {
            "dead_units": {layer.layer: layer.dead for layer in layers},
            "expert_zeros": {expert.name: expert.zeros for expert in experts},
        }
        return Look(gates, units, findings)
