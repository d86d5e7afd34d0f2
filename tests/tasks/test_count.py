import pyarrow as pa
import pytest
import torch

from polytask.losses import poisson
from polytask.tasks import Count


def test_output_zero_is_the_mean_rate(fit):
    task = fit(Count("visits"), [0, 3, None, 6])
    assert task.mean == 3.0
    assert task.initial_bias() == (0.0,)
    torch.testing.assert_close(task.predict(torch.tensor([[0.0], [1.0]])), 3 * torch.tensor([0.0, 1.0]).exp())


def test_loss_is_that_of_the_rate_itself():
    task = Count("y", mean=4.0)
    output, label = torch.tensor([[0.3], [-1.0]], dtype=torch.float64), torch.tensor([0.0, 9.0], dtype=torch.float64)
    log_rate = output + torch.tensor(4.0, dtype=torch.float64).log()
    torch.testing.assert_close(task.row_loss(output, label), poisson(log_rate, label))


def test_no_output_overflows():
    task = Count("y", mean=1e6)
    assert task.row_loss(torch.tensor([[1e4], [-1e4]]), torch.tensor([1e7, 0.0])).isfinite().all()
    assert task.predict(torch.tensor([[1e4], [-1e4]])).isfinite().all()


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ([1, -2, 0], ["'n'", "-2 in row 1", "whole number from 0"]),
        ([1.0, 2.5], ["2.5 in row 1", "regression"]),
        ([0, 0], ["0 in all 2"]),
        (["a", "b"], ["'a' in row 0"]),
        ([None], ["none in 1 rows"]),
    ],
)
def test_refusals_of_fitting(fit, refused, values, parts):
    refused(lambda: fit(Count("n"), values), *parts)


def test_refusals_of_encoding(refused):
    refused(lambda: Count("n").encode(pa.array([1, None, -3])), "-3 in row 2")
    refused(lambda: Count("n").encode(pa.array([0.5])), "0.5 in row 0")
    refused(lambda: Count("n").encode(pa.array(["x"])), "'x' in row 0")
