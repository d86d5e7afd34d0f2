import pytest

from polytask.errors import ConfigError
from polytask.tasks import Binary, Count, Regression, check_tasks, given_chain

VIEW, CLICK = Binary("view"), Binary("click", given="view")


def test_good_tasks_pass():
    check_tasks([VIEW, CLICK, Binary("buy", given="click", reads=("view",)), Regression("time", given="click", auxiliary=True)])


def test_chain_is_from_the_nearest():
    tasks = [Binary("buy", given="click"), CLICK, VIEW]
    assert given_chain(tasks, "buy") == ("click", "view")
    assert given_chain(tasks, "view") == ()


@pytest.mark.parametrize(
    ("tasks", "parts"),
    [
        ([], ["task that is served"]),
        ([Binary("a", auxiliary=True)], ["task that is served", "['a']"]),
        ([Binary("a"), Count("a"), Binary("b")], ["names must differ", "'a' 2 times"]),
        ([CLICK, Binary("viev")], ["'click': `given` must name a task", "'view'", "'viev'?"]),
        ([Count("n"), Binary("a", given="n")], ["'a': `given` must name a binary task", "'n', which is count"]),
        ([Binary("a", given="b"), Binary("b", given="a")], ["`given` of tasks", "a -> b -> a"]),
        ([Binary("a", given="a")], ["`given` of tasks", "a -> a"]),
        ([Binary("a", reads=("zz",)), Binary("b")], ["'a': `reads` must name a task", "'zz'"]),
        ([Binary("a", reads=("b",)), Binary("b", reads=("a",))], ["`reads` of tasks", "a -> b -> a"]),
        ([Binary("a", metrics=("rmse",))], ["'a': `metrics` must fit a binary task", "'rmse'"]),
        ([Binary("a", metrics=("auk",))], ["'auk'", "'auc'?"]),
        ([Binary("a", metrics=("calibration_ratio", "auc"))], ["first of `metrics`", "'calibration_ratio'"]),
    ],
)
def test_each_mistake_is_named(tasks, parts):
    with pytest.raises(ConfigError) as error:
        check_tasks(tasks)
    text = str(error.value)
    assert not [part for part in parts if part not in text], text
    assert text.count("Received:") == 1


def test_all_mistakes_come_at_once():
    tasks = [Binary("a", given="x", auxiliary=True), Count("a", reads=("y",), auxiliary=True, metrics=("auc",))]
    with pytest.raises(ConfigError) as error:
        check_tasks(tasks)
    assert str(error.value).count("Received:") == 5


def test_chain_refuses_circles_and_unknown_tasks():
    with pytest.raises(ConfigError, match="b -> c -> b"):
        given_chain([Binary("a", given="b"), Binary("b", given="c"), Binary("c", given="b")], "a")
    with pytest.raises(ConfigError, match="'view'"):
        given_chain([CLICK], "click")
