"""From categories to ids: a dictionary of what was seen, or hash buckets."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from polytask.data.distinct import KINDS, as_kind, distinct, kind_of
from polytask.data.hashing import hash_integers, hash_text
from polytask.data.sketches import CategoryCounts

MISSING, UNKNOWN, RARE, FIRST = 0, 1, 2, 3
Value = bool | int | float | str
_MAX_RARE = 100_000  # rare values that are listed; beyond, every value outside the dictionary counts as rare
_TABLE_SPAN = 1 << 22  # range of whole numbers up to which ids are looked up by position


class _Lookup(NamedTuple):
    keys: np.ndarray  # sorted: whole numbers, numbers, or hashes of text
    ids: np.ndarray
    texts: pa.Array | None  # in the order of `keys`, to compare with
    first: int  # of `table`
    table: np.ndarray | None


@final
@dataclass(frozen=True)
class Vocabulary:
    """Ids of one field's categories.

    Dictionary: 0 missing, 1 never seen in training, 2 seen but rare, 3 and up `values`. Buckets: 0 missing, then
    1 + hash modulo `buckets`.

    Args:
        kind: "boolean", "integer", "number" or "text": what the values are.
        values: The dictionary, by falling frequency, equal ones by value.
        rare: Values that were seen but left out; None where they were too many to list, then whatever is not in the dictionary
            counts as rare.
        buckets: Number of hash buckets instead of a dictionary.
    """

    kind: str
    values: tuple[Value, ...] = ()
    rare: tuple[Value, ...] | None = ()
    buckets: int | None = None

    @property
    def size(self) -> int:
        """Number of ids."""
        return 1 + self.buckets if self.buckets is not None else FIRST + len(self.values)

    def ids(self, column: pa.Array, name: str) -> Int[np.ndarray, " n"]:
        """Id of each row's category, int32.

        Args:
            column: A column of categories, in any Arrow type that holds the same kind of values as in training.
            name: Its name, for messages.

        Raises:
            DataError: If the column is nested or of another kind than in training.
        """
        found = distinct(column, name)
        values = as_kind(found.values, self.kind, name)
        ids = np.append(self._of_distinct(values, found.values), np.int32(MISSING))  # code -1 takes the last
        return ids.take(found.codes, mode="wrap").astype(np.int32, copy=False)

    def _of_distinct(self, values: pa.Array, given: pa.Array) -> Int[np.ndarray, " v"]:
        ids = np.full(len(values), RARE if self.rare is None else UNKNOWN, np.int32)
        if self.buckets is not None:
            ids[:] = 1  # a value that cannot be of the kind shares the first bucket
        valid = values.is_valid().to_numpy(zero_copy_only=False)
        known = values if valid.all() else values.drop_null()
        if len(known):
            ids[valid] = self._bucketed(known) if self.buckets is not None else self._found(known, int(ids[0]) if len(ids) else 0)
        if given.null_count:
            ids[given.is_null().to_numpy(zero_copy_only=False)] = MISSING
        return ids

    def _bucketed(self, values: pa.Array) -> Int[np.ndarray, " v"]:
        hashes = hash_text(values) if self.kind == "text" else hash_integers(pa.array(_keys(values).view(np.int64)))
        return (hashes % np.uint64(self.buckets or 1)).astype(np.int32) + 1

    def _found(self, values: pa.Array, absent: int) -> Int[np.ndarray, " v"]:
        lookup = self._lookup
        keys = _keys(values)
        if not len(lookup.keys):
            return np.full(len(keys), absent, np.int32)
        if lookup.table is not None:
            inside = (keys >= lookup.first) & (keys < lookup.first + len(lookup.table))
            ids = lookup.table[np.where(inside, keys - lookup.first, 0)]
            return np.where(inside & (ids > 0), ids, absent)
        place = np.minimum(np.searchsorted(lookup.keys, keys), len(lookup.keys) - 1)
        hit = lookup.keys[place] == keys
        if lookup.texts is not None:  # a text that was never seen may share the hash of one that was
            hit &= pc.equal(lookup.texts.take(pa.array(place)), values).to_numpy(zero_copy_only=False)
        return np.where(hit, lookup.ids[place], absent).astype(np.int32)

    @cached_property
    def _lookup(self) -> _Lookup:
        seen = pa.array([*self.values, *(self.rare or ())], KINDS[self.kind])
        ids = np.full(len(seen), RARE, np.int32)
        ids[: len(self.values)] = np.arange(FIRST, self.size, dtype=np.int32)
        keys = _keys(seen)
        if self.kind in ("integer", "boolean") and len(keys):
            first, span = int(keys.min()), int(keys.max()) - int(keys.min()) + 1
            if span <= max(_TABLE_SPAN, 4 * len(keys)):
                table = np.zeros(span, np.int32)
                table[keys - first] = ids
                return _Lookup(keys, ids, None, first, table)
        order = np.argsort(keys, kind="stable")
        return _Lookup(keys[order], ids[order], seen.take(pa.array(order)) if self.kind == "text" else None, 0, None)


def fit_vocabulary(counts: CategoryCounts, *, min_count: int = 1, max_size: int | None = None) -> Vocabulary:
    """The dictionary of what was counted: values seen at least `min_count` times, at most `max_size` of them.

    Example:
        >>> counts = CategoryCounts()
        >>> counts.add(pa.array(["Bern", "Rome", "Oslo"], pa.large_string()), np.array([5, 9, 1]))
        >>> vocabulary = fit_vocabulary(counts, min_count=2)
        >>> vocabulary.values, vocabulary.rare
        (('Rome', 'Bern'), ('Oslo',))
        >>> vocabulary.ids(pa.array(["Bern", "Oslo", "Kyiv", None]), "city").tolist()
        [4, 2, 1, 0]
    """
    values, numbers = counts.result()
    kept = int(np.count_nonzero(numbers >= min_count))  # counts fall
    kept = min(kept, max_size) if max_size is not None else kept
    rare = None if counts.error or len(values) - kept > _MAX_RARE else tuple(values[kept:].to_pylist())
    return Vocabulary(kind_of(values), tuple(values[:kept].to_pylist()), rare)


def _keys(values: pa.Array) -> np.ndarray:
    kind = kind_of(values)
    if kind == "text":
        return hash_text(values)
    numbers: np.ndarray = values.to_numpy(zero_copy_only=False)
    return numbers.astype(np.float64 if kind == "number" else np.int64)
