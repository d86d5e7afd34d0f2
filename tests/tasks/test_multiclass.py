import pyarrow as pa
import pytest
import torch

from polytask.errors import ConfigError
from polytask.tasks import Multiclass, prediction_columns


def test_classes_are_those_that_occur_in_rising_order(fit):
    task = fit(Multiclass("device"), ["tv", "phone", None], ["phone", "desk"])
    assert task.classes == ("desk", "phone", "tv")
    assert task.base_rates == (0.25, 0.5, 0.25)
    assert task.predict(torch.tensor([task.initial_bias()])).tolist()[0] == pytest.approx([0.25, 0.5, 0.25])
    assert task.encode(pa.array(["phone", None, "desk"])).tolist()[::2] == [1.0, 0.0]


def test_whole_numbers_that_came_as_floats_read_as_such(fit):
    task = fit(Multiclass("y"), [3.0, None, 1.0])
    assert prediction_columns(task) == ("y_1", "y_3")


def test_declared_classes_keep_their_order_and_may_be_unseen(fit):
    task = fit(Multiclass("y", classes=("c", "a", "b")), ["a", "b", "b", "b"])
    assert task.classes == ("c", "a", "b")
    assert 0 < task.base_rates[0] < task.base_rates[1] < task.base_rates[2]
    assert Multiclass("y", classes=("c", "a")).initial_bias() == (0.0, 0.0)


def test_refusals(fit, refused):
    refused(lambda: fit(Multiclass("y", classes=("a", "b")), ["a", "b"], ["c"]), "'y'", "'c' in row 2", "`classes`")
    refused(lambda: fit(Multiclass("y"), ["a", "a"]), "'a' in all 2")
    refused(lambda: fit(Multiclass("y"), list(range(10_001))), "more than 10000 distinct values", "regression")
    refused(
        lambda: Multiclass("y", classes=(1, 2)).encode(pa.array([1, 3]), where=lambda row: f"file x, row {10 + row}"),
        "3 in file x, row 11",
        "2 classes",
    )


@pytest.mark.parametrize("classes", [("a",), ("a", "a")])
def test_classes_that_are_no_choice_are_refused(classes):
    with pytest.raises(ConfigError, match="two or more classes"):
        Multiclass("y", classes=classes)


def test_unknown_classes_are_an_error_with_a_way_out():
    with pytest.raises(ConfigError, match=r"'y' must know its classes.*fit"):
        _ = Multiclass("y").out_features
