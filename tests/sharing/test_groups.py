"""Groups of tasks: both ways to write them, and that their names and order depend on the tasks alone."""

import itertools

import pytest

from polytask.config import read_config
from polytask.sharing import HoME
from polytask.sharing._groups import task_groups

TASKS = ["click", "buy", "like", "time"]


def test_nothing_is_one_group():
    assert task_groups((), TASKS) == {"all": tuple(TASKS)}


def test_names_do_not_depend_on_how_the_groups_are_written():
    expected = {"buy+click": ("click", "buy"), "like": ("like",), "time": ("time",)}
    for order in itertools.permutations([["click", "buy"], ["like"], ["time"]]):
        assert task_groups([group[::-1] for group in order], TASKS) == expected
        assert list(task_groups(list(order), TASKS)) == list(expected)  # groups of several first, then as the tasks come


def test_a_mapping_names_them():
    groups = {"time": "watching", "click": "acting", "buy": "acting", "like": "talking"}
    assert task_groups(groups, TASKS) == {"acting": ("click", "buy"), "talking": ("like",), "watching": ("time",)}


@pytest.mark.parametrize("written", ['groups = [["click"], ["buy"]]', 'groups = {click = "x", buy = "y"}'])
def test_groups_are_written_in_a_run(tmp_path, written):
    run = tmp_path / "run.toml"
    tasks = "".join(f'[[task]]\nkind = "binary"\nname = "{name}"\n' for name in ("click", "buy"))
    run.write_text(f'[data]\ntrain = "t.parquet"\n{tasks}[sharing]\nname = "home"\n{written}\n')
    config = read_config(run)
    assert len(HoME(3, ["click", "buy"], **config.sharing.options).groups) == 2
