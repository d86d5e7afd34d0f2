"""Tasks: what is predicted, on which rows, how it is judged."""

from polytask.tasks._base import Task
from polytask.tasks._summary import LabelSummary

TASKS: dict[str, type[Task]] = {}

__all__ = ["TASKS", "LabelSummary", "Task"]
