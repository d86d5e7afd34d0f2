"""The group of a row: from a column of the table to a number beside its batch."""

import numpy as np
import pyarrow as pa
import pytest

from polytask.data import EncodedRows, Loader, Numeric, Preprocessing, Schema, open_table
from polytask.data.columns import concatenate
from polytask.data.groups import group_numbers
from polytask.errors import DataError
from polytask.tasks import Binary

ROWS = 200


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.int32(), pa.uint64(), pa.dictionary(pa.int8(), pa.string())])
def test_equal_groups_have_equal_numbers_in_every_batch(kind):
    groups = pa.array([str(number) for number in (3, 12, 3, 7, 12)]).cast(
        pa.int64() if pa.types.is_integer(kind) else pa.string()
    )
    column = groups.dictionary_encode() if pa.types.is_dictionary(kind) else groups.cast(kind)
    found = group_numbers(column, "session")
    assert found.dtype == np.int64
    assert (found[:, None] == found).tolist() == (np.array([3, 12, 3, 7, 12])[:, None] == np.array([3, 12, 3, 7, 12])).tolist()
    assert group_numbers(column[2:4], "session").tolist() == found[2:4].tolist()


def test_a_row_without_its_group_is_named():
    with pytest.raises(DataError, match=r"'session'. Received: none in row 1"):
        group_numbers(pa.array(["a", None]), "session")
    with pytest.raises(DataError, match=r"numbers or texts. Received: list"):
        group_numbers(pa.array([["a"]]), "session")


def test_groups_stay_with_their_rows(tmp_path):
    number = np.arange(ROWS)
    table = open_table(
        pa.table({"x": number.astype(np.float64), "click": number % 3 == 0, "user": [f"u{n % 17}" for n in number]})
    )
    schema = Schema((Numeric("x"),), group="user")
    assert Schema.from_dict(schema.to_dict()) == schema
    fitted = Preprocessing.fit(table, schema, [Binary("click")])
    fitted.save(tmp_path / "fitted.json")
    fitted = Preprocessing.load(tmp_path / "fitted.json")
    assert fitted.group == "user"
    assert "user" not in fitted.columns(labels=False)

    rows = EncodedRows.write(table, fitted, tmp_path / "rows")
    expected = group_numbers(pa.array([f"u{n % 17}" for n in number]), "user")
    seen = {}
    for batch in Loader(rows.subset(number % 2 == 1), fitted.tasks, batch_size=7):
        x = np.rint(batch.features.numeric[:, 0].numpy() * fitted.numeric[0].scale + fitted.numeric[0].center).astype(int)
        seen |= dict(zip(x.tolist(), batch.group.tolist(), strict=True))
    assert seen == {n: int(expected[n]) for n in range(1, ROWS, 2)}
    columns = rows.read(slice(3, 9))
    assert concatenate([columns, columns.take(np.array([0]))]).group.tolist() == [*expected[3:9].tolist(), int(expected[3])]


def test_without_a_group_nothing_is_kept():
    table = open_table(pa.table({"x": [0.0, 1.0, 2.0], "click": [0, 1, 0]}))
    fitted = Preprocessing.fit(table, Schema((Numeric("x"),)), [Binary("click")])
    batch = next(iter(table.batches()))
    assert fitted.encode(batch).to_batch(fitted.tasks).group is None
