"""What no single table can know: names that must exist in another one."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from polytask.config._mistakes import Mistake, Mistakes
from polytask.config._sections import DataSection
from polytask.config._tables import Tables
from polytask.data import Feature
from polytask.errors import ConfigError
from polytask.spaces import Clicked, Joint
from polytask.tasks import Task, check_tasks


def check_data(data: DataSection, generated: bool, mistakes: Mistakes) -> None:
    """Rows come from one place and are parted in one way."""
    if not generated and data.train is None:
        mistakes.add("data.train", "A run needs rows.", "neither 'train' nor 'generator'", 'Set train = "table.parquet".')
    if generated and data.train is not None:
        mistakes.add("data.train", "Rows come from one place.", repr(data.train), "Remove it, or the generator.")
    if data.split is None:
        return
    if data.valid or data.test:
        mistakes.add(
            "data.split", "Rows are split or named, not both.", "data.valid or data.test", "Remove the one or the other."
        )
    if data.split.by != "random" and not data.split.column:
        mistakes.add("data.split.column", f"A split by {data.split.by} needs a column.", "nothing", 'Set column = "...".')
    shares = data.split.fractions
    if len(shares) not in (2, 3) or abs(sum(shares) - 1) > 1e-6 or min(shares) < 0:
        expected = "Should be two or three shares that sum to 1 (train, valid, test)."
        mistakes.add("data.split.fractions", expected, list(shares), "For example [0.8, 0.1, 0.1].")


def check_names(tables: Tables, tasks: Sequence[Task], declared: Sequence[Feature]) -> None:
    """Names are unique, and what a task, a rate or a metric refers to exists."""
    mistakes = tables.mistakes
    written = [item.get("name") for item in tables.items("task")]
    for name, count in Counter(feature.name for feature in declared).items():
        if count > 1:
            mistakes.add(f"feature.{name}", "Each column is declared once.", f"{name!r} {count} times")
    labels = {task.label: task.name for task in tasks}
    for feature in declared:
        if feature.name in labels:
            received = f"the label of task {labels[feature.name]!r}"
            mistakes.add(f"feature.{feature.name}", "A label is no input.", received, "Remove the feature.")
    listed = isinstance(tables.written.get("task", []), list)
    if listed and len(tasks) == len(written):  # otherwise a task that is written wrongly would seem to be missing
        _check_tasks(tasks, mistakes)
        _check_main(tables.get("train").get("main"), tasks, mistakes)


def _check_tasks(tasks: Sequence[Task], mistakes: Mistakes) -> None:
    try:
        check_tasks(tasks)
    except ConfigError as error:
        for line in str(error).splitlines():
            named = re.match(r"Task '([\w-]+)':.*?`(\w+)`", line)
            mistakes.found.append(Mistake(f"task.{named[1]}.{named[2]}" if named else "task", line))


def _check_main(main: Any, tasks: Sequence[Task], mistakes: Mistakes) -> None:
    if isinstance(main, str):
        name, _, metric = main.partition(".")
        by_name = {judged.name: judged for judged in _judged(tasks)}
        if name not in by_name:
            mistakes.unnamed("train.main", name, by_name, "task")
        elif metric and metric not in by_name[name].metrics:
            mistakes.unnamed("train.main", metric, by_name[name].metrics, f"metric of task {name!r}")


def _judged(tasks: Sequence[Task]) -> "Sequence[Task | Joint]":
    try:
        return (*tasks, *Clicked(tasks).joints())
    except ConfigError:  # it was noted where it is
        return tasks
