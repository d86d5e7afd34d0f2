"""From TOML to a bound configuration, with all mistakes at once."""

import copy
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from polytask.config._bind import bind
from polytask.config._config import RunConfig
from polytask.config._mistakes import Mistakes
from polytask.config._overrides import override
from polytask.config._tables import Tables
from polytask.errors import ConfigError, message, nearest


def read_config(path: str | Path, settings: Iterable[str] = ()) -> RunConfig:
    """Reads a declared run.

    Args:
        path: A TOML file; relative paths in it are relative to its folder.
        settings: Overrides such as `train.epochs=3`.

    Raises:
        ConfigError: Names every mistake with its place, the received value and the nearest valid name.
    """
    path = Path(path)
    return parse_config(_load(path), folder=path.parent, source=path, settings=settings)


def parse_config(
    table: Mapping[str, Any], *, folder: Path | None = None, source: Path | None = None, settings: Iterable[str] = ()
) -> RunConfig:
    """Binds a declared run that is already a table.

    Args:
        table: What a TOML file holds.
        folder: What relative paths are relative to; the working directory where not given.
        source: File to name in messages.
        settings: Overrides such as `train.epochs=3`.

    Raises:
        ConfigError: Names every mistake with its place, the received value and the nearest valid name.

    Example:
        >>> parse_config({"data": {"train": "a.csv"}, "task": [{"kind": "binary", "name": "click"}]}).tasks[0].name
        'click'
    """
    mistakes = Mistakes()
    declared = copy.deepcopy(dict(table))
    changed = copy.deepcopy(declared)
    override(changed, settings, mistakes)
    config = bind(Tables(changed, before=declared, mistakes=mistakes), folder or Path.cwd(), source)
    mistakes.report(str(source or "The configuration"))
    assert config is not None  # noqa: S101 - bound, or the mistakes were raised
    return config


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        siblings = [str(item) for item in path.parent.glob("*.toml")]
        way_out = nearest(str(path), siblings) if siblings else "polytask init TABLE writes one."
        raise ConfigError(message("There is no such file.", received=repr(str(path)), way_out=way_out)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(message(f"{path} must be TOML.", received=str(error))) from None
    except OSError as error:
        raise ConfigError(message(f"{path} must be a readable file.", received=str(error))) from None
