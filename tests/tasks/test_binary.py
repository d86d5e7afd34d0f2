import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from polytask.errors import ConfigError
from polytask.tasks import Binary


@pytest.mark.parametrize("values", [[1, 0, None], [1.0, 0.0, math.nan], [True, False, None], ["1", "0", None]])
def test_reads_zero_and_one_of_any_type(values):
    np.testing.assert_array_equal(Binary("y").encode(pa.array(values)), np.array([1, 0, np.nan], dtype=np.float32))


def test_base_rate_is_the_first_prediction(fit):
    task = fit(Binary("y"), [1, 0, 0, None], [0, 0])
    assert task.base_rate == 0.2
    assert task.predict(torch.tensor([task.initial_bias()])).item() == pytest.approx(0.2)
    assert Binary("y").initial_bias() == (0.0,)


def test_positive_names_the_value_or_values_that_count_as_one(fit):
    task = fit(Binary("y", positive="yes"), ["yes", "no", None, "no"])
    assert (task.base_rate, task.negative) == (pytest.approx(1 / 3), "no")
    assert task.encode(pa.array(["no", "yes"])).tolist() == [0.0, 1.0]
    degree = fit(Binary("college", positive=("BA", "MA")), ["BA", "school", "MA", "none"])
    assert (degree.base_rate, degree.negative) == (0.5, None)
    assert degree.encode(pa.array(["MA", "kindergarten", None])).tolist()[:2] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ([0, 1, 2], ["'buy'", "column 'bought'", "0 or 1", "2 in row 2", "positive"]),
        (["no", "yes"], ["'no' in row 0", "positive"]),
        ([None, None], ["'buy'", "'bought'", "none in 2 rows"]),
        ([1, 1, None], ["'buy'", "'bought'", "1 in all 2 labelled rows", "drop the task"]),
        ([0.5, 1.0], ["0.5 in row 0"]),
    ],
)
def test_columns_without_a_yes_and_no_are_refused(fit, refused, values, parts):
    refused(lambda: fit(Binary("buy", label="bought"), values), *parts)


def test_a_positive_value_that_never_occurs_is_refused_with_the_nearest(fit, refused):
    refused(lambda: fit(Binary("y", positive="yess"), ["yes", "no"]), "none of the labelled rows", "'yess'", "'yes'?")
    refused(lambda: fit(Binary("y", positive=("yes", "no")), ["yes", "no"]), "all of the labelled rows")


def test_labels_outside_the_domain_are_refused_with_their_row(fit, refused):
    refused(lambda: Binary("y").encode(pa.array([0, None, 7]), where=lambda row: f"row {50 + row}"), "7 in row 52", "'y'")
    task = fit(Binary("y", positive="yes"), ["yes", "no"])
    refused(lambda: task.encode(pa.array(["no", "maybe"])), "'maybe' in row 1", "'yes', 'no'")


def test_an_empty_positive_is_refused():
    with pytest.raises(ConfigError, match="positive"):
        Binary("y", positive=())
