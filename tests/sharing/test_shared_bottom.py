"""SharedBottom: the contract, and a slow reference."""

from functools import partial

import pytest
import torch

from polytask.errors import ConfigError
from polytask.sharing import SharedBottom
from polytask.testing import check_sharing


@pytest.mark.parametrize("options", [{}, {"hidden": (7, 5), "activation": "silu"}])
def test_contract(options):
    check_sharing(partial(SharedBottom, **options))


def test_equals_a_slow_reference(slow, scrambled):
    bottom = scrambled(SharedBottom(4, ["a", "b"], hidden=(5, 3)))
    x = torch.randn(6, 4, dtype=torch.float64)
    expected = torch.tensor([slow.mlp(bottom.trunk, 0, row.tolist()) for row in x], dtype=torch.float64)
    shared = bottom(x)
    torch.testing.assert_close(shared.outputs, expected.expand(2, -1, -1), rtol=0, atol=1e-10)
    assert shared.gates is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": ()}, "positive widths"),
        ({"hidden": (4, 0)}, r"4 -> \[4, 0\]"),
        ({"dropout": 1.0}, "Dropout is a share"),
        ({"activation": "rellu"}, "Did you mean 'relu'"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        SharedBottom(4, ["a"], **options)


def test_dropout_only_in_training():
    bottom = SharedBottom(4, ["a"], hidden=(50,), dropout=0.5)
    x = torch.ones(3, 4)
    assert torch.equal(bottom.eval()(x).outputs, bottom(x).outputs)
    assert not torch.equal(bottom.train()(x).outputs, bottom(x).outputs)
