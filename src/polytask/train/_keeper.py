"""Where the checkpoints of a fit are kept: in the run directory, or the best weights in memory where there is none."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, final

from torch import Tensor

from polytask import checkpoint


@final
class Keeper:
    """Keeps the latest state of a run and names the best ones.

    Args:
        directory: Run directory; checkpoints go below it in `checkpoints/`. None keeps the best weights in memory.
        identity: What a checkpoint must share with this run to be taken up.
    """

    def __init__(self, directory: str | os.PathLike[str] | None, identity: Mapping[str, Any]) -> None:
        self._folder = None if directory is None else Path(directory) / "checkpoints"
        self._identity = identity
        self._in_memory: dict[str, dict[str, Tensor]] = {}

    @property
    def latest(self) -> Path | None:
        """The file of the latest checkpoint, or None where nothing is kept on disk."""
        return None if self._folder is None else self._folder / "latest.safetensors"

    def sweep(self) -> None:
        """Removes what a killed process was writing; for whoever holds the directory's lock."""
        if self._folder is not None and self._folder.exists():
            for file in self._folder.glob(".*"):
                file.unlink()

    def read(self) -> dict[str, Any] | None:
        """The latest state, or None where there is none yet."""
        if self.latest is None or not self.latest.exists():
            return None
        return checkpoint.load(self.latest, identity=self._identity)

    def forget(self) -> None:
        """Deletes all checkpoints, those of an older run too."""
        if self._folder is not None and self._folder.exists():
            for file in self._folder.glob("*.safetensors"):
                file.unlink()

    def save(self, state: Mapping[str, Any]) -> None:
        """Replaces the latest checkpoint."""
        if self.latest is not None:
            checkpoint.save(self.latest, state, identity=self._identity)

    def name_latest(self, names: Iterable[str], weights: Callable[[], Mapping[str, Tensor]]) -> None:
        """Keeps the latest state as "best" or "best-<task>" too."""
        for name in names:
            if self._folder is None or self.latest is None:
                self._in_memory[name] = {key: tensor.detach().cpu().clone() for key, tensor in weights().items()}
            else:
                checkpoint.alias(self.latest, self._folder / f"{name}.safetensors")

    def weights(self, name: str) -> dict[str, Tensor] | None:
        """Weights of the model that were kept under a name, or None."""
        if self._folder is None:
            return self._in_memory.get(name)
        file = self._folder / f"{name}.safetensors"
        if not file.exists():
            return None
        model: dict[str, Tensor] = checkpoint.load(file, parts=["model"], identity=self._identity)["model"]
        return model
