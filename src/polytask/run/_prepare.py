"""From a configuration to encoded rows: tables opened, schema bound, preprocessing fitted, rows encoded once."""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from polytask import __version__
from polytask.config import RunConfig
from polytask.data import EncodedRows, PartTable, Preprocessing, Rows, Schema, Table, split
from polytask.errors import DataError, message
from polytask.run._features import bound_schema
from polytask.run._sources import PARTS, Say, open_sources
from polytask.tasks import task_to_json

CACHE = "POLYTASK_CACHE"
"""Environment variable that names the folder of generated tables and encoded rows."""

Masks = Mapping[str, Bool[np.ndarray, " n"]]

_SECONDS_BETWEEN_LINES = 10.0


class Prepared(NamedTuple):
    """What a run trains on.

    Args:
        preprocessing: Fitted on the training rows; holds the fitted tasks.
        rows: Encoded rows of each part (train, and valid and test where there are any).
        tables: Table of each part.
    """

    preprocessing: Preprocessing
    rows: Mapping[str, Rows]
    tables: Mapping[str, Table]


def prepare(config: RunConfig, cache: Path, *, sources: Mapping[str, Table] | None = None, say: Say = lambda _: None) -> Prepared:
    """Opens, fits and encodes what a configuration names. What an earlier run left in the cache is taken from there.

    Args:
        config: What was declared.
        cache: Folder of generated tables and encoded rows.
        sources: Open table of each part, instead of those that the configuration names.
        say: Is told what is done.

    Raises:
        DataError: If a table cannot be read, lacks a column, or holds a value outside its domain.
    """
    tables = open_sources(config, cache, say) if sources is None else dict(sources)
    masks = _masks(config, tables["train"])
    tables |= dict.fromkeys(masks, tables["train"])
    train = PartTable(tables["train"], masks["train"]) if masks else tables["train"]
    preprocessing = _fitted(config, bound_schema(config, train), train, cache, say)
    rows = _encoded(tables, masks, preprocessing, cache, say)
    return Prepared(preprocessing, rows, tables | {part: PartTable(tables[part], mask) for part, mask in masks.items()})


def cache_folder(config: RunConfig, directory: Path) -> Path:
    """Where generated tables and encoded rows are kept: as declared, as the environment says, or beside the run's directory."""
    return Path(config.data.cache or os.environ.get(CACHE) or directory.parent / ".cache")


def _masks(config: RunConfig, table: Table) -> Masks:
    """Which rows of the one table each part has; nothing where the parts are named."""
    wanted = config.data.split
    if wanted is None:
        return {}
    parts = split(table, wanted.by, fractions=wanted.fractions, seed=wanted.seed, column=wanted.column)
    return {part: parts == number for number, part in zip(range(len(wanted.fractions)), PARTS, strict=False)}


def _fitted(config: RunConfig, schema: Schema, table: Table, cache: Path, say: Say) -> Preprocessing:
    """The preprocessing of some training rows, from the cache where it was fitted before."""
    key = json.dumps(
        [__version__, table.fingerprint(), schema.to_dict(), [task_to_json(task) for task in config.tasks]], sort_keys=True
    )
    file = cache / f"preprocessing-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if file.exists():
        return Preprocessing.load(file)
    say("fitting the preprocessing")
    preprocessing = Preprocessing.fit(table, schema, config.tasks, progress=_Lines(say, "fitting"))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        preprocessing.save(file)
    except OSError as error:
        raise DataError(
            message(f"The cache {str(cache)!r} must be writable.", received=str(error), way_out=f"Set {CACHE}.")
        ) from error
    return preprocessing


def _encoded(tables: Mapping[str, Table], masks: Masks, preprocessing: Preprocessing, cache: Path, say: Say) -> dict[str, Rows]:
    rows: dict[str, Rows] = {}
    for part, table in tables.items():
        key = hashlib.sha256(f"{preprocessing.digest()} {table.fingerprint()}".encode()).hexdigest()[:16]
        encoded = EncodedRows.write(table, preprocessing, cache / f"rows-{key}", progress=_Lines(say, f"encoding {part} rows"))
        rows[part] = encoded.subset(masks[part]) if masks else encoded
    return rows


class _Lines:
    """Says how far a long pass is, now and then."""

    def __init__(self, say: Say, what: str) -> None:
        self._say, self._what, self._said = say, what, time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        if time.monotonic() - self._said > _SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            self._say(f"{self._what}: {done:,}" + (f" of {total:,}" if total else ""))
