import numpy as np
import pytest
import torch

from polytask.data.columns import Columns, RaggedColumn, concatenate
from polytask.errors import ConfigError
from polytask.tasks import Binary, Regression

NAN = float("nan")


def columns_of(**labels) -> Columns:
    n = len(next(iter(labels.values())))
    return Columns(
        np.zeros((n, 1), np.int32), np.zeros((n, 0), np.float32), {}, {k: np.array(v, np.float32) for k, v in labels.items()}
    )


def test_a_missing_label_is_absent_and_finite():
    batch = columns_of(a=[1, NAN, 0]).to_batch([Binary("a")])
    labels = batch.labels["a"]
    assert labels.value.tolist() == [1, 0, 0]
    assert labels.observed.tolist() == [True, False, True]
    assert labels.count == 2
    assert type(labels.count) is int


def test_a_chain_of_given_needs_every_ancestor_to_be_labelled_one():
    tasks = [Regression("price", given="buy"), Binary("click"), Binary("buy", given="click")]  # not in the order of the chain
    batch = columns_of(click=[1, 1, 0, NAN, 1, 1], buy=[1, 0, 1, 1, NAN, 1], price=[5, 6, 7, 8, 9, NAN]).to_batch(tasks)
    assert batch.labels["click"].observed.tolist() == [True, True, True, False, True, True]
    assert batch.labels["buy"].observed.tolist() == [True, True, False, False, False, True]
    assert batch.labels["price"].observed.tolist() == [True, False, False, False, False, False]
    assert [batch.labels[name].count for name in ("click", "buy", "price")] == [5, 3, 1]
    assert list(batch.labels) == ["price", "click", "buy"]


def test_columns_without_labels_give_a_batch_without_labels():
    columns = columns_of(a=[1.0])._replace(labels={})
    assert columns.to_batch([Binary("a")]).labels == {}


def test_a_task_whose_ancestor_has_no_labels_has_no_row():
    labels = columns_of(buy=[1, 0]).to_batch([Binary("click"), Binary("buy", given="click")]).labels
    assert list(labels) == ["buy"]
    assert labels["buy"].count == 0


def test_given_must_name_a_task():
    with pytest.raises(ConfigError, match=r"'buy'.*'clic'.*Did you mean 'click'"):
        columns_of(click=[1], buy=[1]).to_batch([Binary("click"), Binary("buy", given="clic")])


def test_given_in_a_circle_is_refused():
    with pytest.raises(ConfigError, match="a -> b -> a"):
        columns_of(a=[1], b=[1]).to_batch([Binary("a", given="b"), Binary("b", given="a")])


def test_features_share_memory_with_the_columns(make_columns):
    columns = make_columns(4, ragged=True, weighted=True)
    batch = columns.to_batch([Binary("click")])
    assert batch.features.categorical.data_ptr() == columns.categorical.ctypes.data
    assert batch.features.numeric.data_ptr() == columns.numeric.ctypes.data
    assert batch.features.ragged["tags"].ids.data_ptr() == columns.ragged["tags"].ids.ctypes.data
    assert batch.labels["click"].weight.tolist() == [1, 2, 3, 4]


def test_arrays_that_must_not_be_written_are_copied(make_columns):
    columns = make_columns(4)
    columns.numeric.flags.writeable = False
    batch = columns.to_batch([])
    assert torch.equal(batch.features.numeric.isnan(), torch.from_numpy(np.isnan(columns.numeric)))


def test_labels_do_not_change_the_columns(make_columns):
    columns = make_columns(8)
    before = columns.labels["click"].copy()
    columns.to_batch([Binary("click"), Binary("buy", given="click")])
    np.testing.assert_array_equal(columns.labels["click"], before)


def test_take_gathers_ragged_rows():
    column = RaggedColumn(np.array([1, 2, 3, 4], np.int32), np.array([0, 1, 1, 4]), np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    taken = column.take(np.array([2, 1, 0, 2]))
    assert taken.ids.tolist() == [2, 3, 4, 1, 2, 3, 4]
    assert taken.offsets.tolist() == [0, 3, 3, 4, 7]
    np.testing.assert_allclose(taken.weights, [0.2, 0.3, 0.4, 0.1, 0.2, 0.3, 0.4], rtol=1e-6)


def test_concatenated_pieces_are_the_whole(make_columns, assert_same):
    whole = make_columns(11, ragged=True, weighted=True)
    pieces = [whole.take(np.arange(start, stop)) for start, stop in ((0, 4), (4, 4), (4, 11))]
    assert_same(concatenate(pieces), whole)
