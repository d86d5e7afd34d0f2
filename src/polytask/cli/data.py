"""`polytask data`: public data sets, fetched, checked and cut; generated ones too."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polytask.cli._verb import Json, Quiet, complain, print_json

if TYPE_CHECKING:
    from polytask.data.catalog import Dataset, Prepared

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="A data set; all are listed where not given.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write to; the data set is described where not given.")]
From = Annotated[Path | None, typer.Option("--from", help="Folder of the original files, instead of downloading them.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the data set: form=raw, correlation=-0.5.")
]
Group = Annotated[int | None, typer.Option("--group", help="The same as --set group=N (census_income).")]
Rows = Annotated[int | None, typer.Option("--rows", help="The same as --set rows=N (generated data).")]


def data(
    name: Name = None,
    *,
    out: Out = None,
    source: From = None,
    settings: Settings = None,
    group: Group = None,
    rows: Rows = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the data sets at hand, describe one, or make Parquet files and a run of it (with --out)."""
    if name is None:
        _list(source, json)
        return
    shortcuts = {"group": group, "rows": rows}
    written = [f"{key}={value}" for key, value in shortcuts.items() if value is not None]
    dataset = choose(name, [*(settings or []), *written])
    if out is None:
        _describe(name, dataset, source, json)
        return
    with _bar(hidden=quiet or json) as progress:
        made = dataset.fetch(out, source=source, progress=progress)
    _made(name, made, json, quiet)


def choose(name: str, settings: list[str]) -> "Dataset":
    """A data set by name, with options as `KEY=VALUE`.

    Raises:
        ConfigError: On an unknown name or option, or a value of another type.
    """
    from polytask.data.catalog import DATASETS
    from polytask.errors import ConfigError, message, nearest

    if name not in DATASETS:
        raise ConfigError(message("There is no such data set.", received=repr(name), way_out=nearest(name, DATASETS)))
    defaults: dict[str, Any] = dataclasses.asdict(DATASETS[name]())
    options: dict[str, Any] = {}
    for setting in settings:
        key, mark, value = setting.partition("=")
        if not mark or key not in defaults:
            expected = f"An option of {name!r} is KEY=VALUE."
            raise ConfigError(message(expected, received=repr(setting), way_out=nearest(key, defaults)))
        try:
            options[key] = type(defaults[key])(value)
        except ValueError:
            expected = f"Option {key!r} of {name!r} must be like {defaults[key]!r}."
            raise ConfigError(message(expected, received=repr(value))) from None
    return DATASETS[name](**options)


def _list(source: Path | None, json: bool) -> None:
    from polytask.cli._screen import show, table
    from polytask.data.catalog import DATASETS

    rows = [_summary(name, dataset(), source) for name, dataset in DATASETS.items()]
    if json:
        print_json(rows)
        return
    lines = [[row["name"], row["tasks"], row["size"], row["licence"], row["present"]] for row in rows]
    show(table("data sets", ["name", "tasks", "rows", "licence", "at hand"], lines))


def _summary(name: str, dataset: "Dataset", source: Path | None) -> dict[str, Any]:
    kinds = [task["kind"] for task in dataset.tasks]
    tasks = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    size, licence = dataset.size, dataset.licence
    return {"name": name, "tasks": tasks, "size": size, "licence": licence, "present": dataset.present(source)}


def _describe(name: str, dataset: "Dataset", source: Path | None, json: bool) -> None:
    from polytask.cli._screen import show

    options = dataclasses.asdict(dataset)
    about = _summary(name, dataset, source) | {
        "title": dataset.title,
        "homepage": dataset.homepage,
        "citation": dataset.citation,
        "split": dataset.split,
        "traps": list(dataset.traps),
        "options": options,
        "files": [dataclasses.asdict(file) for file in dataset.sources],
    }
    if json:
        print_json(about | {"tasks": list(dataset.tasks), "features": list(dataset.features)})
        return
    keys = ("title", "size", "tasks", "split", "licence", "homepage", "citation")
    show(*(f"{key:9} {about[key]}" for key in keys), *(f"{'beware':9} {trap}" for trap in dataset.traps))
    show(f"{'options':9} {', '.join(f'{key}={value}' for key, value in options.items()) or 'none'}")
    show(
        f"{'at hand':9} {'yes' if about['present'] else 'no'}",
        "",
        f"polytask data {name} --out FOLDER makes Parquet files and a run of it.",
    )


def _made(name: str, made: "Prepared", json: bool, quiet: bool) -> None:
    if json:
        files = {part: str(path) for part, path in made.files.items()}
        print_json({"name": name, "run": str(made.run), "files": files, "rows": made.rows})
    elif not quiet:
        for part, path in made.files.items():
            complain(f"{made.rows[part]:>12,} rows in {path}")
        complain(f"polytask train {made.run}")


@contextmanager
def _bar(*, hidden: bool) -> Iterator[Callable[[int, int | None], None] | None]:
    """A bar of bytes on standard error while a file arrives."""
    if hidden:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, visible=False)
        yield lambda here, total: bar.update(task, completed=here, total=total, visible=True)
