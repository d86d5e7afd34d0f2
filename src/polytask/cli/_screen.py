"""Tables for people, on standard output."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_PIPE_WIDTH = 160
"""Columns of text where standard output is no terminal: a table in a log file should not be folded at 80."""


def show(*tables: Table | str) -> None:
    """Prints tables and lines."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    for table in tables:
        console.print(table, markup=False) if isinstance(table, str) else console.print(table)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A plain table; numbers stand to the right."""
    rows = [list(row) for row in rows]
    grid = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False)
    for index, column in enumerate(columns):
        numbers = all(isinstance(row[index], int | float | None) for row in rows)
        grid.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        grid.add_row(*map(written, row))
    return grid


def metrics_table(metrics: Mapping[str, Mapping[str, float]], title: str) -> Table:
    """One line a task, one column a metric."""
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    return table(title, ["task", *names], [[task, *(values.get(name) for name in names)] for task, values in metrics.items()])


def written(value: Any) -> str:
    """A value for people: numbers with four significant places, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return (
        f"{value:.4f}"
        if isinstance(value, float) and 1e-3 <= abs(value) < 1e3
        else f"{value:.4g}"
        if isinstance(value, float)
        else str(value)
    )
