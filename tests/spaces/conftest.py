"""Tasks whose sample spaces follow one another."""

import pytest

from polytask.tasks import Binary


@pytest.fixture
def pair():
    return [Binary("click"), Binary("buy", given="click")]


@pytest.fixture
def chain():
    """Declared in another order than they happen."""
    return [Binary("buy", given="cart"), Binary("like"), Binary("click"), Binary("cart", given="click")]
