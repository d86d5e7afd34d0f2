import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polytask.tasks import Ordinal

LEVELS = ("low", "mid", "high", "top")


def test_probabilities_are_exponentials_of_the_loss():
    task = Ordinal("y", levels=LEVELS)
    output = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)) * 2
    for level in range(4):
        loss = task.row_loss(output, torch.full((30,), float(level)))
        torch.testing.assert_close(task.predict(output)[:, level], torch.exp(-loss))


@given(st.lists(st.floats(-60, 60), min_size=3, max_size=3))
def test_probabilities_are_never_negative_and_sum_to_one(output):
    probability = Ordinal("y", levels=LEVELS).predict(torch.tensor([output], dtype=torch.float32))
    assert (probability >= 0).all()
    assert probability.sum().item() == pytest.approx(1, abs=1e-5)


def test_a_higher_score_raises_the_expected_level():
    task = Ordinal("y", levels=LEVELS)
    output = torch.tensor([[-2.0, 0.3, 1.0], [-1.0, 0.3, 1.0], [3.0, 0.3, 1.0]])
    assert (task.expected_level(task.predict(output)).diff() > 0).all()


def test_first_prediction_is_the_share_of_each_level(fit):
    task = fit(Ordinal("stars"), [5, 1, 1, None, 3, 5, 5, 5])
    assert task.levels == (1, 3, 5)
    assert task.predict(torch.tensor([task.initial_bias()])).tolist()[0] == pytest.approx([2 / 7, 1 / 7, 4 / 7], abs=1e-6)
    assert Ordinal("stars", levels=(1, 2, 3)).initial_bias() == (0.0, 0.0)


def test_declared_levels_keep_their_order(fit):
    task = fit(Ordinal("y", levels=LEVELS), ["top", "low", "mid"])
    assert task.levels == LEVELS
    assert task.encode(pa.array(["high", "low"])).tolist() == [2.0, 0.0]
    assert all(map(float.__eq__, task.initial_bias(), task.initial_bias()))  # finite though "high" never occurs


def test_refusals(fit, refused):
    refused(lambda: fit(Ordinal("y"), ["low", "high"]), "'y'", "order of its levels", "'high', 'low'", "`levels`")
    refused(lambda: fit(Ordinal("y", levels=LEVELS), ["low", "lo"]), "'lo' in row 1", "'mid'")
    refused(lambda: fit(Ordinal("y"), [0.5 * i for i in range(10_001)]), "more than 10000", "regression")
    refused(lambda: Ordinal("y", levels=(1, 2)).encode(pa.array([9])), "9 in row 0")
