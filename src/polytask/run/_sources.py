"""The tables of a run: named, or generated."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from polytask.config import FAMILIES, RunConfig
from polytask.data import Table, open_table

PARTS = ("train", "valid", "test")
Say = Callable[[str], None]
"""Is told what is done now."""


def open_sources(config: RunConfig, cache: Path, say: Say) -> dict[str, Table]:
    """Opens the tables; those of a generator are written first, unless the cache has them.

    Args:
        config: What was declared.
        cache: Folder for generated tables.
        say: Is told what is done.

    Raises:
        DataError: If a table cannot be read.
    """
    data = config.data
    if config.generator is not None:
        named: Mapping[str, object] = _generated(config, cache, say)
    else:
        named = {part: path for part in PARTS if (path := getattr(data, part)) is not None}
    return {part: open_table(path, csv=config.csv) for part, path in named.items()}


def _generated(config: RunConfig, cache: Path, say: Say) -> dict[str, Path]:
    """Consecutive rows of one simulation; each part's file is named by what decides its rows."""
    assert config.generator is not None  # noqa: S101 - asked before
    generator = FAMILIES["data.generator"].members[config.generator.name](**config.generator.options)
    files, start = {}, 0
    for part, rows in zip(PARTS, config.data.rows, strict=False):
        key = json.dumps([config.resolved["data"]["generator"], start, rows], sort_keys=True)
        files[part] = cache / f"{config.generator.name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.parquet"
        if not files[part].exists():
            say(f"generating {rows:,} {part} rows of {config.generator.name}")
            generator.write(files[part], rows, start=start)
        start += rows
    return files
