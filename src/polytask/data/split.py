"""Which row belongs to which part: training, validation, test."""

import hashlib
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, UInt8

from polytask.data.formats import Table
from polytask.data.hashing import hash_integers, hash_text
from polytask.errors import ConfigError, DataError, message, nearest

# More distinct values than this are no classes to keep in proportion, but a number or an id.
_MAX_STRATA = 1024
_CHUNK = 1 << 20
_DIGIT = 16


def split(
    table: Table, by: str = "random", *, fractions: Sequence[float], seed: int = 0, column: str | None = None
) -> UInt8[np.ndarray, " n"]:
    """Gives every row the number of its part. Reads only the column it needs, in a stream; one byte a row stays in memory.

    - `random`: exact sizes, any row in any part. With a `column`, every value of it is divided in these proportions (strata).
    - `time`: the earliest rows are part 0, the latest the last part. Rows of one time stay together, in the later part.
    - `group`: a hash of the column's value decides: all rows of a value are in one part, whatever other rows there are and in
      whatever order; a user seen again next month is in the same part. Sizes hold on average over groups. Missing values
      are one group.

    Args:
        table: Rows to divide.
        by: `random`, `time` or `group`.
        fractions: Share of each part; they sum to 1.
        seed: Chooses the division, for `random` and `group`.
        column: The time or the group; optional strata for `random`.

    Raises:
        ConfigError: If a fraction, the way or the column cannot be.
        DataError: If a time is missing or no time, strata are too many, or a part would be empty.

    Example:
        >>> from polytask.data.table import open_table
        >>> table = open_table(pa.table({"day": [3, 1, 2, 2]}))
        >>> split(table, "time", fractions=[0.25, 0.75], column="day").tolist()
        [1, 0, 1, 1]
    """
    _check(table, by, fractions, column)
    parts = SPLITS[by](table, np.cumsum(fractions)[:-1], seed, column)
    sizes = np.bincount(parts, minlength=len(fractions))
    if not sizes.all():
        expected = f"Every part of a split by {by} needs rows; {len(parts)} rows were to be divided in {list(fractions)}."
        way_out = "Choose other fractions, or another column: this one has too few values." if column else "Give more rows."
        raise DataError(message(expected, received=f"parts of {sizes.tolist()} rows", way_out=way_out))
    return parts


