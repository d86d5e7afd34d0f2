"""A chain of tasks: as declared, or all in their order."""

import pytest

from polytask.errors import ConfigError
from polytask.sharing._chain import check_chain


def test_what_is_declared_holds_else_the_order_of_the_tasks():
    assert check_chain(["c", "a"], ["a", "b", "c"]) == ("c", "a")
    assert check_chain((), ["b", "a"]) == ("b", "a")


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"A chain is of tasks\. Received: 'bui'\. Did you mean 'buy'\?"):
        check_chain(["click", "bui"], ["click", "buy"])
    with pytest.raises(ConfigError, match="A chain holds a task once"):
        check_chain(["click", "buy", "click"], ["click", "buy"])
