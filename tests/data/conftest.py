"""Encoded rows whose every number says which row it is from."""

from collections.abc import Callable

import numpy as np
import pytest

from polytask.data.columns import Columns, RaggedColumn
from polytask.data.packed import Layout, Packed

SIZES = (7, 300, 70_000, 200, 9, 11, 12, 13)


def layout(*, weighted: bool = False, ragged: bool = False, labels: tuple[str, ...] = ("click", "buy")) -> Layout:
    lists = (("tags", 100_000, True), ("genres", 20, False)) if ragged else ()
    return Layout(SIZES, 2, labels, weighted, lists)


def columns(n: int, *, weighted: bool = False, ragged: bool = False, labels: tuple[str, ...] = ("click", "buy")) -> Columns:
    """Row i holds i in each field (modulo its size), i + .5 and NaN or -i in its numbers, and i % 5 values in its lists."""
    row = np.arange(n)
    categorical = np.stack([row % size for size in SIZES], axis=1).astype(np.int32)
    categorical[:, 2] = row * 31 % SIZES[2]
    numeric = np.stack([row + 0.5, np.where(row % 3 == 0, np.nan, -row)], axis=1).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(row % 5)]).astype(np.int64)
    ids = (np.repeat(row, row % 5) * 97 % 100_000).astype(np.int32)
    lists = {
        "tags": RaggedColumn(ids, offsets, ids.astype(np.float32) / 2),
        "genres": RaggedColumn((ids % 20).astype(np.int32), offsets),
    }
    values = {name: np.where((row + k) % 4 == 0, np.nan, (row >> k) % 2).astype(np.float32) for k, name in enumerate(labels)}
    return Columns(categorical, numeric, lists if ragged else {}, values, (row + 1.0).astype(np.float32) if weighted else None)


def same(left: Columns, right: Columns) -> None:
    np.testing.assert_array_equal(left.categorical, right.categorical)
    assert left.categorical.dtype == right.categorical.dtype == np.int32
    np.testing.assert_array_equal(left.numeric, right.numeric)
    assert left.labels.keys() == right.labels.keys()
    for name in left.labels:
        np.testing.assert_array_equal(left.labels[name], right.labels[name])
    assert (left.weight is None) == (right.weight is None)
    if left.weight is not None:
        np.testing.assert_array_equal(left.weight, right.weight)
    assert left.ragged.keys() == right.ragged.keys()
    for name in left.ragged:
        for mine, theirs in zip(left.ragged[name], right.ragged[name], strict=True):
            assert (mine is None) == (theirs is None)
            if mine is not None:
                np.testing.assert_array_equal(mine, theirs)


@pytest.fixture(scope="session")
def make_layout() -> Callable[..., Layout]:
    return layout


@pytest.fixture(scope="session")
def make_columns() -> Callable[..., Columns]:
    return columns


@pytest.fixture(scope="session")
def make_packed() -> Callable[..., Packed]:
    return lambda n, **kinds: layout(**kinds).pack(columns(n, **kinds))


@pytest.fixture(scope="session")
def assert_same() -> Callable[[Columns, Columns], None]:
    return same
