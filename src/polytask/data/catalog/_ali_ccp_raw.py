"""Lines of Ali-CCP into tables: exposures beside the common features of their user, and PaddleRec's field:id pairs."""

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from polytask.data.archives import open_plain
from polytask.errors import DataError, message

SINGLES = ("101", "121", "122", "124", "125", "126", "127", "128", "129", "205", "206", "207", "216", "301")
"""One id a row (the first, should there be more), of value 1."""
LISTS = ("109_14", "110_14", "127_14", "150_14", "210", "508", "509", "702", "853")
"""Any number of ids, each with a value; the combinations too, though many rows have one."""

_FEATURE, _ID, _VALUE = "\x01", "\x02", "\x03"
_CHUNK = 65_536
_CACHED_USERS = 4_096
_VALID_SHARE = 0.01

Given = dict[str, list[tuple[str, float]]]
"""Ids and values of each field."""


class Exposure(NamedTuple):
    """One line of a log."""

    click: int
    purchase: int
    fields: Given


def pairs(path: Path) -> Iterator[pa.Table]:
    """PaddleRec's form: `id,click,purchase,field:feature,...`, a field repeated where it has several values."""
    with open_plain(path) as file:
        yield from _tables(_pair_lines(path, file))


def joined(skeleton: Path, common: Path, *, valid: bool | None) -> Iterator[pa.Table]:
    """The official form: exposures, each completed by the features of its common index.

    Memory holds where each common index stands in its file (about 100 bytes an index), some users, and one table.

    Args:
        skeleton: `sample id, click, conversion, common index, number of features, features`.
        common: `common index, number of features, features`; not packed.
        valid: True for the exposures held out for validation, False for the others, None for all.

    Raises:
        DataError: Names the file and line that cannot be read, or the common index that is nowhere.
    """
    places = _places(common)
    with common.open("rb") as file, open_plain(skeleton) as lines:

        @lru_cache(maxsize=_CACHED_USERS)
        def of(index: str) -> Given:
            if index not in places:
                raise DataError(message(f"{common} must hold every common index of {skeleton}.", received=repr(index)))
            file.seek(places[index])
            return _features(file.readline().decode().rstrip("\r\n").split(",", 2)[2])

        yield from _tables(_skeleton_lines(skeleton, lines, of, valid))


def _places(path: Path) -> dict[str, int]:
    places, start = {}, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            index, comma, _ = line.partition(b",")
            if line.count(b",") < 2 or not comma:
                raise DataError(message(f"{path}, line {number} must have three values.", received=repr(line[:80])))
            places[index.decode()] = start
            start += len(line)
    return places


def _skeleton_lines(path: Path, lines: Iterable[bytes], common: Callable[[str], Given], valid: bool | None) -> Iterator[Exposure]:
    for number, line in enumerate(lines, start=1):
        values = line.decode().rstrip("\r\n").split(",", 5)
        if len(values) != 6 or not {values[1], values[2]} <= {"0", "1"}:
            raise DataError(message(f"{path}, line {number} must be an exposure of six values.", received=repr(line[:80])))
        if valid is None or _held_out(values[3]) == valid:
            yield Exposure(int(values[1]), int(values[2]), common(values[3]) | _features(values[5]))


def _pair_lines(path: Path, lines: Iterable[bytes]) -> Iterator[Exposure]:
    for number, line in enumerate(lines, start=1):
        _, *values = line.decode().rstrip("\r\n").split(",")
        split = [value.split(":") for value in values[2:]]
        if len(values) < 3 or not {*values[:2]} <= {"0", "1"} or any(len(pair) != 2 for pair in split):
            raise DataError(message(f"{path}, line {number} must be id,click,purchase,field:id,...", received=repr(line[:80])))
        fields: Given = defaultdict(list)
        for name, value in split:
            fields[name].append((value, 1.0))
        yield Exposure(int(values[0]), int(values[1]), dict(fields))


def _features(text: str) -> Given:
    fields: Given = defaultdict(list)
    for feature in text.split(_FEATURE) if text else ():
        name, _, rest = feature.partition(_ID)
        value, mark, weight = rest.partition(_VALUE)
        if not mark:
            raise DataError(message("A feature of Ali-CCP is field \\x02 id \\x03 value.", received=repr(feature)))
        fields[name].append((value, float(weight)))
    return dict(fields)


def _held_out(index: str) -> bool:
    """One user in a hundred, by a stable hash of the common index."""
    return zlib.crc32(index.encode()) < _VALID_SHARE * 2**32


def _tables(exposures: Iterator[Exposure]) -> Iterator[pa.Table]:
    while rows := list(islice(exposures, _CHUNK)):
        yield _table(rows)


def _table(rows: list[Exposure]) -> pa.Table:
    columns: dict[str, pa.Array] = {
        "click": pa.array([row.click for row in rows], pa.int8()),
        "purchase": pa.array([row.purchase for row in rows], pa.int8()),
    }
    for name in SINGLES:
        columns[name] = pa.array([next((value for value, _ in row.fields.get(name, ())), None) for row in rows], pa.string())
    for name in LISTS:
        found = [row.fields.get(name, ()) for row in rows]
        offsets = pa.array(np.concatenate([[0], np.cumsum([len(given) for given in found])]), pa.int32())
        flat = [pair for given in found for pair in given]
        columns[name] = pa.ListArray.from_arrays(offsets, pa.array([value for value, _ in flat], pa.string()))
        columns[f"{name}_weight"] = pa.ListArray.from_arrays(offsets, pa.array([weight for _, weight in flat], pa.float32()))
    return pa.table(columns)
