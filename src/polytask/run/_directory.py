"""The directory of a run: what lies where, and whose it is."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from polytask.config import RunConfig, differences, parse_config
from polytask.errors import CheckpointError, ConfigError, message
from polytask.files import replacing


@dataclass(frozen=True)
class RunDirectory:
    """Names of the files of one run.

    Example:
        >>> RunDirectory(Path("runs/feed")).config.as_posix()
        'runs/feed/config.toml'
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    @property
    def preprocessing(self) -> Path:
        """The fitted preprocessing."""
        return self.path / "preprocessing.json"

    @property
    def result(self) -> Path:
        """Written last, so it says that the run is finished: final metrics and how long it took."""
        return self.path / "result.json"

    @property
    def bias(self) -> Path:
        """The learnt bias by position, where the run has one."""
        return self.path / "bias.json"

    def checkpoint(self, name: str) -> Path:
        """A checkpoint by name: `latest`, `best`, `best-buy`."""
        return self.path / "checkpoints" / f"{name}.safetensors"

    def claim(self, config: RunConfig) -> None:
        """Makes the directory this configuration's own, or finds that it already is.

        Raises:
            CheckpointError: If another configuration was run here; lists what differs.
            ConfigError: If the directory cannot be written.
        """
        if self.config.exists():
            theirs = self.read_table()
            found = differences(theirs, config.resolved)
            if found:
                way_out = "Undo the changes, name another directory (--out), or start anew (--fresh)."
                lines = "".join(f"\n  {line}" for line in found)
                text = (
                    f"{str(self.path)!r} belongs to a run of another configuration. Received (theirs -> ours):{lines}\n{way_out}"
                )
                raise CheckpointError(text)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with replacing(self.config) as scratch:
                scratch.write_text(tomli_w.dumps(dict(config.resolved)), encoding="utf-8")
        except OSError as error:
            text = message(
                f"The run's directory {str(self.path)!r} must be writable.", received=str(error), way_out="Choose another."
            )
            raise ConfigError(text) from error

    def read_config(self) -> RunConfig:
        """The configuration that was run here.

        Raises:
            CheckpointError: If there is no run here.
        """
        return parse_config(self.read_table(), folder=self.path, source=self.config)

    def read_table(self) -> dict[str, Any]:
        """The resolved configuration as plain tables.

        Raises:
            CheckpointError: If there is no run here, or its configuration is damaged.
        """
        try:
            return tomllib.loads(self.config.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            way_out = "Name the directory that `polytask train` wrote, such as runs/feed."
            raise CheckpointError(message("There is no run here.", received=repr(str(self.path)), way_out=way_out)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CheckpointError(message(f"{self.config} is damaged.", received=str(error))) from None

    def read_result(self) -> dict[str, Any] | None:
        """What the finished run wrote, or None where it is not finished."""
        try:
            return dict(json.loads(self.result.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Marks the run as finished."""
        with replacing(self.result) as scratch:
            scratch.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def fresh_directory(path: Path) -> Path:
    """The first of `path`, `path-2`, `path-3`, ... that does not exist."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