@final
class PartTable(Table):
    """The rows of one part, as a table: what preprocessing is fitted on.

    Args:
        table: All rows.
        keep: True for the rows of the part.

    Example:
        >>> from polytask.data.table import open_table
        >>> table = open_table(pa.table({"day": [3, 1, 2]}))
        >>> part = PartTable(table, split(table, "time", fractions=[0.3, 0.7], column="day") == 1)
        >>> [batch.column(0).to_pylist() for batch in part.batches()]
        [[3, 2]]
    """

    def __init__(self, table: Table, keep: Bool[np.ndarray, " n"]) -> None:
        self._table = table
        # One bit a row: `describe` and `_stream` need no more.
        self._bits, self._total, self._kept = np.packbits(keep, bitorder="little"), len(keep), int(np.count_nonzero(keep))

    @property
    def schema(self) -> pa.Schema:
        """Names and Arrow types of the columns."""
        return self._table.schema

    @property
    def num_rows(self) -> int:
        """Number of rows of the part."""
        return self._kept

    def fingerprint(self) -> str:
        """A hash of the table's fingerprint and of which rows are in the part."""
        return hashlib.blake2b(self._table.fingerprint().encode() + self._bits.tobytes(), digest_size=16).hexdigest()

    def describe(self, row: int) -> str:
        """Where a row of the part stands in the source."""
        rows = np.flatnonzero(self._mask())
        return self._table.describe(int(rows[row]) if row < len(rows) else self._total)

    def _mask(self) -> np.ndarray:
        return np.unpackbits(self._bits, count=self._total, bitorder="little").view(bool)

    def _stream(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        mask, start = self._mask(), 0
        for batch in self._table.batches(columns, rows=rows):
            kept = batch.filter(pa.array(mask[start : start + batch.num_rows]))
            start += batch.num_rows
            if kept.num_rows:
                yield kept
        if start != self._total:
            way_out = "Split the table again: it has changed."
            raise DataError(
                message(f"The table must have the {self._total} rows that were divided.", received=start, way_out=way_out)
            )


def _check(table: Table, by: str, fractions: Sequence[float], column: str | None) -> None:
    if by not in SPLITS:
        raise ConfigError(message("Unknown way to split.", received=repr(by), way_out=nearest(by, SPLITS)))
    fit = len(fractions) <= 256 and all(0 < fraction <= 1 for fraction in fractions)
    if not fit or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        way_out = "For example [0.8, 0.1, 0.1]."
        raise ConfigError(message("Fractions of a split are positive and sum to 1.", received=list(fractions), way_out=way_out))
    if column is None and by != "random":
        raise ConfigError(message(f"A split by {by} needs a column.", received=None, way_out=f"Name the column of the {by}."))
    if column is not None and column not in table.names:
        raise ConfigError(message("Unknown column to split by.", received=repr(column), way_out=nearest(column, table.names)))


def _random(table: Table, cuts: np.ndarray, seed: int, column: str | None) -> np.ndarray:
    if column is not None:
        return _stratified(table, cuts, seed, column)
    num_rows = table.num_rows
    if num_rows is None:
        num_rows = sum(batch.num_rows for batch in table.batches(table.names[:1]))
    return _shuffled_parts(num_rows, cuts, np.random.Generator(np.random.PCG64([seed])))


def _shuffled_parts(num_rows: int, cuts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    bounds = np.concatenate([[0], np.rint(cuts * num_rows), [num_rows]]).astype(np.int64)
    parts = np.repeat(np.arange(len(bounds) - 1, dtype=np.uint8), np.diff(bounds))
    random.shuffle(parts)
    return parts


def _stratified(table: Table, cuts: np.ndarray, seed: int, column: str) -> np.ndarray:
    counts: dict[bytes, int] = {}
    for values, codes in _coded(table, column):
        for value, count in zip(values, np.bincount(codes, minlength=len(values)).tolist(), strict=True):
            counts[value] = counts.get(value, 0) + count
        if len(counts) > _MAX_STRATA:
            expected = f"Strata are few; column {column!r} may have {_MAX_STRATA} values at most."
            raise DataError(message(expected, received=f"{len(counts)} and more", way_out="Name a column of classes, or none."))
    # Each value's rows are dealt in an order of their own: which part a row is in does not depend on the other values.
    dealt = {
        value: _dealer(_shuffled_parts(count, cuts, np.random.Generator(np.random.PCG64([seed, _hash(value, 0)]))))
        for value, count in counts.items()
    }
    parts = []
    for values, codes in _coded(table, column):
        part = np.empty(len(codes), np.uint8)
        for code, value in enumerate(values):
            rows = np.flatnonzero(codes == code)
            part[rows] = dealt[value](len(rows))
        parts.append(part)
    return np.concatenate(parts) if parts else np.zeros(0, np.uint8)


def _dealer(array: np.ndarray) -> Callable[[int], np.ndarray]:
    """Gives the next `count` numbers at each call."""
    position = 0

    def following(count: int) -> np.ndarray:
        nonlocal position
        position += count
        return array[position - count : position]

    return following


def _by_group(table: Table, cuts: np.ndarray, seed: int, column: str | None) -> np.ndarray:
    bounds = np.array([min(int(cut * 2.0**64), 2**64 - 1) for cut in cuts], np.uint64)
    salt = np.uint64(_hash(b"", seed))
    parts = [np.zeros(0, np.uint8)]
    for batch in table.batches([str(column)]):
        # The text, so that a user id is in one part whether a file holds it as a number or as text. A missing one is no text.
        texts = batch.column(0).cast(pa.large_string()).fill_null("\0")
        hashes = hash_integers(pa.array((hash_text(texts) ^ salt).view(np.int64)))
        parts.append(np.searchsorted(bounds, hashes, side="right").astype(np.uint8))
    return np.concatenate(parts)


def _coded(table: Table, column: str) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """Distinct values of each piece of a column, as text, and which of them each row has."""
    for batch in table.batches([column]):
        coded = batch.column(0)
        if not isinstance(coded, pa.DictionaryArray):
            coded = pc.dictionary_encode(coded)
        texts = coded.dictionary.cast(pa.string()).to_pylist()
        codes = coded.indices.cast(pa.int64()).fill_null(len(texts))
        values = [b"\0" if text is None else text.encode() for text in [*texts, None]]
        yield values, codes.to_numpy(zero_copy_only=False)


def _hash(value: bytes, seed: int) -> int:
    return int.from_bytes(hashlib.blake2b(value, digest_size=8, key=str(seed).encode()).digest(), "little")


def _by_time(table: Table, cuts: np.ndarray, seed: int, column: str | None) -> np.ndarray:  # noqa: ARG001 - built as the others
    # The keys wait in a file: 8 bytes a row in memory would grow with the table, and reading the table again may be slow.
    with tempfile.TemporaryFile() as file:
        num_rows = 0
        for batch in table.batches([str(column)]):
            file.write(_sortable(batch.column(0), str(column), table, num_rows).tobytes())
            num_rows += batch.num_rows
        firsts = [_ranked(file, min(int(np.rint(cut * num_rows)), num_rows - 1)) for cut in cuts] if num_rows else []
        bounds = np.array(firsts, np.uint64)
        parts = [np.searchsorted(bounds, keys, side="right").astype(np.uint8) for keys in _chunks(file)]
    return np.concatenate([np.zeros(0, np.uint8), *parts])


def _sortable(times: pa.Array, column: str, table: Table, first_row: int) -> np.ndarray:
    """Unsigned integers in the order of the times."""
    kind = times.type
    if not (pa.types.is_temporal(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        way_out = "Turn it into a timestamp, a date or a number."
        raise DataError(message(f"Column {column!r} must hold times to split by.", received=str(kind), way_out=way_out))
    missing = pc.is_null(times, nan_is_null=True).to_numpy(zero_copy_only=False)
    if missing.any():
        row = first_row + int(np.argmax(missing))
        place = f"Column {column!r} must have a time in every row to split by it."
        raise DataError(
            message(place, received=f"a missing value, {table.describe(row)}", way_out="Drop these rows, or fill them.")
        )
    if pa.types.is_floating(kind):
        bits = (times.cast(pa.float64()).to_numpy(zero_copy_only=False) + 0.0).view(np.int64)  # -0.0 becomes 0.0
        # Negative floats sort backwards by their bits.
        return np.asarray(np.where(bits < 0, ~bits, bits | np.int64(-(2**63)))).view(np.uint64)
    if pa.types.is_uint64(kind):
        return np.asarray(times)
    width = kind.bit_width if pa.types.is_temporal(kind) else 64
    whole = (times.view(pa.int32() if width == 32 else pa.int64()) if pa.types.is_temporal(kind) else times).cast(pa.int64())
    return np.asarray(whole).view(np.uint64) ^ np.uint64(1 << 63)


def _ranked(file: BinaryIO, rank: int) -> np.uint64:
    """The key with `rank` keys before it, found digit by digit from the highest."""
    prefix = 0
    for shift in range(64 - _DIGIT, -1, -_DIGIT):
        counts = np.zeros(1 << _DIGIT, np.int64)
        for keys in _chunks(file):
            # A shift by all 64 bits is not defined; on the first digit every key agrees.
            agree = keys if shift + _DIGIT == 64 else keys[keys >> np.uint64(shift + _DIGIT) == np.uint64(prefix)]
            digits = (agree >> np.uint64(shift)) & np.uint64((1 << _DIGIT) - 1)
            counts += np.bincount(digits.astype(np.int64), minlength=1 << _DIGIT)
        before = np.cumsum(counts)
        digit = int(np.searchsorted(before, rank, side="right"))
        rank -= int(before[digit] - counts[digit])
        prefix = prefix << _DIGIT | digit
    return np.uint64(prefix)


def _chunks(file: BinaryIO) -> Iterator[np.ndarray]:
    file.seek(0)
    while block := file.read(8 * _CHUNK):
        yield np.frombuffer(block, np.uint64)


SPLITS: dict[str, Callable[[Table, np.ndarray, int, str | None], np.ndarray]] = {
    "random": _random,
    "time": _by_time,
    "group": _by_group,
}
